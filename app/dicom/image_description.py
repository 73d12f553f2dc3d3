"""What image, and in which transfer syntax, the payload of a bulkdata part is (PS3.18 10.5.1.4, Table 10.5.2-1).

The first bytes say what a payload is; the part's media type has to agree, with the names that are in use for it.
"""

from collections.abc import Callable

from app.dicom.metadata_elements import Payload
from app.dicom.stream_headers import hevc, jpeg_2000, jpeg_xl, mp4, mpeg_2
from app.dicom.stream_headers.description import StreamDescription, UnusableStream
from app.dicom.stream_headers.jpeg import describe_jpeg

OCTET_STREAM = "application/octet-stream"
RLE = "image/dicom-rle"
RASTER_TYPES = frozenset(("image/png", "image/gif"))  # decoded before they are stored
# Names that senders use, by the one of PS3.18 Table 8.7.3-5 (8.7.3.3.2 has some of the old ones in a note).
_ALIASES = {
    "image/jpg": "image/jpeg",
    "image/pjpeg": "image/jpeg",
    "image/x-jls": "image/jls",
    "image/jll": "image/jpeg",
    "image/jpeg2000": "image/jp2",
    "image/j2c": "image/jp2",
    "image/x-jp2": "image/jp2",
    "image/jph": "image/jphc",
    "image/x-htj2k": "image/jphc",
    "image/x-jxl": "image/jxl",
    "image/x-dicom-rle": RLE,
    "video/mpeg2": "video/mpeg",
    "video/h265": "video/H265",
    "": OCTET_STREAM,
}
# Types whose streams are told apart by their headers better than by senders.
_KIN = ({"image/jp2", "image/jpx", "image/jphc"}, {"video/mp4", "video/H265"})
_KNOWN = frozenset(
    ("image/jpeg", "image/jls", "image/jp2", "image/jpx", "image/jphc", "image/jxl", "video/mp4", "video/mpeg")
) | {"video/H265", RLE, OCTET_STREAM, *RASTER_TYPES}


def usual_type(payload: Payload) -> str:
    """The media type of a part in the words of PS3.18. Raises UnusableStream for one that pixel data cannot be."""
    name = _ALIASES.get(payload.media_type, payload.media_type)
    if name not in _KNOWN:
        raise UnusableStream(f"pixel data of type {name[:80]} is not stored here")
    return name


def raster_type(data: memoryview) -> str:
    """image/png or image/gif, "" for neither."""
    head = bytes(data[:8])
    if head == b"\x89PNG\r\n\x1a\n":
        return "image/png"
    return "image/gif" if head[:6] in (b"GIF87a", b"GIF89a") else ""


def describe_stream(data: memoryview, media_type: str) -> StreamDescription:
    """The stream that is the whole payload.

    media_type  as `usual_type` gives it; OCTET_STREAM agrees with everything
    Raises UnusableStream.
    """
    describe = _reader_of(bytes(data[:400]), media_type)
    if describe is None:
        raise UnusableStream(f"the part is {media_type}, but its bytes do not begin like it")
    found = describe(data)
    kin = next((kin for kin in _KIN if found.media_type in kin), {found.media_type})
    if media_type != OCTET_STREAM and media_type not in kin:
        raise UnusableStream(f"the part is {media_type}, but holds {found.media_type}")
    return found


def _reader_of(head: bytes, media_type: str) -> Callable[[memoryview], StreamDescription] | None:
    if head.startswith(b"\xff\xd8\xff"):
        return describe_jpeg
    if head.startswith((jpeg_2000.START, jpeg_2000.JP2_SIGNATURE)):
        return jpeg_2000.describe_jpeg_2000
    if head.startswith((jpeg_xl.CODESTREAM, jpeg_xl.CONTAINER)):
        return jpeg_xl.describe_jpeg_xl
    if mp4.is_mp4(head):
        return mp4.describe_mp4
    # The two begin alike: 000001B3 and 000001BA are no NAL units that a stream of H.265 can begin with.
    if mpeg_2.is_mpeg_2(head):
        return mpeg_2.describe_mpeg_2
    if hevc.is_hevc(head):
        return hevc.describe_hevc
    return None
