"""JPEG 2000 and High-Throughput JPEG 2000 streams (ITU-T T.800 Annex A, T.814 A.3; PS3.5 8.2.4 and 8.2.14)."""

import struct

from app.dicom.stream_headers.description import StreamDescription, UnusableStream, check_size, colours

START = b"\xff\x4f\xff\x51"  # SOC, SIZ
JP2_SIGNATURE = b"\x00\x00\x00\x0cjP  \r\n\x87\n"
_COD, _CAP, _SOT, _MCC = 0xFF52, 0xFF50, 0xFF90, 0xFF75
_HEADER = 1 << 18  # bytes looked at
_MAX_MARKERS = 1000
_MAX_BOXES = 1000
_HTJ2K_CAPABILITY, _PART_2 = 0x4000, 0x8000  # bits of Rsiz
_UID = "1.2.840.10008.1.2.4."
_ANY_COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422")


def describe_jpeg_2000(payload: memoryview) -> StreamDescription:
    """Of a codestream, or of the one in a JP2 file: PS3.5 8.2.4 leaves the file format away. Raises UnusableStream."""
    start, length = _codestream(payload)
    head = bytes(payload[start : start + min(length, _HEADER)])
    if len(head) < 45:
        raise UnusableStream("the JPEG 2000 stream has no readable header")
    (rsiz,) = struct.unpack_from(">H", head, 6)
    x1, y1, x0, y0 = struct.unpack_from(">4I", head, 8)
    (samples,) = struct.unpack_from(">H", head, 40)
    kinds = head[42 : 42 + 3 * samples]
    if x1 <= x0 or y1 <= y0 or samples not in (1, 3) or len(kinds) != 3 * samples or kinds != kinds[:3] * samples:
        raise UnusableStream("the JPEG 2000 stream is not of 1 or 3 components that are alike")
    if kinds[1:3] != b"\x01\x01":
        raise UnusableStream("the components of the JPEG 2000 stream are subsampled")
    check_size(y1 - y0, x1 - x0)
    transformed, reversible, high_throughput, multi_component = _coding_style(head, rsiz)
    photometric, photometrics = _colours(samples, transformed=transformed, reversible=reversible)
    return StreamDescription(
        media_type="image/jphc" if high_throughput else "image/jpx" if multi_component else "image/jp2",
        transfer_syntaxes=_syntaxes(reversible, high_throughput, multi_component),
        rows=y1 - y0,
        columns=x1 - x0,
        samples=samples,
        bits=(kinds[0] & 0x7F) + 1,
        is_signed=bool(kinds[0] & 0x80),
        photometric=photometric,
        photometrics=photometrics,
        number_of_frames=1,
        method="" if reversible else "ISO_15444_15" if high_throughput else "ISO_15444_1",
        start=start,
        length=length,
    )


def _codestream(payload: memoryview) -> tuple[int, int]:
    """Offset and length of the codestream."""
    if bytes(payload[:4]) == START:
        return 0, len(payload)
    position = 0
    for _ in range(_MAX_BOXES):
        if position + 16 > len(payload):
            break
        length, kind = struct.unpack_from(">I4s", payload, position)
        header = 8
        if length == 1:
            (length,) = struct.unpack_from(">Q", payload, position + 8)
            header = 16
        elif length == 0:
            length = len(payload) - position
        if length < header or position + length > len(payload):
            break
        if kind == b"jp2c" and bytes(payload[position + header : position + header + 4]) == START:
            return position + header, length - header
        position += length
    raise UnusableStream("the JP2 file holds no codestream")


def _coding_style(head: bytes, rsiz: int) -> tuple[bool, bool, bool, bool]:
    """Component transformation used, reversible wavelet, HTJ2K, multi-component extension of Part 2."""
    high_throughput, multi_component = bool(rsiz & _HTJ2K_CAPABILITY), False
    coding: tuple[bool, bool] | None = None
    position = 2
    for _ in range(_MAX_MARKERS):
        if position + 4 > len(head):
            break
        marker, length = struct.unpack_from(">HH", head, position)
        if marker == _SOT:
            break
        if marker == _COD and position + 14 <= len(head):
            coding = head[position + 8] != 0, head[position + 13] == 1
        elif marker == _CAP and position + 8 <= len(head):
            high_throughput = high_throughput or bool(
                int.from_bytes(head[position + 4 : position + 8], "big") & 1 << 17
            )
        multi_component = multi_component or (marker == _MCC and bool(rsiz & _PART_2))
        position += 2 + max(length, 2)
    if coding is None:
        raise UnusableStream("the JPEG 2000 stream does not say how it is coded")
    return (*coding, high_throughput, multi_component)


def _syntaxes(reversible: bool, high_throughput: bool, multi_component: bool) -> tuple[str, ...]:
    lossless: tuple[str, ...]
    if high_throughput:
        lossless, general = (_UID + "201", _UID + "202"), _UID + "203"
    elif multi_component:
        lossless, general = (_UID + "92",), _UID + "93"
    else:
        lossless, general = (_UID + "90",), _UID + "91"
    return (*lossless, general) if reversible else (general,)


def _colours(samples: int, *, transformed: bool, reversible: bool) -> tuple[str, frozenset[str]]:
    if transformed:
        return colours(samples, "YBR_RCT" if reversible else "YBR_ICT")
    return colours(samples, "RGB", _ANY_COLOUR)
