"""MPEG-2 video: elementary, program and transport streams (ISO/IEC 13818-1 and -2; PS3.5 8.2.5, 8.2.6)."""

import re
from collections.abc import Iterator

from app.dicom.stream_headers.description import StreamDescription, UnusableStream, check_size
from app.dicom.stream_headers.mp4 import video

_MAIN_LEVEL = ("1.2.840.10008.1.2.4.100", "1.2.840.10008.1.2.4.101")
_HIGH_LEVEL = ("1.2.840.10008.1.2.4.101",)
_PACK, _SEQUENCE = b"\0\0\1\xba", b"\0\0\1\xb3"
_SYNC, _PACKET = 0x47, 188
_PICTURE = re.compile(rb"\x00\x00\x01\x00", re.DOTALL)
_HEAD = 1 << 22
_MAIN, _SIMPLE = 4, 5
_LEVELS = {4: "high", 6: "high 1440", 8: "main", 10: "low"}


def is_mpeg_2(head: bytes) -> bool:
    return head.startswith((_PACK, _SEQUENCE)) or (head[:1] == b"\x47" and head[_PACKET : _PACKET + 1] == b"\x47")


def describe_mpeg_2(payload: memoryview) -> StreamDescription:
    """Pictures are counted over the whole stream. Raises UnusableStream."""
    head = b""
    for piece in _video_of(payload):
        head += bytes(piece[: _HEAD - len(head)])
        if len(head) >= _HEAD or (_SEQUENCE in head and len(head) - head.index(_SEQUENCE) > 1024):
            break
    at = head.find(_SEQUENCE)
    if at < 0 or at + 12 > len(head):
        raise UnusableStream("the MPEG-2 stream has no sequence header")
    sizes = int.from_bytes(head[at + 4 : at + 7], "big")
    columns, rows = sizes >> 12, sizes & 0xFFF
    extension = head.find(b"\0\0\1\xb5", at)
    if extension < 0 or extension + 8 > len(head) or head[extension + 4] >> 4 != 1:
        raise UnusableStream("the stream is MPEG-1 video, which has no transfer syntax")
    fields = int.from_bytes(head[extension + 4 : extension + 8], "big")
    profile, level, chroma = fields >> 24 & 0x7, fields >> 20 & 0xF, fields >> 17 & 0x3
    columns |= (fields >> 15 & 0x3) << 12
    rows |= (fields >> 13 & 0x3) << 12
    if profile not in (_MAIN, _SIMPLE) or level not in _LEVELS or chroma != 1:
        raise UnusableStream("MPEG-2 other than 4:2:0 of Main Profile has no transfer syntax")
    check_size(rows, columns)
    syntaxes: tuple[str, ...] = _MAIN_LEVEL if level in (8, 10) else _HIGH_LEVEL
    syntaxes += tuple(f"{uid}.1" for uid in syntaxes)
    return video("video/mpeg", syntaxes, rows, columns, 8, _count_pictures(payload) or None, "ISO_13818_2", payload)


def _count_pictures(payload: memoryview) -> int:
    """Start codes of pictures, those across two pieces too."""
    count, tail = 0, b""
    for piece in _video_of(payload):
        border = tail + bytes(piece[:3])
        count += sum(1 for found in _PICTURE.finditer(border) if found.start() < len(tail) < found.end())
        count += sum(1 for _ in _PICTURE.finditer(piece))
        tail = (tail + bytes(piece[-3:]))[-3:]
    return count


def _video_of(payload: memoryview) -> Iterator[memoryview]:
    """The video in pieces, as its packets hold it."""
    head = bytes(payload[:4])
    if head == _PACK:
        return _program_stream(payload)
    if head[:1] == b"\x47":
        return _transport_stream(payload)
    return iter((payload,))


def _program_stream(payload: memoryview) -> Iterator[memoryview]:
    position = 0
    while position + 9 <= len(payload) and bytes(payload[position : position + 3]) == b"\0\0\1":
        kind = payload[position + 3]
        if kind == 0xB9:  # end
            return
        if kind == 0xBA:
            if payload[position + 4] >> 6 != 1:
                raise UnusableStream("the stream is an MPEG-1 system stream, which has no transfer syntax")
            stuffing = payload[position + 13] & 7 if position + 14 <= len(payload) else 0
            position += 14 + stuffing
            continue
        end = position + 6 + int.from_bytes(payload[position + 4 : position + 6], "big")
        if 0xE0 <= kind <= 0xEF:
            yield payload[position + 9 + payload[position + 8] : end]
        position = end


def _transport_stream(payload: memoryview) -> Iterator[memoryview]:
    """The first elementary stream that begins with a packet of video."""
    wanted = -1
    for position in range(0, len(payload) - _PACKET + 1, _PACKET):
        sync, high, low, control = payload[position : position + 4]
        if sync != _SYNC:
            raise UnusableStream("the packets of the MPEG-2 transport stream are out of step")
        stream = (high & 0x1F) << 8 | low
        if not control & 0x10 or (wanted >= 0 and stream != wanted):
            continue
        start = position + 4 + (1 + payload[position + 4] if control & 0x20 else 0)
        content = payload[start : position + _PACKET]
        if high & 0x40 and len(content) > 9 and bytes(content[:3]) == b"\0\0\1":
            if not 0xE0 <= content[3] <= 0xEF:
                continue
            wanted = stream
            content = content[9 + content[8] :]
        if stream == wanted:
            yield content
