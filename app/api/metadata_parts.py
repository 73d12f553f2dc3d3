"""Reading a store of metadata and bulkdata: parts to the spool as they arrive, then instance by instance (PS3.18 10.5.1.4)."""

from collections.abc import AsyncIterator

from app.dicom import store_status
from app.dicom.metadata_elements import Payload
from app.dicomweb.media_types import MediaType
from app.dicomweb.metadata_store import BulkdataParts, is_metadata
from app.dicomweb.multipart_reader import Event, PartBegin, PartData, PartEnd
from app.services.store import Intake
from app.services.store_metadata import MetadataDocument, Spool, store_metadata

XML = "application/dicom+xml"


class MetadataMessage:
    """The parts of one message. `take` its events, then `store`; `close` in any case."""

    def __init__(self, intake: Intake, base_url: str) -> None:
        self._intake = intake
        self._spool = Spool(intake.archive)
        self._bulkdata = BulkdataParts(base_url)
        self._documents: list[MetadataDocument] = []
        self._part: PartBegin | None = None
        self._start = 0

    async def take(self, event: Event) -> None:
        """Raises BlobStoreUnavailable."""
        if isinstance(event, PartData):
            await self._spool.write(event.data)
        elif isinstance(event, PartBegin):
            self._part, self._start = event, self._spool.size
        elif self._part is not None:
            self._end(self._part, event)

    def _end(self, part: PartBegin, end: PartEnd) -> None:
        kind, offset, length = part.media_type, self._start, self._spool.size - self._start
        if is_metadata(kind):
            self._documents.append(MetadataDocument(_is_xml(kind), offset, length, end.problem))
            return
        syntax = (kind.get("transfer-syntax") if kind else None) or ""
        payload = Payload(kind.essence if kind else "", "" if syntax == "*" else syntax, offset, length, end.problem)
        self._bulkdata.add(part.headers.get("content-location", ""), part.headers.get("content-id", ""), payload)

    async def whole(self, media_type: MediaType, body: AsyncIterator[bytes]) -> None:
        """A body that is metadata and nothing else, all its values inline."""
        async for chunk in body:
            await self._spool.write(chunk)
        self._documents.append(MetadataDocument(_is_xml(media_type), 0, self._spool.size))

    async def store(self) -> None:
        """Store every instance, and refuse the parts that none of them refers to.

        Raises MalformedMessage, TooLarge, BlobStoreUnavailable.
        """
        understood = await store_metadata(self._intake, self._spool, self._documents, self._bulkdata.find)
        if not understood:
            return  # what could not be read may have named them
        for location in self._bulkdata.unreferenced():
            name = f"with Content-Location {location[:200]!r}" if location else "without a Content-Location"
            await self._intake.refuse(store_status.CANNOT_UNDERSTAND, f"no metadata refers to the part {name}")

    async def close(self) -> None:
        await self._spool.close()


def _is_xml(media_type: MediaType | None) -> bool:
    return media_type is not None and media_type.essence == XML
