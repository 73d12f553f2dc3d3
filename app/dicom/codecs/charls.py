"""JPEG-LS encoding (ITU-T T.87) with the precision of the image, by the CharLS library that imagecodecs brings with it.

imagecodecs itself codes every sample as 8 or 16 bits, where PS3.5 8.2.3 wants the codestream consistent with Bits Stored; so
the library's C interface is called directly. ctypes lets other threads run meanwhile.
"""

import ctypes
import ctypes.util
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import imagecodecs

from app.dicom.codecs.samples import Samples
from app.errors import CodecError

_BY_PIXEL = 2  # interleave mode of colour (T.87 C.2.3): sample by sample
_SUCCESS = 0


class _FrameInfo(ctypes.Structure):
    _fields_ = (
        ("width", ctypes.c_uint32),
        ("height", ctypes.c_uint32),
        ("bits_per_sample", ctypes.c_int32),
        ("component_count", ctypes.c_int32),
    )


def encode_jpeg_ls(samples: Samples, bits: int, near: int) -> bytes:
    """A codestream of rows x columns [x 3] unsigned samples of 2 to 16 bits, contiguous, in the smallest type that holds them.

    near  how far a sample may be off; 0 = lossless
    Raises CodecError.
    """
    library = _library()
    if library is None:  # another build of imagecodecs: as many bits as its samples have
        return bytes(imagecodecs.jpegls_encode(samples, level=near or None))
    rows, columns = samples.shape[:2]
    components = samples.shape[2] if samples.ndim == 3 else 1
    encoder = library.charls_jpegls_encoder_create()
    if not encoder:
        raise CodecError("there is not enough memory to encode JPEG-LS")
    try:
        info = _FrameInfo(columns, rows, bits, components)
        _check(library.charls_jpegls_encoder_set_frame_info(encoder, ctypes.byref(info)))
        if components > 1:
            _check(library.charls_jpegls_encoder_set_interleave_mode(encoder, _BY_PIXEL))
        if near:
            _check(library.charls_jpegls_encoder_set_near_lossless(encoder, near))
        estimated = ctypes.c_size_t()
        _check(library.charls_jpegls_encoder_get_estimated_destination_size(encoder, ctypes.byref(estimated)))
        # The estimate is of the samples' own size; noise of few bits may take more than that.
        room = 2 * estimated.value + 1024
        buffer = (ctypes.c_char * room)()
        _check(library.charls_jpegls_encoder_set_destination_buffer(encoder, buffer, room))
        source = samples.ctypes.data_as(ctypes.c_void_p)
        _check(library.charls_jpegls_encoder_encode_from_buffer(encoder, source, samples.nbytes, 0))
        written = ctypes.c_size_t()
        _check(library.charls_jpegls_encoder_get_bytes_written(encoder, ctypes.byref(written)))
        return ctypes.string_at(buffer, written.value)
    finally:
        library.charls_jpegls_encoder_destroy(encoder)


def _check(error: int) -> None:
    if error != _SUCCESS:
        raise CodecError(f"the image cannot be encoded as JPEG-LS (error {error} of the library)")


@cache
def _library() -> ctypes.CDLL | None:
    for name in _candidates():
        try:
            library = ctypes.CDLL(name)
            library.charls_jpegls_encoder_create.restype = ctypes.c_void_p
        except (OSError, AttributeError):
            continue
        _declare(library)
        return library
    return None


def _candidates() -> Iterator[str]:
    """Where wheels keep the libraries they bring (Linux, macOS), then where the system has its own."""
    package = Path(imagecodecs.__file__).parent
    for folder in (package.with_name("imagecodecs.libs"), package / ".dylibs"):
        yield from (str(path) for path in sorted(folder.glob("libcharls*")))
    system = ctypes.util.find_library("charls")
    if system:
        yield system


def _declare(library: ctypes.CDLL) -> None:
    handle, size = ctypes.c_void_p, ctypes.c_size_t
    arguments: dict[str, list[object]] = {
        "destroy": [handle],
        "set_frame_info": [handle, ctypes.POINTER(_FrameInfo)],
        "set_interleave_mode": [handle, ctypes.c_int32],
        "set_near_lossless": [handle, ctypes.c_int32],
        "get_estimated_destination_size": [handle, ctypes.POINTER(size)],
        "set_destination_buffer": [handle, ctypes.c_void_p, size],
        "encode_from_buffer": [handle, ctypes.c_void_p, size, ctypes.c_uint32],
        "get_bytes_written": [handle, ctypes.POINTER(size)],
    }
    for name, types in arguments.items():
        function = getattr(library, f"charls_jpegls_encoder_{name}")
        function.argtypes = types
        function.restype = None if name == "destroy" else ctypes.c_int32
