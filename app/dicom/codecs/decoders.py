"""The decoders, by family of transfer syntaxes. Importing this brings the libraries that decode."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from app.dicom.codecs import jpeg, jpeg_2000, jpeg_ls, jpeg_xl, rle, uncompressed
from app.dicom.layout import ImagePixel
from app.dicom.transfer_syntaxes import Family

# decode(codestream, stored description, description of the result) -> native frame
Decode = Callable[[bytes, ImagePixel, ImagePixel], bytes]

DECODERS: Mapping[Family, Decode] = MappingProxyType(
    {
        Family.NATIVE: uncompressed.decode_uncompressed,
        Family.JPEG: jpeg.decode,
        Family.JPEG_LS: jpeg_ls.decode,
        Family.JPEG_2000: jpeg_2000.decode_jpeg_2000,
        Family.HTJ2K: jpeg_2000.decode_htj2k,
        Family.JPEG_XL: jpeg_xl.decode,
        Family.RLE: rle.decode,
        Family.DEFLATED_FRAME: uncompressed.decode_deflated,
    }
)
