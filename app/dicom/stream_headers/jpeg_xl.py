"""JPEG XL streams (ISO/IEC 18181-1 Annexes A, D and F, 18181-2; PS3.5 8.2.15)."""

import struct

from app.dicom.stream_headers.bits import BitReader, OutOfBits
from app.dicom.stream_headers.description import StreamDescription, UnusableStream, check_size, colours

CODESTREAM = b"\xff\x0a"
CONTAINER = b"\x00\x00\x00\x0cJXL \r\n\x87\n"
_LOSSLESS, _RECOMPRESSION, _GENERAL = (f"1.2.840.10008.1.2.4.{number}" for number in (110, 111, 112))
_RATIOS = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))
_MAX_BOXES = 1000
_RGB, _GREY, _XYB = 0, 1, 2
_CHROMA_NONE = 0


def describe_jpeg_xl(payload: memoryview) -> StreamDescription:
    """Raises UnusableStream, also for animations and for images with an alpha channel: nothing here decodes them."""
    head, has_reconstruction = _codestream(payload)
    if not head.startswith(CODESTREAM):
        raise UnusableStream("the JPEG XL file holds no codestream")
    bits = BitReader(head[2:], little_endian=True)
    try:
        return _describe(bits, has_reconstruction, len(payload))
    except OutOfBits:
        raise UnusableStream("the JPEG XL stream ends within its header") from None


def _codestream(payload: memoryview) -> tuple[bytes, bool]:
    """The first bytes of the codestream, and whether the file can give a JPEG back (box jbrd)."""
    if bytes(payload[:2]) == CODESTREAM:
        return bytes(payload[:4096]), False
    position, head, has_reconstruction = 0, b"", False
    for _ in range(_MAX_BOXES):
        if position + 8 > len(payload):
            break
        length, kind = struct.unpack_from(">I4s", payload, position)
        header = 8
        if length == 1 and position + 16 <= len(payload):
            (length,) = struct.unpack_from(">Q", payload, position + 8)
            header = 16
        elif length == 0:
            length = len(payload) - position
        if length < header:
            break
        has_reconstruction = has_reconstruction or kind == b"jbrd"
        if kind in (b"jxlc", b"jxlp") and len(head) < 4096:
            skip = header + (4 if kind == b"jxlp" else 0)  # a part begins with its number
            head += bytes(payload[position + skip : position + min(length, skip + 4096)])
        position += length
    return head, has_reconstruction


def _describe(bits: BitReader, has_reconstruction: bool, length: int) -> StreamDescription:
    rows, columns = _size(bits)
    check_size(rows, columns)
    precision, samples, is_xyb, is_known = _metadata(bits)
    syntaxes: tuple[str, ...] = (_GENERAL,)
    photometric, method = "XYB" if is_xyb else "RGB", "ISO_18181_1"
    if has_reconstruction:
        syntaxes, photometric = (_RECOMPRESSION, _GENERAL), "YBR_FULL_422"
    elif is_known:
        is_modular, is_ycbcr, has_full_chroma = _frame(bits, is_xyb=is_xyb)
        if is_modular and not is_xyb:
            syntaxes, method = (_LOSSLESS, _GENERAL), ""
        elif is_ycbcr:
            syntaxes = (_RECOMPRESSION, _GENERAL)
            photometric = "YBR_FULL" if has_full_chroma else "YBR_FULL_422"
    else:
        syntaxes = (_GENERAL, _LOSSLESS, _RECOMPRESSION)  # hidden behind a colour profile: the sender may know better
    named, photometrics = colours(samples, photometric, ("RGB", "XYB", "YBR_FULL", "YBR_FULL_422"))
    return StreamDescription(
        media_type="image/jxl",
        transfer_syntaxes=syntaxes,
        rows=rows,
        columns=columns,
        samples=samples,
        bits=precision,
        is_signed=None,
        photometric=named,
        photometrics=photometrics,
        number_of_frames=1,
        method=method,
        start=0,
        length=length,
    )


def _size(bits: BitReader) -> tuple[int, int]:
    """SizeHeader (D.2)."""
    small = bits.flag()

    def side() -> int:
        return 8 * (bits.take(5) + 1) if small else 1 + bits.take((9, 13, 18, 30)[bits.take(2)])

    rows = side()
    ratio = bits.take(3)
    if not ratio:
        return rows, side()
    wide, high = _RATIOS[ratio - 1]
    return rows, rows * wide // high


def _metadata(bits: BitReader) -> tuple[int, int, bool, bool]:
    """ImageMetadata (D.3): bits of a sample, samples, XYB, and whether the frame header follows where it can be read."""
    if bits.flag():  # all_default: 8 bits, sRGB, XYB
        return 8, 3, True, bits.flag()
    has_extra = bits.flag()
    if has_extra:
        bits.take(3)  # orientation
        if bits.flag():
            _size(bits)
        if bits.flag():
            raise UnusableStream("a JPEG XL stream with a preview is not stored here")
        if bits.flag():
            raise UnusableStream("a JPEG XL animation is not stored here: its frames are sent one by one")
    if bits.flag():
        raise UnusableStream("JPEG XL of floating point samples is not stored here")
    choice = bits.take(2)
    precision = (8, 10, 12)[choice] if choice < 3 else 1 + bits.take(6)
    bits.flag()  # modular_16bit_buffers
    if bits.take(2):
        raise UnusableStream("a JPEG XL stream with alpha or other extra channels is not stored here")
    is_xyb = bits.flag()
    space, has_profile = _colour_encoding(bits)
    if has_extra and not bits.flag():
        return precision, 1 if space == _GREY else 3, is_xyb, False  # tone mapping: not followed
    known = not has_profile and bits.take(2) == 0 and bits.flag()  # no extensions, default transforms
    return precision, 1 if space == _GREY else 3, is_xyb, known


def _colour_encoding(bits: BitReader) -> tuple[int, bool]:
    """ColourEncoding (D.3.5): colour space, and whether a profile takes the place of the rest."""
    if bits.flag():
        return _RGB, False
    has_profile = bits.flag()
    space = _enumerated(bits)
    if has_profile:
        return space, True
    if space != _XYB:
        if _enumerated(bits) == 2:
            _custom_xy(bits, 1)
        if space != _GREY and _enumerated(bits) == 2:
            _custom_xy(bits, 3)
    if bits.flag():
        bits.take(24)  # gamma
    else:
        _enumerated(bits)  # transfer function
    _enumerated(bits)  # rendering intent
    return space, False


def _enumerated(bits: BitReader) -> int:
    choice = bits.take(2)
    return choice if choice < 2 else 2 + bits.take(4) if choice == 2 else 18 + bits.take(6)


def _custom_xy(bits: BitReader, count: int) -> None:
    for _ in range(2 * count):
        bits.take((19, 19, 20, 21)[bits.take(2)])


def _frame(bits: BitReader, *, is_xyb: bool) -> tuple[bool, bool, bool]:
    """FrameHeader (F.2) of the first frame: modular, YCbCr, chroma at full resolution."""
    bits.align()
    if bits.flag():  # all_default: VarDCT
        return False, False, True
    bits.take(2)  # frame type
    is_modular = bits.flag()
    flags = bits.u64()
    if is_xyb or not bits.flag():
        return is_modular, False, True
    has_full_chroma = bool(flags & 0x20) or all(bits.take(2) == _CHROMA_NONE for _ in range(3))
    return is_modular, True, has_full_chroma
