"""JPEG and JPEG-LS streams (ITU-T T.81 Annex B, T.87 Annex C; PS3.5 8.2.1 and 8.2.3)."""

from app.dicom.codecs.jpeg_header import JpegHeader, read_jpeg_header
from app.dicom.stream_headers.description import StreamDescription, UnusableStream, check_size, colours
from app.errors import CodecError

_HEADERS = (1 << 16, 1 << 22)  # bytes looked at: nearly always enough, and with large colour profiles and thumbnails
_BASELINE, _EXTENDED, _PROGRESSIVE, _LOSSLESS, _JPEG_LS = 0xC0, 0xC1, 0xC2, 0xC3, 0xF7
_JPEG = "1.2.840.10008.1.2.4."
_RGB_IDENTIFIERS = ((82, 71, 66), (114, 103, 98))  # "RGB", "rgb"
_YBR = ("YBR_FULL", "YBR_FULL_422")


def describe_jpeg(payload: memoryview) -> StreamDescription:
    """Raises UnusableStream."""
    head, header = _header(payload)
    check_size(header.rows, header.columns)
    is_jpeg_ls = header.process == _JPEG_LS
    syntaxes, bits = _syntaxes(header, head)
    lossy = header.process not in (_LOSSLESS, _JPEG_LS) or syntaxes[0] == _JPEG + "81"
    photometric, photometrics = _colours(header, head)
    return StreamDescription(
        media_type="image/jls" if is_jpeg_ls else "image/jpeg",
        transfer_syntaxes=syntaxes,
        rows=header.rows,
        columns=header.columns,
        samples=len(header.components),
        bits=bits,
        is_signed=None,
        photometric=photometric,
        photometrics=photometrics,
        number_of_frames=1,
        method=("ISO_14495_1" if is_jpeg_ls else "ISO_10918_1") if lossy else "",
        start=0,
        length=len(payload),
    )


def _header(payload: memoryview) -> tuple[bytes, JpegHeader]:
    for size in _HEADERS:
        head = bytes(payload[:size])
        try:
            return head, read_jpeg_header(head)
        except CodecError as error:
            if len(payload) <= size or size == _HEADERS[-1]:
                raise UnusableStream(str(error)) from None
    raise UnusableStream("the JPEG stream has no readable header")


def _syntaxes(header: JpegHeader, head: bytes) -> tuple[tuple[str, ...], int]:
    """Transfer syntaxes and bits of a sample. Raises UnusableStream for processes that DICOM retired or never had."""
    process, bits = header.process, header.precision
    if process == _BASELINE and bits == 8:
        return (_JPEG + "50", _JPEG + "51"), bits
    if process == _EXTENDED and bits in (8, 12):
        return (_JPEG + "51",), bits
    # Behind the marker: length, number of components, two bytes for each, then predictor or NEAR.
    at = header.scan + 5 + 2 * head[header.scan + 4] if header.scan + 4 < len(head) else len(head)
    if at >= len(head):
        raise UnusableStream("the JPEG stream ends within the header of its first scan")
    if process == _LOSSLESS and 2 <= bits <= 16:
        return ((_JPEG + "70", _JPEG + "57") if head[at] == 1 else (_JPEG + "57",)), bits
    if process == _JPEG_LS and 2 <= bits <= 16:
        return ((_JPEG + "80", _JPEG + "81") if head[at] == 0 else (_JPEG + "81",)), bits
    kind = "progressive " if process == _PROGRESSIVE else ""
    raise UnusableStream(f"{kind}JPEG of process {process:02X}H with {bits} bits has no transfer syntax")


def _colours(header: JpegHeader, head: bytes) -> tuple[str, frozenset[str]]:
    """YCbCr or RGB, as app.dicom.codecs.jpeg will read it: identifiers that spell RGB and the marker of Adobe settle it,
    JFIF is always YCbCr; without any of them the sender is believed.
    """
    samples = len(header.components)
    if header.process in (_LOSSLESS, _JPEG_LS):
        return colours(samples, "RGB", _YBR)
    if header.components in _RGB_IDENTIFIERS or header.adobe_transform == 0:
        return colours(samples, "RGB")
    # The first component sampled as the others are is 4:4:4; what is subsampled is called YBR_FULL_422.
    has_full_chroma = head[header.frame + 11 : header.frame + 12] == b"\x11"
    photometric = "YBR_FULL" if has_full_chroma else "YBR_FULL_422"
    certain = header.has_jfif or header.adobe_transform is not None
    return colours(samples, photometric, _YBR if certain else (*_YBR, "RGB"))
