"""Frames: as stored, and decoded from one of a hundred."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from imagecodecs import jpeg2k_decode, jpegls_decode

from benchmarks.cases.case import Case
from benchmarks.dicom_files import Template
from benchmarks.lab import Lab
from benchmarks.load import Answer, Probe
from benchmarks.measurement import Measurement
from benchmarks.servers import Server

# The check of a frame, given the object's template and the number of the frame.
Expectation = Callable[[Template, int], Callable[[Answer], None]]

NATIVE = {"Accept": 'multipart/related; type="application/octet-stream"'}


def first_part(answer: Answer) -> bytes:
    """The content of the first part of a multipart answer."""
    body = answer.body
    start = body.index(b"\r\n\r\n") + 4
    delimiter = b"\r\n" + body[body.index(b"--") : body.index(b"\r\n", body.index(b"--"))]
    return body[start : body.index(delimiter, start)] if delimiter in body[start:] else body[start:]


def is_frame(expected: bytes) -> Callable[[Answer], None]:
    """A check: the first part is these bytes."""

    def check(answer: Answer) -> None:
        found = first_part(answer)
        assert found[: len(expected)] == expected, f"other bytes ({len(found)} instead of {len(expected)})"
        assert len(found) - len(expected) in (0, 1), f"{len(found)} bytes instead of {len(expected)}"

    return check


def native_pixels(template: Template) -> bytes:
    """The value of native pixel data: behind tag, VR, reserved bytes and length."""
    return template.body[12:]


def _ct(case: str, *, in_new_words: bool) -> Callable[[Lab], list[Measurement]]:
    def run(lab: Lab) -> list[Measurement]:
        series = lab.series("ct")
        chosen = range(0, series.count, max(1, series.count // 20))
        check = is_frame(native_pixels(series.template))

        def probe(server: Server) -> Probe:
            paths = [f"{server.base}{series.instance_path(index)}/frames/1" for index in chosen]
            return Probe(paths, NATIVE, check, in_new_words)

        return lab.compare(case, probe, names=["ct"], limit=True, peers=not in_new_words)

    return run


def _mammogram(lab: Lab) -> list[Measurement]:
    series = lab.series("mammogram")
    check = is_frame(native_pixels(series.template))
    return lab.compare(
        "frame-mammogram",
        lambda server: Probe([f"{server.base}{series.instance_path(0)}/frames/1"], NATIVE, check),
        names=["mammogram"],
        connections=4,
        limit=True,
    )


def _enhanced(lab: Lab) -> list[Measurement]:
    series = lab.series("enhanced")
    size = 512 * 512 * 2
    numbers = spread(lab.corpus.size.enhanced_frames, 20)
    first = (numbers[0] - 1) * size
    check = is_frame(native_pixels(series.template)[first : first + size])
    return lab.compare(
        "frame-enhanced",
        lambda server: Probe(
            [f"{server.base}{series.instance_path(0)}/frames/{number}" for number in numbers], NATIVE, check
        ),
        names=["enhanced"],
        limit=True,
    )


def spread(count: int, most: int) -> Sequence[int]:
    """Frame numbers from all over an object."""
    return sorted({1 + place * (count - 1) // max(1, most - 1) for place in range(most)})


def _decoded(case: str, name: str, numbers: str, expected: Expectation) -> Callable[[Lab], list[Measurement]]:
    """Frames of an encapsulated object as little-endian samples. `numbers` is `all`, each in turn, or `one`."""

    def run(lab: Lab) -> list[Measurement]:
        series = lab.series(name)
        count = lab.corpus.size.cine_frames if name in ("cine", "j2k") else 1
        chosen = range(1, count + 1) if numbers == "all" else [count // 2 or 1]
        check = expected(series.template, chosen[0])

        def probe(server: Server) -> Probe:
            return Probe(
                [f"{server.base}{series.instance_path(0)}/frames/{number}" for number in chosen], _EXPLICIT, check
            )

        return lab.compare(case, probe, names=[name], connections=4)

    return run


_EXPLICIT = {"Accept": 'multipart/related; type="application/octet-stream"; transfer-syntax=1.2.840.10008.1.2.1'}


def fragments_of(body: bytes) -> list[bytes]:
    """The fragments of encapsulated pixel data that begins at its element."""
    found, at = [], 12
    while body[at : at + 4] == b"\xfe\xff\x00\xe0":
        length = int.from_bytes(body[at + 4 : at + 8], "little")
        found.append(body[at + 8 : at + 8 + length])
        at += 8 + length
    return found[1:]


def _lossless(decode: Callable[[bytes], Any]) -> Expectation:
    def expected(template: Template, number: int) -> Callable[[Answer], None]:
        fragment = fragments_of(template.body)[number - 1]
        return is_frame(np.ascontiguousarray(decode(fragment)).astype("<u2").tobytes())

    return expected


def _colour(template: Template, number: int) -> Callable[[Answer], None]:
    """Lossy decoders differ by a grey level here and there: only the size is compared."""

    def check(answer: Answer) -> None:
        assert len(first_part(answer)) == 640 * 480 * 3, f"{len(first_part(answer))} bytes"

    return check


CASES = [
    Case("frame-ct", "one frame of a CT", "5x the peer, half of nginx", _ct("frame-ct", in_new_words=False)),
    Case(
        "frame-ct-once",
        "the same, each request made for the first time",
        "nothing of it is remembered",
        _ct("frame-ct-once", in_new_words=True),
    ),
    Case("frame-enhanced", "one frame of an enhanced CT", "as one of a CT", _enhanced),
    Case("frame-mammogram", "mammogram frame, 24 MB", "0.6 of nginx' MB/s", _mammogram),
    Case(
        "frame-jpeg",
        "one decoded frame of a 100-frame JPEG object, each in turn",
        "one frame's decode",
        _decoded("frame-jpeg", "cine", "all", _colour),
    ),
    Case(
        "frame-jpeg-again",
        "the same frame again and again",
        "cached-frame speed",
        _decoded("frame-jpeg-again", "cine", "one", _colour),
    ),
    Case(
        "frame-j2k",
        "one decoded frame of a 100-frame JPEG 2000 object, each in turn",
        "one frame's decode",
        _decoded("frame-j2k", "j2k", "all", _lossless(jpeg2k_decode)),
    ),
    Case(
        "frame-j2k-again",
        "the same frame again and again",
        "cached-frame speed",
        _decoded("frame-j2k-again", "j2k", "one", _lossless(jpeg2k_decode)),
    ),
    Case(
        "frame-jpegls",
        "one decoded frame of a JPEG-LS CT",
        "one frame's decode",
        _decoded("frame-jpegls", "jpegls", "one", _lossless(jpegls_decode)),
    ),
]
