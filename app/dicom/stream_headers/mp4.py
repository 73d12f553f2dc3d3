"""MP4 files of H.264 and H.265 video (ISO/IEC 14496-12 and -15; PS3.5 8.2.7, 8.2.10)."""

import struct
from collections.abc import Iterator

from app.dicom.stream_headers.description import StreamDescription, UnusableStream, check_size

_MAX_BOXES = 100_000
_UID = "1.2.840.10008.1.2.4."
_PATH = (b"mdia", b"minf", b"stbl")
_SAMPLE_ENTRY = 86  # bytes of a VisualSampleEntry with its box header: its own boxes follow
# profile_idc of H.264 Annex A: constrained baseline, main and high are what a High Profile decoder takes.
_BASELINE, _MAIN, _HIGH, _STEREO_HIGH, _MULTIVIEW_HIGH = 66, 77, 100, 128, 118

_Box = tuple[bytes, int, int]  # kind, offset of the content, end


def describe_mp4(payload: memoryview) -> StreamDescription:
    """Of the first video track. Raises UnusableStream."""
    for kind, start, end in _boxes(payload, 0, len(payload)):
        if kind != b"moov":
            continue
        for inner, track, track_end in _boxes(payload, start, end):
            if inner == b"trak" and (table := _video_samples(payload, track, track_end)):
                return _describe(payload, *table)
    raise UnusableStream("the MP4 file has no video track")


def is_mp4(head: bytes) -> bool:
    return head[4:8] in (b"ftyp", b"moov", b"free", b"mdat", b"styp", b"wide", b"skip")


def _boxes(payload: memoryview, start: int, end: int) -> Iterator[_Box]:
    for _ in range(_MAX_BOXES):
        if start + 8 > end:
            return
        length, kind = struct.unpack_from(">I4s", payload, start)
        header = 8
        if length == 1 and start + 16 <= end:
            (length,) = struct.unpack_from(">Q", payload, start + 8)
            header = 16
        elif length == 0:
            length = end - start
        if length < header or start + length > end:
            raise UnusableStream("the boxes of the MP4 file do not fit into each other")
        yield kind, start + header, start + length
        start += length
    raise UnusableStream(f"the MP4 file has more than {_MAX_BOXES} boxes")


def _find(payload: memoryview, start: int, end: int, wanted: bytes) -> tuple[int, int] | None:
    return next(((at, stop) for kind, at, stop in _boxes(payload, start, end) if kind == wanted), None)


def _video_samples(payload: memoryview, start: int, end: int) -> tuple[int, int] | None:
    """Offset and end of the sample table (stbl) of a track, where it is video."""
    media = _find(payload, start, end, b"mdia")
    handler = _find(payload, *media, b"hdlr") if media else None
    if handler is None or bytes(payload[handler[0] + 8 : handler[0] + 12]) != b"vide":
        return None
    place: tuple[int, int] | None = (start, end)
    for kind in _PATH:
        place = _find(payload, *place, kind) if place else None
    return place


def _describe(payload: memoryview, start: int, end: int) -> StreamDescription:
    entries = _find(payload, start, end, b"stsd")
    sizes = _find(payload, start, end, b"stsz")
    if entries is None or entries[1] - entries[0] < 8 + _SAMPLE_ENTRY:
        raise UnusableStream("the video track of the MP4 file is not described")
    entry = entries[0] + 8
    length, codec = struct.unpack_from(">I4s", payload, entry)
    columns, rows = struct.unpack_from(">2H", payload, entry + 32)
    check_size(rows, columns)
    count = None
    if sizes is not None and sizes[1] - sizes[0] >= 12:
        count = struct.unpack_from(">I", payload, sizes[0] + 8)[0] or None  # 0 where the samples are in fragments
    configuration = entry + _SAMPLE_ENTRY, min(entry + length, entries[1])
    if codec in (b"avc1", b"avc3"):
        syntaxes, bits, method = *_h264(payload, *configuration), "ISO_14496_10"
    elif codec in (b"hvc1", b"hev1"):
        syntaxes, bits, method = *_h265(payload, *configuration), "ISO_23008_2"
    else:
        raise UnusableStream(f"MP4 video of {codec.decode('latin-1')!r} has no transfer syntax")
    return video(
        "video/H265" if method == "ISO_23008_2" else "video/mp4", syntaxes, rows, columns, bits, count, method, payload
    )


def video(
    media_type: str,
    syntaxes: tuple[str, ...],
    rows: int,
    columns: int,
    bits: int,
    number_of_frames: int | None,
    method: str,
    payload: memoryview,
) -> StreamDescription:
    """What is the same for every video: three samples, 4:2:0 (PS3.5 8.2.5 to 8.2.11)."""
    return StreamDescription(
        media_type=media_type,
        transfer_syntaxes=syntaxes,
        rows=rows,
        columns=columns,
        samples=3,
        bits=bits,
        is_signed=None,
        photometric="YBR_PARTIAL_420",
        photometrics=frozenset(("YBR_PARTIAL_420",)),
        number_of_frames=number_of_frames,
        method=method,
        start=0,
        length=len(payload),
    )


def _h264(payload: memoryview, start: int, end: int) -> tuple[tuple[str, ...], int]:
    """AVCDecoderConfigurationRecord: version, profile, compatibility, level."""
    found = _find(payload, start, end, b"avcC")
    if found is None or found[1] - found[0] < 4:
        raise UnusableStream("the H.264 video does not say its profile and level")
    profile, compatibility, level = payload[found[0] + 1 : found[0] + 4]
    if profile in (_STEREO_HIGH, _MULTIVIEW_HIGH) and level <= 42:
        return _fragmentable("106"), 8
    constrained = profile == _BASELINE and compatibility & 0x40
    if not (profile in (_MAIN, _HIGH) or constrained) or level > 42:
        raise UnusableStream(f"H.264 of profile {profile} and level {level / 10:g} has no transfer syntax")
    if level <= 41:
        return _fragmentable("102", "103", "104", "105"), 8
    return _fragmentable("104", "105"), 8


def _fragmentable(*numbers: str) -> tuple[str, ...]:
    """Each syntax, then each of their variants that may be cut into fragments (PS3.5 A.4.5)."""
    return (*(_UID + number for number in numbers), *(f"{_UID}{number}.1" for number in numbers))


def _h265(payload: memoryview, start: int, end: int) -> tuple[tuple[str, ...], int]:
    """HEVCDecoderConfigurationRecord: version, profile in 5 bits, .. level at byte 12."""
    found = _find(payload, start, end, b"hvcC")
    if found is None or found[1] - found[0] < 19:
        raise UnusableStream("the H.265 video does not say its profile and level")
    return h265_syntaxes(payload[found[0] + 1] & 0x1F, payload[found[0] + 12])


def h265_syntaxes(profile: int, level: int) -> tuple[tuple[str, ...], int]:
    """Transfer syntaxes and bits of Main (1) and Main 10 (2) up to level 5.1; `level` is thirty times that."""
    if profile not in (1, 2) or level > 153:
        raise UnusableStream(f"H.265 of profile {profile} and level {level / 30:g} has no transfer syntax")
    return ((_UID + "107", _UID + "108"), 8) if profile == 1 else ((_UID + "108",), 10)
