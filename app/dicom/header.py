"""From the bytes of a PS3.10 file to all that an archive keeps of it, in one pass.

`parse_instance` follows what the bytes say as far as they leave one way to read them. What is odd goes to the slow reader
(app.dicom.fallback), with the same results; what is broken or hostile is refused with a DicomError.

Where this reader's JSON differs on purpose from what pydicom makes of the same file:
    empty values      no Value at all (F.2.5), pydicom: [], [""] or [{"Alphabetic": ""}]
    DS, IS            as in app.dicom.json_model; pydicom: always float and int
    (0008,0005)       ISO_IR 192, as the JSON is UTF-8
    "OB or OW" etc.   always settled; pydicom leaves some as they are in its dictionary
    UN                as pydicom: the dictionary's VR for known tags of less than 65,535 bytes, else binary
    unknown VRs       (not in PS3.5) as UN
    wrong lengths     of numbers: VR UN and binary; pydicom tries other VRs
    big-endian words  InlineBinary in little-endian order (F.2.7)
    LUT Descriptor    first value unsigned in Implicit VR too (pydicom: in Explicit VR)
    texts             NUL left out; escape sequences of sets that are not declared, and of ISO 2022 IR 58, are understood
"""

from dataclasses import replace
from functools import lru_cache
from typing import Any

from app.dicom.data_set_reader import DataSetReader, Odd
from app.dicom.deflated import inflate_data_set
from app.dicom.element_heads import (
    EXPLICIT_BIG_ENDIAN,
    EXPLICIT_LITTLE_ENDIAN,
    EXTENDED_OFFSET_TABLE,
    EXTENDED_OFFSET_TABLE_LENGTHS,
    IMPLICIT_LITTLE_ENDIAN,
    Encoding,
)
from app.dicom.file_meta import FileMeta, read_file_meta, says_vr, settled_file_meta
from app.dicom.fragments import TooManyFragments
from app.dicom.frame_index import build_frame_index
from app.dicom.instance import ParsedInstance
from app.dicom.json_model import to_json_text
from app.dicom.known_headers import KnownHeaders
from app.dicom.layout import image_pixel_of
from app.dicom.parse_limits import ParseLimits
from app.dicom.transfer_syntaxes import Family, TransferSyntax, transfer_syntax
from app.errors import DicomError, MalformedDicom

__all__ = ["FileMeta", "NotQuick", "ParseLimits", "parse_head", "parse_instance", "read_file_meta"]

QUICK_BYTES = 64 * 1024  # of a header: ten milliseconds at most, of elements without values
QUICK_FRAGMENTS = 4096  # four milliseconds
_DEFAULT_LIMITS = ParseLimits()


class NotQuick(DicomError):
    """The file is readable only by means that may take long: inflating, the slow reader, very many elements or fragments."""


@lru_cache(maxsize=4)
def _quick(limits: ParseLimits) -> ParseLimits:
    return replace(limits, at_once_bytes=QUICK_BYTES, at_once_fragments=QUICK_FRAGMENTS)


def parse_instance(
    data: bytes | memoryview,
    limits: ParseLimits = _DEFAULT_LIMITS,
    *,
    quick: bool = False,
    known_headers: KnownHeaders | None = None,
    size: int | None = None,
) -> ParsedInstance:
    """The instance in a whole file.

    data  bytes, or a memoryview over a mapped file: values of bulkdata and pixel data are not touched, but for the item
          headers of encapsulated pixel data (and the first and last bytes of fragments that no table describes)
    quick raise NotQuick where reading takes more than one fast pass over QUICK_BYTES and QUICK_FRAGMENTS: the caller then reads
          elsewhere, in a thread say
    known_headers  what was read of instances of the same series; nothing else depends on it but time
    size  of the file, where `data` is only its beginning: see `parse_head`

    Raises NotDicom, TruncatedDicom, MalformedDicom, UnsupportedTransferSyntax; nothing else, whatever the bytes.
    """
    view = memoryview(data)
    meta = settled_file_meta(view)
    syntax = transfer_syntax(meta.transfer_syntax_uid)
    offset = meta.dataset_offset
    if syntax.deflated:
        if quick:
            raise NotQuick("the data set is deflated")
        view, offset = memoryview(inflate_data_set(view[offset:], limits)), 0
    encoding = _encoding_of(view, offset, syntax)
    reader = DataSetReader(view, _quick(limits) if quick else limits, size)
    known = None
    if known_headers is not None and isinstance(data, bytes) and view.obj is data:
        known = known_headers.header_for(data, offset, encoding, limits)
    try:
        dataset = reader.read_top_level(offset, encoding, known.read if known else None)
    except TooManyFragments as error:
        if quick:
            raise NotQuick("there are very many fragments") from error
        raise
    except Odd as oddity:
        if quick:
            raise NotQuick("the data set is odd") from oddity
        # Only odd files need pydicom: 0.4 s and 25 MB of a process that meets none.
        from app.dicom.fallback import read_with_pydicom

        reader = DataSetReader(view, limits)
        dataset = read_with_pydicom(reader, offset, encoding)
    return _assembled(meta, syntax, reader, dataset)


def parse_head(
    head: bytes, size: int, limits: ParseLimits = _DEFAULT_LIMITS, known_headers: KnownHeaders | None = None
) -> ParsedInstance:
    """The same from the first bytes of a file of `size`, where native pixel data is all that is behind them, as in most images.

    Raises NotQuick for any other file, whatever is the matter with it: the whole of it will tell.
    """
    try:
        parsed = parse_instance(head, limits, quick=True, known_headers=known_headers, size=size)
    except DicomError as error:
        raise NotQuick("the beginning of the file is not enough") from error
    if len(head) < size and (parsed.pixel_data is None or parsed.pixel_data.end != size):
        raise NotQuick("something follows the pixel data")
    return parsed


def _assembled(
    meta: FileMeta, syntax: TransferSyntax, reader: DataSetReader, dataset: dict[str, Any]
) -> ParsedInstance:
    pixel_data = reader.pixel_data
    if pixel_data is not None and syntax.encapsulated != (pixel_data.length is None):
        written = "native" if pixel_data.length is not None else "encapsulated"
        raise MalformedDicom(f"{written} pixel data does not go with transfer syntax {syntax.name}")
    parsed = ParsedInstance(
        transfer_syntax_uid=meta.transfer_syntax_uid,
        dataset_offset=meta.dataset_offset,
        dataset=dataset,
        json=to_json_text(dataset),
        bulkdata=tuple(reader.bulkdata),
        pixel_data=pixel_data,
        frame_index=b"",
    )
    if pixel_data is None or syntax.family is Family.JPIP:
        return parsed
    frame_index = build_frame_index(
        reader.data,
        pixel_data,
        image_pixel_of(parsed),
        syntax,
        fragments=reader.fragments,
        extended_offsets=reader.extended_value(EXTENDED_OFFSET_TABLE),
        extended_lengths=reader.extended_value(EXTENDED_OFFSET_TABLE_LENGTHS),
    )
    return replace(parsed, frame_index=frame_index)


def _encoding_of(view: memoryview, offset: int, syntax: TransferSyntax) -> Encoding:
    """How the data set is written. When its first element contradicts the transfer syntax, the element is right."""
    if syntax.big_endian:
        return EXPLICIT_BIG_ENDIAN
    if offset + 8 > len(view):
        return IMPLICIT_LITTLE_ENDIAN if syntax.implicit_vr else EXPLICIT_LITTLE_ENDIAN
    return EXPLICIT_LITTLE_ENDIAN if says_vr(view, offset) else IMPLICIT_LITTLE_ENDIAN
