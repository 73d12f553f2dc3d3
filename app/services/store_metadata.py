"""Store of metadata and bulkdata (PS3.18 10.5.1.4): a message is spooled whole, then each instance is put together and stored.

Bulkdata may come before or behind what refers to it, and all of it lies in one spool file, so memory does not grow with the
message. The instances that come of it go the way of all others (app.services.store): same acceptance, same durability, same answer.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

from app.blobs.base import BlobWriter
from app.dicom import store_status
from app.dicom.assembly import Assembled, Find, MissingBulkdata, assemble
from app.dicom.conversion_plan import Copy, Literal
from app.dicom.image_attributes import ImageMismatch
from app.dicom.instance import DicomJson
from app.dicom.json_reader import read_json_instances, read_metadata
from app.dicom.metadata_elements import DataSet, MetadataElement, ReadMetadata, references_of, text_of
from app.dicom.original_attributes import to_json
from app.dicom.xml_reader import read_native_xml
from app.errors import (
    BlobStoreUnavailable,
    CodecError,
    DicomError,
    GantryError,
    MalformedDicom,
    MalformedMessage,
    OutOfSpace,
    TooLarge,
    Unavailable,
)
from app.services.acceptance import Refusal, refusal_of
from app.services.archive import Archive
from app.services.store import Intake
from app.services.store_results import Remarks

# Metadata of one message may ask for the bytes of one part many times over: files of this many times the message, no more.
MAX_GROWTH = 16
MAX_INSTANCES = 100_000  # of one message
_SMALL = 1 << 20
_BLOCK = 1 << 20  # bytes read from the spool at a time

SOP_CLASS_UID, SOP_INSTANCE_UID = 0x00080016, 0x00080018


@dataclass(frozen=True, slots=True)
class MetadataDocument:
    """One metadata part: where it lies in the spool, in bytes. `problem`: why it cannot be read."""

    is_xml: bool
    offset: int
    length: int
    problem: str = ""


class Spool:
    """The parts of one message, one behind the other. `close` drops them, and never raises."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._writer: BlobWriter | None = None
        self._full: OutOfSpace | None = None
        self._block = 0, b""  # what was read last, and where from
        self.size = 0

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """More bytes. When there is no room the rest is read and dropped, and `contents` says so. Raises BlobStoreUnavailable."""
        if self._full:
            return
        try:
            if self._writer is None:
                self._writer = await self._archive.blobs.open_writer()
            await self._writer.write(data)
        except OutOfSpace as error:
            self._full = error
            return
        self.size += len(data)

    async def contents(self) -> memoryview:
        """All that was written, valid until `close`. Raises OutOfSpace, BlobStoreUnavailable."""
        if self._full:
            raise self._full
        return memoryview(await self._writer.contents() if self._writer else b"")

    async def pieces(self, offset: int, length: int) -> AsyncIterator[memoryview]:
        """A range of what was written, read ahead in blocks: small ranges that follow each other cost one read for many.

        Unlike in `contents`, what has been read does not stay in memory.
        """
        end = offset + length
        while offset < end and self._writer is not None:
            start, block = self._block
            if not start <= offset < start + len(block):
                start, block = self._block = offset, await self._writer.read(offset, _BLOCK)
                if not block:
                    raise BlobStoreUnavailable("the spool is shorter than what was written to it")
            piece = memoryview(block)[offset - start : end - start]
            offset += len(piece)
            yield piece

    def forget(self) -> None:
        """Let go of the memory that looking at `contents` took."""
        if self._writer is not None:
            self._writer.forget_contents()

    async def close(self) -> None:
        self._block = 0, b""
        if self._writer is not None:
            await asyncio.shield(self._writer.cancel())


async def store_metadata(intake: Intake, spool: Spool, documents: Sequence[MetadataDocument], find: Find) -> bool:
    """Put together and store each instance of the documents, in their order; `intake.finish` has the results.

    find  the bulkdata parts that a URI of the metadata names
    The result is whether every instance could be read so far that its references are known.
    Raises MalformedMessage where there is nothing but metadata that cannot be read, TooLarge, BlobStoreUnavailable.
    """
    limit = intake.archive.limits.max_metadata_bytes
    if longest := max((document.length for document in documents if document.length > limit), default=0):
        raise TooLarge(f"a metadata part has {longest} bytes, this server reads up to {limit}")
    try:
        contents = await spool.contents()
    except OutOfSpace as error:
        await intake.refuse(store_status.OUT_OF_RESOURCES, str(error))
        return False
    assembling = _Assembling(intake, spool, contents, find)
    for document in documents:
        await assembling.take(document)
    if not assembling.instances:
        raise MalformedMessage(assembling.fault or "the metadata describes no instance")
    return assembling.understood


