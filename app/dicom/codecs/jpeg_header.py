"""What the markers of a JPEG or JPEG-LS codestream say before its first scan (ITU-T T.81 Annex B, T.87 Annex C)."""

from dataclasses import dataclass

from app.errors import CodecError

_SOI, _EOI, _SOS, _APP0, _APP14 = 0xD8, 0xD9, 0xDA, 0xE0, 0xEE
_SOF_JPEG_LS = 0xF7
_FRAME_HEADERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | {_SOF_JPEG_LS}
_WITHOUT_LENGTH = frozenset(range(0xD0, 0xD8)) | {0x01}


@dataclass(frozen=True, slots=True)
class JpegHeader:
    """process          second byte of the frame header's marker: 0xC0 baseline, 0xC1 extended, 0xC3 lossless, 0xF7 JPEG-LS
    precision        bits of a sample
    components       their identifiers, in order
    adobe_transform  of the APP14 marker: 0 = not transformed, 1 = YCbCr; None where there is no such marker
    scan             offset of the first start-of-scan marker
    frame            offset of the frame header's marker
    """

    process: int
    precision: int
    rows: int
    columns: int
    components: tuple[int, ...]
    has_jfif: bool
    adobe_transform: int | None
    scan: int
    frame: int


def read_jpeg_header(codestream: bytes) -> JpegHeader:
    """Raises CodecError when there is no frame header in front of the first scan."""
    if codestream[:2] != b"\xff\xd8":
        raise CodecError("the frame does not begin like a JPEG codestream")
    frame: tuple[int, bytes, int] | None = None
    has_jfif, adobe_transform, position = False, None, 2
    while position + 4 <= len(codestream):
        if codestream[position] != 0xFF:
            break
        marker = codestream[position + 1]
        if marker == 0xFF or marker in _WITHOUT_LENGTH:  # 0xFF: a fill byte (T.81 B.1.1.2)
            position += 1 if marker == 0xFF else 2
            continue
        if marker == _SOS:
            if frame is None:
                break
            return _header(*frame, has_jfif, adobe_transform, position)
        if marker in (_SOI, _EOI, 0):
            break
        length = int.from_bytes(codestream[position + 2 : position + 4], "big")
        segment = codestream[position + 4 : position + 2 + length]
        if length < 2 or len(segment) != length - 2:
            break
        if marker in _FRAME_HEADERS:
            if frame is not None:
                raise CodecError("the JPEG codestream has several frame headers")
            frame = (marker, segment, position)
        elif marker == _APP0 and segment.startswith(b"JFIF"):
            has_jfif = True
        elif marker == _APP14 and segment.startswith(b"Adobe") and len(segment) >= 12:
            adobe_transform = segment[11]
        position += 2 + length
    raise CodecError("the JPEG codestream has no readable header")


def _header(
    process: int, segment: bytes, offset: int, has_jfif: bool, adobe_transform: int | None, scan: int
) -> JpegHeader:
    if len(segment) < 6 or len(segment) != 6 + 3 * segment[5]:
        raise CodecError("the JPEG codestream has a broken frame header")
    return JpegHeader(
        process=process,
        precision=segment[0],
        rows=int.from_bytes(segment[1:3], "big"),
        columns=int.from_bytes(segment[3:5], "big"),
        components=tuple(segment[6::3]),
        has_jfif=has_jfif,
        adobe_transform=adobe_transform,
        scan=scan,
        frame=offset,
    )
