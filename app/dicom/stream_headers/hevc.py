"""H.265 video as a byte stream of NAL units (ITU-T H.265 7.3 and Annex B; PS3.5 8.2.10)."""

import re

from app.dicom.stream_headers.bits import BitReader, OutOfBits
from app.dicom.stream_headers.description import StreamDescription, UnusableStream, check_size
from app.dicom.stream_headers.mp4 import h265_syntaxes, video

_SEQUENCE_PARAMETERS = re.compile(rb"\x00\x00\x01[\x42\x43].(.{4,512}?)(?=\x00\x00[\x00\x01]|\Z)", re.DOTALL)
# A slice (types 0 to 31) whose first bit says that it is the first one of its picture.
_PICTURE = re.compile(rb"\x00\x00\x01[\x00-\x3f].[\x80-\xff]", re.DOTALL)
_HEAD = 1 << 20


def is_hevc(head: bytes) -> bool:
    """Whether it begins with a start code and a VPS, SPS, PPS, access unit delimiter or SEI."""
    start = 4 if head.startswith(b"\0\0\0\1") else 3 if head.startswith(b"\0\0\1") else 0
    return bool(start) and len(head) > start and head[start] >> 1 in (32, 33, 34, 35, 39) and not head[start] & 0x80


def describe_hevc(payload: memoryview) -> StreamDescription:
    """Raises UnusableStream."""
    found = _SEQUENCE_PARAMETERS.search(bytes(payload[:_HEAD]))
    if found is None:
        raise UnusableStream("the H.265 stream has no sequence parameter set")
    try:
        profile, level, rows, columns, bits = _parameters(found[1].replace(b"\0\0\3", b"\0\0"))
    except OutOfBits:
        raise UnusableStream("the sequence parameter set of the H.265 stream cannot be read") from None
    check_size(rows, columns)
    syntaxes, allowed = h265_syntaxes(profile, level)
    if bits > allowed:
        raise UnusableStream(f"the H.265 stream has {bits} bits a sample, its profile {allowed}")
    count = sum(1 for _ in _PICTURE.finditer(payload))
    return video("video/H265", syntaxes, rows, columns, bits, count or None, "ISO_23008_2", payload)


def _parameters(data: bytes) -> tuple[int, int, int, int, int]:
    """seq_parameter_set_rbsp (7.3.2.2): profile, level, rows, columns, bits of a sample."""
    bits = BitReader(data)
    bits.take(4)
    sub_layers = bits.take(3)  # less one
    bits.take(1 + 2 + 1)
    profile = bits.take(5)
    bits.take(32 + 48)
    level = bits.take(8)
    _skip_sub_layers(bits, sub_layers)
    bits.exp_golomb()  # id
    chroma = bits.exp_golomb()
    if chroma != 1:
        raise UnusableStream("the H.265 stream is not 4:2:0")
    columns, rows = bits.exp_golomb(), bits.exp_golomb()
    if bits.flag():  # conformance window, in chroma samples
        left, right, top, bottom = (bits.exp_golomb() for _ in range(4))
        columns -= 2 * (left + right)
        rows -= 2 * (top + bottom)
    return profile, level, rows, columns, 8 + max(bits.exp_golomb(), bits.exp_golomb())


def _skip_sub_layers(bits: BitReader, count: int) -> None:
    present = [(bits.flag(), bits.flag()) for _ in range(count)]
    if count:
        bits.take(2 * (8 - count))
    for has_profile, has_level in present:
        bits.take(88 * has_profile + 8 * has_level)
