"""From one encapsulated syntax to another without decoding: the same samples, so nothing is lost and nothing to be marked.

- A codestream of a narrower syntax is one of the wider syntax as well (PS3.5 10.5 to 10.20): lossless JPEG with selection
  value 1 is lossless JPEG; a reversible JPEG 2000 codestream is JPEG 2000; RPCL is one of the orders of HTJ2K; and so on.
- JPEG XL keeps a JPEG baseline codestream in about 80 % of its size, and gives it back bit for bit (PS3.5 10.22).

The libraries are imported with the first frame that needs them: what is possible is asked for every instance.
"""

from collections.abc import Callable

from app.dicom.codecs.jpeg_header import read_jpeg_header
from app.errors import CodecError

_PREFIX = "1.2.840.10008.1.2.4."
_BASELINE = 0xC0


def _as_it_is(codestream: bytes) -> bytes:
    return codestream


def _jpeg_to_jpeg_xl(codestream: bytes) -> bytes:
    header = read_jpeg_header(codestream)
    end = codestream.rfind(b"\xff\xd9")
    if header.process != _BASELINE or end < header.scan:
        raise CodecError("the frame is not a whole codestream of JPEG baseline")
    import imagecodecs

    # What pads a fragment is no part of the codestream.
    return bytes(imagecodecs.jpegxl_encode_jpeg(codestream[: end + 2], usecontainer=True, numthreads=1))


def _jpeg_xl_to_jpeg(codestream: bytes) -> bytes:
    import imagecodecs

    return bytes(imagecodecs.jpegxl_decode_jpeg(codestream))  # type: ignore[call-arg]  # its types ask for more than it takes


def _baseline_to_extended(codestream: bytes) -> bytes:
    if read_jpeg_header(codestream).process != _BASELINE:
        raise CodecError("the frame is not a codestream of JPEG baseline")
    from app.dicom.codecs.encoders import as_extended

    return as_extended(codestream)


# (stored, asked for) without the common prefix -> recompress(codestream)
_ROUTES: dict[tuple[str, str], Callable[[bytes], bytes]] = {
    ("50", "51"): _baseline_to_extended,
    ("50", "111"): _jpeg_to_jpeg_xl,
    ("111", "50"): _jpeg_xl_to_jpeg,
    ("70", "57"): _as_it_is,
    ("90", "91"): _as_it_is,
    ("92", "93"): _as_it_is,
    ("201", "203"): _as_it_is,
    ("202", "201"): _as_it_is,
    ("202", "203"): _as_it_is,
    ("110", "112"): _as_it_is,
    ("111", "112"): _as_it_is,
}


def can_recompress(stored: str, wanted: str) -> bool:
    """Whether frames of transfer syntax `stored` become frames of `wanted` without being decoded."""
    return _route(stored, wanted) is not None


def recompress_frame(codestream: bytes, stored: str, wanted: str) -> bytes:
    """The same image in the other syntax; its description stays. Blocking and thread safe. Raises CodecError."""
    route = _route(stored, wanted)
    if route is None:
        raise CodecError("the frame cannot be recompressed without decoding it")
    try:
        return route(codestream)
    except (RuntimeError, ValueError, TypeError, MemoryError) as error:
        raise CodecError("the frame cannot be recompressed without loss") from error


def _route(stored: str, wanted: str) -> Callable[[bytes], bytes] | None:
    if not stored.startswith(_PREFIX) or not wanted.startswith(_PREFIX):
        return None
    return _ROUTES.get((stored.removeprefix(_PREFIX), wanted.removeprefix(_PREFIX)))
