"""Videos as far as their headers go, written bit by bit: what describes them is right, their pictures are noise.

mp4(rows, columns, frames)         an MP4 file of one video track, H.264 High Profile level 4.1 unless told
hevc(rows, columns, frames)        a byte stream of H.265 NAL units
mpeg_2(rows, columns, frames)      an elementary stream; `program_stream` and `transport_stream` wrap one into packets
"""

import random
import struct


class Bits:
    """Writes numbers of any width, most significant bit first."""

    def __init__(self) -> None:
        self._text = ""

    def u(self, width: int, value: int = 0) -> "Bits":
        self._text += f"{value:0{width}b}" if width else ""
        return self

    def ue(self, value: int) -> "Bits":
        """Exponential Golomb code."""
        digits = f"{value + 1:b}"
        self._text += "0" * (len(digits) - 1) + digits
        return self

    def bytes(self) -> bytes:
        """With the stop bit and zeros behind it."""
        text = self._text + "1"
        text += "0" * (-len(text) % 8)
        return int(text, 2).to_bytes(len(text) // 8, "big")


def noise(size: int, seed: int = 1) -> bytes:
    """Bytes without zeros, so that no start code is among them."""
    generator = random.Random(seed)
    return bytes(generator.randrange(1, 256) for _ in range(size))


def box(kind: bytes, *content: bytes) -> bytes:
    body = b"".join(content)
    return struct.pack(">I4s", 8 + len(body), kind) + body


def avc_configuration(profile: int = 100, level: int = 41, compatibility: int = 0) -> bytes:
    return box(b"avcC", bytes((1, profile, compatibility, level, 0xFF, 0xE0, 0)))


def hevc_configuration(profile: int = 1, level: int = 153) -> bytes:
    return box(b"hvcC", bytes((1, profile)) + bytes(10) + bytes((level,)) + bytes(10))


def track(
    rows: int,
    columns: int,
    frames: int,
    codec: bytes,
    configuration: bytes,
    handler: bytes = b"vide",
    *,
    sizes: bool = True,
) -> bytes:
    """A trak box; `frames` 0 is what a fragmented file says."""
    entry = struct.pack(">6xH16xHH", 1, columns, rows) + bytes(50) + configuration
    table = box(b"stsd", struct.pack(">II", 0, 1), box(codec, entry))
    if sizes:
        table += box(b"stsz", struct.pack(">III", 0, 100, frames))
    media = box(b"hdlr", struct.pack(">II4s12xx", 0, 0, handler)) + box(b"minf", box(b"stbl", table))
    return box(b"trak", box(b"tkhd", bytes(84)), box(b"mdia", media))


def mp4(
    rows: int = 240,
    columns: int = 320,
    frames: int = 7,
    codec: bytes = b"avc1",
    configuration: bytes | None = None,
    *,
    payload: bytes = b"",
    index_first: bool = False,
) -> bytes:
    """A whole file; an audio track comes before the video one."""
    configuration = configuration or avc_configuration()
    sound = track(0, 0, 3, b"mp4a", b"", b"soun")
    index = box(b"moov", box(b"mvhd", bytes(100)), sound, track(rows, columns, frames, codec, configuration))
    data = box(b"mdat", payload or noise(1000))
    whole = box(b"ftyp", b"isom\0\0\2\0isomavc1") + (index + data if index_first else data + index)
    return whole + b"\0\0\0\x09free\0" if len(whole) % 2 else whole


def hevc(
    rows: int = 240,
    columns: int = 320,
    frames: int = 5,
    profile: int = 1,
    level: int = 153,
    bits: int = 8,
    chroma: int = 1,
) -> bytes:
    """VPS, SPS, PPS and pictures of two slices each; the size is coded in blocks of 16 and cropped."""
    coded_rows, coded_columns = -(-rows // 16) * 16, -(-columns // 16) * 16
    general = Bits().u(4).u(3, 1).u(1, 1).u(2).u(1).u(5, profile).u(32, 0x60000000).u(48).u(8, level)
    general.u(1, 1).u(1, 1).u(2 * 7).u(88).u(8, level)  # one sub-layer with profile and level of its own
    general.ue(0).ue(chroma)
    if chroma == 3:
        general.u(1)
    general.ue(coded_columns).ue(coded_rows).u(1, 1)
    general.ue(0).ue((coded_columns - columns) // 2).ue(0).ue((coded_rows - rows) // 2)
    parameters = general.ue(bits - 8).ue(bits - 8).ue(4).u(40).bytes()
    stream = b"\0\0\0\1" + b"\x40\x01" + noise(20)
    stream += b"\0\0\0\1" + b"\x42\x01" + escaped(parameters)
    stream += b"\0\0\1" + b"\x44\x01" + noise(6)
    for number in range(frames):
        stream += b"\0\0\1\x26\x01\xaf" + noise(80, number) + b"\0\0\1\x26\x01\x2f" + noise(80, number)
    return stream + b"\x01" * (len(stream) % 2)


def escaped(payload: bytes) -> bytes:
    """Emulation prevention (H.265 7.4.2)."""
    result = bytearray()
    for byte in payload:
        if byte <= 3 and result[-2:] == b"\0\0":
            result.append(3)
        result.append(byte)
    return bytes(result)


def mpeg_2(
    rows: int = 240, columns: int = 320, frames: int = 5, profile: int = 4, level: int = 8, chroma: int = 1
) -> bytes:
    """An elementary stream of MPEG-2; `profile` 0 leaves the extension away, as MPEG-1 does."""
    stream = b"\0\0\1\xb3" + struct.pack(">I", (columns & 0xFFF) << 20 | (rows & 0xFFF) << 8 | 0x13) + noise(4)
    if profile:
        fields = 1 << 28 | profile << 24 | level << 20 | 1 << 19 | chroma << 17 | columns >> 12 << 15 | rows >> 12 << 13
        stream += b"\0\0\1\xb5" + struct.pack(">I", fields) + noise(2)
    for number in range(frames):
        stream += b"\0\0\1\x00" + noise(60, number) + b"\0\0\1\x01" + noise(200, number)
    return stream + b"\0\0\1\xb7"


def program_stream(elementary: bytes, size: int = 101) -> bytes:
    """Packs of one packet each, a packet of sound between them (ISO/IEC 13818-1 2.5.3)."""
    packs = []
    for start in range(0, len(elementary), size):
        content = b"\x81\x80\x02\xff\xff" + elementary[start : start + size]
        packs.append(b"\0\0\1\xba\x44" + noise(8) + b"\xf9\xff")  # one byte of stuffing
        packs.append(b"\0\0\1\xe0" + struct.pack(">H", len(content)) + content)
        packs.append(b"\0\0\1\xc0\0\x08\x81\0\0" + b"\0\0\1\0\0"[:5])  # looks like a picture, is sound
    return b"".join(packs) + b"\0\0\1\xb9"


def transport_stream(elementary: bytes, size: int = 150) -> bytes:
    """Packets of 188 bytes: programme tables, video on 0x100, sound on 0x101 (ISO/IEC 13818-1 2.4.3)."""
    packets = [_packet(0, b"\0" + noise(100), start=True)]
    for start in range(0, len(elementary), size):
        head = b"\0\0\1\xe0\0\0\x80\x80\x05" + noise(5) if start == 0 else b""
        packets.append(_packet(0x100, head + elementary[start : start + size], start=start == 0))
        packets.append(_packet(0x101, b"\0\0\1\xc0\0\0\x80\0\0" + b"\0\0\1\0", start=True))
    return b"".join(packets)


def _packet(stream: int, content: bytes, *, start: bool) -> bytes:
    stuffing = 183 - len(content)
    head = struct.pack(">BHB", 0x47, start << 14 | stream, 0x30)
    adaptation = bytes((stuffing,)) + (b"\0" + b"\xff" * (stuffing - 1) if stuffing else b"")
    return head + adaptation + content
