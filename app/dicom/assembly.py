"""From metadata and the bulkdata that came with it to a PS3.10 file (PS3.18 10.5.1.4 and 10.5.2).

Bulkdata is looked at where it was spooled and stays there: the result is a plan of bytes to write and ranges to copy. Compressed
images and videos are stored as they are; PNG and GIF are decoded. What the metadata leaves out of the description of the image is
taken from the image.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from app.dicom.conversion_plan import ConversionPlan, Copy
from app.dicom.explicit_elements import MAX_LENGTH
from app.dicom.image_attributes import (
    BITS_ALLOCATED,
    CODESTREAM_COLOURS,
    COLUMNS,
    FRAMES,
    PHOTOMETRIC,
    ROWS,
    SAMPLES,
    ImageMismatch,
    Pixels,
    Settled,
    number_of,
    pixels_of,
    settle,
)
from app.dicom.image_description import (
    OCTET_STREAM,
    RASTER_TYPES,
    RLE,
    describe_stream,
    raster_type,
    usual_type,
)
from app.dicom.metadata_elements import BulkReference, DataSet, MetadataElement, Payload, ReadMetadata, text_of
from app.dicom.original_attributes import SPECIFIC_CHARACTER_SET, note_originals, settle_character_set
from app.dicom.part10_writer import (
    EXTENDED_LENGTHS,
    EXTENDED_OFFSETS,
    PIXEL_DATA,
    Encapsulated,
    Piece,
    part10_plan,
)
from app.dicom.stream_headers.description import GRAYSCALE, StreamDescription, UnusableStream
from app.dicom.transfer_syntaxes import EXPLICIT_VR_LITTLE_ENDIAN, RLE_LOSSLESS, Family, TransferSyntax, transfer_syntax
from app.errors import DicomError, TruncatedDicom, UnsupportedTransferSyntax

if TYPE_CHECKING:
    from app.dicom.raster_images import RasterImage

ENCAPSULATED_DOCUMENT, MIME_TYPE, DOCUMENT_LENGTH = 0x00420011, 0x00420012, 0x00420015
# Codestreams whose headers say nothing of the image: the metadata has to.
_UNDESCRIBED = (Family.RLE, Family.NATIVE, Family.DEFLATED_FRAME)
_MOST_SEEN = 1 << 24  # bytes of the spool looked at before their memory is let go
_FRAGMENT = 1 << 30  # bytes of a fragment of a video that does not fit into one

Find = Callable[[str], Sequence[Payload]]


class MissingBulkdata(DicomError):
    """The metadata names bulkdata that is not in the message."""


@dataclass(frozen=True, slots=True)
class Assembled:
    """plan       of the file; ranges to be copied are of the spool
    originals  the item of Original Attributes Sequence that tells what was corrected; None where nothing was
    discarded  paths of elements that were left out
    """

    plan: ConversionPlan
    originals: DataSet | None
    discarded: tuple[str, ...]


def assemble(
    read: ReadMetadata,
    find: Find,
    spool: memoryview,
    *,
    max_decoded_bytes: int,
    now: datetime,
    forget: Callable[[], None] | None = None,
) -> Assembled:
    """The file of one instance.

    find               the parts that a BulkDataURI names, those of a multi-frame image in the order of its frames; none: missing
    spool              what the offsets of payloads count from
    max_decoded_bytes  of all PNG and GIF images of the instance
    now                aware; the time of corrections
    forget             called now and then to let go of the memory that looking at the spool takes
    Blocking: decodes images, looks through videos. Raises DicomError: MissingBulkdata, ImageMismatch, UnusableStream, ..
    """
    settled = Settled(dict(read.data_set))
    data_set = settled.data_set
    charset, discarded = settle_character_set(data_set, is_ascii=read.ascii)
    if charset is not None:
        settled.originals[SPECIFIC_CHARACTER_SET] = charset
    for tag in (EXTENDED_OFFSETS, EXTENDED_LENGTHS):  # they describe another file than the one that is being written
        if data_set.pop(tag, None) is not None:
            discarded.append(f"{tag:08X}")
    source = _Source(find, spool, max_decoded_bytes, forget)
    syntax, pixel_data = _pixel_data(settled, source)
    _describe_document(data_set, source)
    originals = note_originals(data_set, settled.originals, now) if settled.originals else None
    plan = part10_plan(data_set, syntax, source.pieces, pixel_data)
    return Assembled(plan, originals, (*read.discarded, *discarded))


class _Source:
    """The bulkdata of the message."""

    def __init__(
        self, find: Find, spool: memoryview, max_decoded_bytes: int, forget: Callable[[], None] | None
    ) -> None:
        self._find = find
        self._spool = spool
        self._left = max_decoded_bytes
        self._joined: set[str] = set()
        self._forget = forget
        self._seen = 0

    def payloads(self, uri: str) -> Sequence[Payload]:
        found = self._find(uri)
        if not found:
            raise MissingBulkdata(f"no part of the message has the Content-Location {uri[:200]!r}")
        for payload in found:
            if payload.problem:
                raise TruncatedDicom(payload.problem)
        return found

    def payload(self, uri: str) -> Payload:
        found = self.payloads(uri)
        if len(found) > 1:
            raise UnusableStream(f"several parts have the Content-Location {uri[:200]!r}")
        return found[0]

    def join(self, uri: str) -> None:
        """The parts of that name are one value, one behind the other."""
        self._joined.add(uri)

    def pieces(self, reference: BulkReference) -> Sequence[Piece]:
        found = self.payloads(reference.uri) if reference.uri in self._joined else (self.payload(reference.uri),)
        return tuple(Copy(payload.offset, payload.length) for payload in found)

    def bytes_of(self, payload: Payload) -> memoryview:
        self._seen += min(payload.length, _MOST_SEEN // 8)
        if self._seen > _MOST_SEEN and self._forget is not None:
            self._forget()
            self._seen = 0
        return self._spool[payload.offset : payload.offset + payload.length]

    def decoded(self, payload: Payload, media_type: str, *, grey: bool) -> "RasterImage":
        # PNG and GIF are rare: numpy and the codecs come with the first.
        from app.dicom.raster_images import decode_raster

        data = self.bytes_of(payload)
        if raster_type(data) != media_type:
            raise UnusableStream(f"the part is {media_type}, but its bytes do not begin like it")
        image = decode_raster(data, media_type, max_bytes=self._left, grey=grey)
        self._left -= len(image.data)
        return image


def _pixel_data(settled: Settled, source: _Source) -> tuple[str, Encapsulated | None]:
    """Transfer syntax and compressed pixel data of the instance; native pixel data stays in the data set."""
    found = settled.data_set.get(PIXEL_DATA)
    if found is None or not isinstance(found.value, BulkReference):
        if found is not None and isinstance(found.value, bytes):
            _settle_native(settled, found.value)
        return EXPLICIT_VR_LITTLE_ENDIAN, None
    payloads = source.payloads(found.value.uri)
    media_type = _same({usual_type(payload) for payload in payloads}, "types")
    if media_type in RASTER_TYPES:
        _settle_native(settled, _decoded(settled, source, payloads, media_type))
        return EXPLICIT_VR_LITTLE_ENDIAN, None
    named = _same({payload.transfer_syntax_uid for payload in payloads}, "transfer syntaxes")
    if not named and media_type == RLE:
        named = RLE_LOSSLESS
    syntax = transfer_syntax(named or EXPLICIT_VR_LITTLE_ENDIAN)
    if media_type == OCTET_STREAM and not syntax.encapsulated:
        if syntax.big_endian:
            raise UnsupportedTransferSyntax("octets of bulkdata are in little-endian order (PS3.18 8.7.3.3.1)")
        _settle_spooled(settled, source, found.value)
        return EXPLICIT_VR_LITTLE_ENDIAN, None
    if syntax.encapsulated and syntax.family in _UNDESCRIBED:
        if media_type not in (OCTET_STREAM, syntax.media_type):
            raise ImageMismatch(f"the part is {media_type}, and its transfer syntax {syntax.name}")
        return syntax.uid, _undescribed(settled.data_set, source, payloads, syntax)
    if media_type == RLE:
        raise ImageMismatch(f"the part is {media_type}, and its transfer syntax {syntax.name}")
    return _streams(settled, source, payloads, media_type, named)


def _same(values: set[str], name: str) -> str:
    if len(values) != 1:
        raise ImageMismatch(f"the frames of one image come in parts of several {name}")
    return values.pop()


def _settle_native(settled: Settled, data: bytes) -> None:
    """Pixel data that is at hand."""
    vr = "OW" if (number_of(settled.data_set, BITS_ALLOCATED) or 8) > 8 else "OB"
    settled.data_set[PIXEL_DATA] = MetadataElement(vr, data)
    _settle_native_colour(settled)


def _settle_native_colour(settled: Settled) -> None:
    """Metadata may describe a compressed representation of what came uncompressed (PS3.18 10.4.1.1.2)."""
    if text_of(settled.data_set, PHOTOMETRIC) in CODESTREAM_COLOURS:
        settled.correct(PHOTOMETRIC, "CS", b"RGB")


def _decoded(settled: Settled, source: _Source, payloads: Sequence[Payload], media_type: str) -> bytes:
    """PNG and GIF as native frames, described."""
    grey = number_of(settled.data_set, SAMPLES) == 1 or text_of(settled.data_set, PHOTOMETRIC) in GRAYSCALE
    images = [source.decoded(payload, media_type, grey=grey) for payload in payloads]
    first = images[0]
    for image in images:
        if (image.rows, image.columns, image.samples, image.bits) != (
            first.rows,
            first.columns,
            first.samples,
            first.bits,
        ):
            raise ImageMismatch("the frames of one image are of several sizes or kinds")
    photometric = "RGB" if first.samples == 3 else "MONOCHROME2"
    believed = frozenset(("RGB",)) if first.samples == 3 else GRAYSCALE
    frames = sum(image.frames for image in images)
    settle(
        settled,
        Pixels(first.rows, first.columns, first.samples, first.bits, None, photometric, believed, frames),
    )
    allocated = number_of(settled.data_set, BITS_ALLOCATED)
    if allocated != first.bits:
        raise ImageMismatch(
            f"Bits Allocated is {allocated} in the metadata, and the image has {first.bits} bits a sample"
        )
    return b"".join(image.data for image in images)


def _settle_spooled(settled: Settled, source: _Source, reference: BulkReference) -> None:
    """Uncompressed pixel data: normally one part; parts of whole frames are joined."""
    data_set = settled.data_set
    payloads = source.payloads(reference.uri)
    allocated = number_of(data_set, BITS_ALLOCATED) or 8
    if len(payloads) > 1:
        samples = (
            (number_of(data_set, ROWS) or 0) * (number_of(data_set, COLUMNS) or 0) * (number_of(data_set, SAMPLES) or 1)
        )
        sizes = {samples * allocated // 8}
        if text_of(data_set, PHOTOMETRIC) == "YBR_FULL_422":
            sizes.add(samples * allocated // 12)  # two luma and a pair of chroma samples for two pixels
        if samples * allocated % 8 or {payload.length for payload in payloads} - sizes:
            raise UnusableStream("uncompressed pixel data is one part, or one part for each frame of whole bytes")
        source.join(reference.uri)
    if allocated > 8 or data_set[PIXEL_DATA].vr not in ("OB", "OW"):
        data_set[PIXEL_DATA] = MetadataElement("OW" if allocated > 8 else "OB", reference)
    _settle_native_colour(settled)


def _undescribed(
    data_set: DataSet, source: _Source, payloads: Sequence[Payload], syntax: TransferSyntax
) -> Encapsulated:
    """Frames whose bytes do not describe them: one part each."""
    frames = number_of(data_set, FRAMES) or 1
    if len(payloads) != frames:
        raise ImageMismatch(f"Number of Frames is {frames} in the metadata, and there are {len(payloads)} parts")
    if syntax.family is Family.RLE:
        segments = (number_of(data_set, SAMPLES) or 1) * max(1, (number_of(data_set, BITS_ALLOCATED) or 8) // 8)
        for payload in payloads:
            head = bytes(source.bytes_of(payload)[:8])
            if len(head) < 8 or int.from_bytes(head[:4], "little") != segments or head[4:8] != b"\x40\0\0\0":
                raise ImageMismatch(f"the part is not RLE of {segments} segments, which the metadata asks for")
    return Encapsulated(tuple((Copy(payload.offset, payload.length),) for payload in payloads), per_frame=True)


def _streams(
    settled: Settled, source: _Source, payloads: Sequence[Payload], media_type: str, named: str
) -> tuple[str, Encapsulated]:
    found = [describe_stream(source.bytes_of(payload), media_type) for payload in payloads]
    first = found[0]
    for one in found:
        if (one.media_type, one.rows, one.columns, one.samples) != (
            first.media_type,
            first.rows,
            first.columns,
            first.samples,
        ):
            raise ImageMismatch("the frames of one image are of several sizes or kinds")
    is_video = first.media_type.startswith("video/")
    if is_video and len(payloads) > 1:
        raise ImageMismatch("a video is one part (PS3.18 8.7.3.3.2)")
    widest = max(found, key=lambda one: (bool(one.method), one.bits))
    stored = sum(one.length for one in found)
    settle(settled, pixels_of(widest, first.number_of_frames if is_video else len(found), stored))
    syntaxes = [uid for uid in first.transfer_syntaxes if all(uid in one.transfer_syntaxes for one in found)]
    pieces = [Copy(payload.offset + one.start, one.length) for payload, one in zip(payloads, found, strict=True)]
    if is_video:
        return _chosen(syntaxes, named, first, cut=first.length > MAX_LENGTH), _video(pieces[0])
    return _chosen(syntaxes, named, first), Encapsulated(tuple((piece,) for piece in pieces), per_frame=True)


def _chosen(syntaxes: Sequence[str], named: str, stream: StreamDescription, *, cut: bool = False) -> str:
    """The syntax that the part names, or the most fitting one. `cut`: it must allow several fragments."""
    able = [uid for uid in syntaxes if not cut or uid.endswith(".1")]
    if named:
        if named not in able:
            raise ImageMismatch(
                f"the part says transfer syntax {named}, but its bytes are {', '.join(stream.transfer_syntaxes)}"
            )
        return named
    if not able:
        raise UnusableStream("the frames of one image, or the length of the video, have no transfer syntax in common")
    return able[0]


def _video(stream: Copy) -> Encapsulated:
    """One fragment (PS3.5 A.4.5), or several of a stream that is too long for one."""
    if stream.length <= MAX_LENGTH:
        return Encapsulated(((stream,),), per_frame=False)
    starts = range(0, stream.length, _FRAGMENT)
    fragments = tuple((Copy(stream.offset + start, min(_FRAGMENT, stream.length - start)),) for start in starts)
    return Encapsulated(fragments, per_frame=False)


def _describe_document(data_set: DataSet, source: _Source) -> None:
    """Encapsulated Document (0042,0011): its part's type is its MIME type (PS3.18 10.5.1.4, PS3.3 C.24.2)."""
    found = data_set.get(ENCAPSULATED_DOCUMENT)
    if found is None or not isinstance(found.value, BulkReference):
        return
    payload = source.payload(found.value.uri)
    said = text_of(data_set, MIME_TYPE).partition(";")[0].strip().lower()
    if payload.media_type not in ("", OCTET_STREAM):
        if not said:
            data_set[MIME_TYPE] = MetadataElement("LO", payload.media_type.encode("utf-8"))
        elif said != payload.media_type:
            raise ImageMismatch(
                f"the document is {said[:80]} in the metadata, and its part is {payload.media_type[:80]}"
            )
    if payload.length % 2 and DOCUMENT_LENGTH not in data_set:
        # The value is padded to an even length: this is how the document is had back without it.
        data_set[DOCUMENT_LENGTH] = MetadataElement("UL", payload.length.to_bytes(4, "little"))