class _Assembling:
    def __init__(self, intake: Intake, spool: Spool, contents: memoryview, find: Find) -> None:
        self.intake = intake
        self.spool = spool
        self.archive = intake.archive
        self.contents = contents
        self.find = find
        self.instances = 0  # that could be read, whatever became of them
        self.understood = True
        self.fault = ""
        self._budget = MAX_GROWTH * spool.size + _SMALL

    async def take(self, document: MetadataDocument) -> None:
        try:
            instances = self._instances(document)
            while (instance := await asyncio.to_thread(next, instances, None)) is not None:
                if self.instances == MAX_INSTANCES:
                    raise MalformedMessage(f"more than {MAX_INSTANCES} instances in one message")
                self.instances += 1
                await self._store(instance)
        except (MalformedMessage, DicomError) as error:
            self.understood = False
            self.fault = self.fault or str(error)
            await self.intake.refuse(store_status.CANNOT_UNDERSTAND, str(error))

    def _instances(self, document: MetadataDocument) -> "Iterator[_Instance]":
        """Runs in a thread, one instance at a time."""
        if document.problem:
            raise MalformedMessage(document.problem)
        part = self.contents[document.offset : document.offset + document.length]
        if document.is_xml:
            yield self._read(read_native_xml(part, self.archive.limits.parse))
            return
        try:
            text = str(part, "utf-8-sig")
        except UnicodeDecodeError:
            raise MalformedMessage("the metadata is not UTF-8") from None
        for dataset in read_json_instances(text):
            yield self._read(dataset)

    def _read(self, dataset: DicomJson) -> "_Instance":
        try:
            read = read_metadata(dataset, self.archive.limits.parse)
        except DicomError as error:
            return _Instance(ReadMetadata(_names(dataset), (), ascii=True), refusal_of(error))
        for uri in references_of(read.data_set):
            self.find(uri)  # asked for, whatever becomes of the instance
        return _Instance(read)

    async def _store(self, instance: "_Instance") -> None:
        named = instance.read.data_set
        try:
            if instance.refusal:
                self.understood = False
                raise instance.refusal
            assembled = await self._assemble(instance.read)
            length = sum(segment.length for segment in assembled.plan.segments if isinstance(segment, Copy))
            if length > self._budget:
                raise MalformedDicom(f"the metadata asks for more than {MAX_GROWTH} times the bulkdata that came")
            self._budget -= length
        except (DicomError, CodecError, Unavailable) as error:
            refusal = _refusal(error)
            await self.intake.refuse(
                refusal.status, str(refusal), text_of(named, SOP_CLASS_UID), text_of(named, SOP_INSTANCE_UID)
            )
            return
        await self._write(assembled)

    async def _assemble(self, read: ReadMetadata) -> Assembled:
        work = partial(
            assemble,
            read,
            self.find,
            self.contents,
            max_decoded_bytes=self.archive.limits.max_decoded_bytes,
            now=datetime.now(UTC),
            forget=self.spool.forget,
        )
        return await self.archive.codec_threads.run(work)

    async def _write(self, assembled: Assembled) -> None:
        intake = self.intake
        await intake.begin()
        for segment in assembled.plan.segments:
            if isinstance(segment, Literal):
                await intake.write(segment.data)
            elif isinstance(segment, Copy):
                async for piece in self.spool.pieces(segment.offset, segment.length):
                    await intake.write(piece)
        await intake.end(_remarks(assembled))


@dataclass(frozen=True, slots=True)
class _Instance:
    """What the metadata of one instance says; where it cannot be used, why, and `read` holds its names only."""

    read: ReadMetadata
    refusal: Refusal | None = None


def _remarks(assembled: Assembled) -> Remarks:
    """One reason (PS3.18 Table I.1-1): what was changed weighs more than what was left out."""
    if assembled.originals is not None:
        return Remarks(store_status.COERCION_OF_DATA_ELEMENTS, (to_json(assembled.originals),))
    return Remarks(store_status.ELEMENTS_DISCARDED) if assembled.discarded else Remarks()


def _refusal(error: GantryError) -> Refusal:
    if not isinstance(error, DicomError) or isinstance(error, MissingBulkdata):
        return Refusal(store_status.PROCESSING_FAILURE, str(error))
    if isinstance(error, ImageMismatch):
        return Refusal(store_status.DATA_SET_MISMATCH, str(error))
    return refusal_of(error)


def _names(dataset: DicomJson) -> DataSet:
    """SOP Class UID and SOP Instance UID of a data set that is not right elsewhere."""
    names: DataSet = {}
    for tag in (SOP_CLASS_UID, SOP_INSTANCE_UID):
        element = dataset.get(f"{tag:08X}")
        values = element.get("Value") if isinstance(element, dict) else None
        if isinstance(values, list) and values and isinstance(values[0], str) and values[0].isascii():
            names[tag] = MetadataElement("UI", values[0].encode("ascii"))
    return names
