"""Metadata: prepared when stored, sent as prepared. Only the URLs inside bulkdata references are filled in.

The document of a series is made when it is first read, compressed, and kept under the series' version and the URL that it
names: whoever reads it next is sent the kept bytes. The document of a study is put together of those of its series.
"""

import asyncio
import hashlib
import zlib
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from app.db.metadata import SeriesVersion, metadata_pages, series_versions, stream_metadata
from app.db.prepared_json import unpacked
from app.dicom.instance import INSTANCE_URL_MARK
from app.dicom.references import InstanceRef, Reference, SeriesRef, resource_path
from app.errors import NotFound
from app.services.archive import Archive
from app.services.gzip_pieces import GzipPiece, PieceCompressor, gzip_of

MAX_INSTANCES = 20_000  # of a kept document: at most about 100 MB compressed, usually 12; larger ones are streamed
_PARALLEL = 2  # series whose documents are made at the same time
_CHUNK = 256 * 1024


@dataclass(frozen=True, slots=True)
class MetadataVersion:
    """What a metadata document is now: `tag` changes whenever any instance below the reference does."""

    tag: str
    modified: datetime
    series: tuple[SeriesVersion, ...]


@dataclass(frozen=True, slots=True)
class MetadataDocument:
    """gzip of a JSON array; `length` in bytes of the array."""

    gzip: bytes
    length: int

    def chunks(self) -> Iterator[bytes]:
        """The array itself."""
        inflater = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
        waiting = self.gzip
        while not inflater.eof:
            yield inflater.decompress(waiting, _CHUNK)
            waiting = inflater.unconsumed_tail


class _Changed(Exception):
    """The series is not what it was when its version was looked up."""


async def metadata_version(archive: Archive, ref: Reference) -> MetadataVersion:
    """Costs one look-up. Raises NotFound, Gone, Unavailable."""
    versions = await series_versions(archive.db, ref)
    digest = hashlib.sha256()
    for version in versions:
        digest.update(f"{version.series_instance_uid} {version.version} {version.updated_at.timestamp()}\n".encode())
    return MetadataVersion(digest.hexdigest()[:32], max(version.updated_at for version in versions), versions)


async def metadata_document(
    archive: Archive, ref: Reference, version: MetadataVersion, service_url: str
) -> MetadataDocument | None:
    """The document of a study or series in this version.

    None where it cannot be had: of single instances, of too many, and when what it is made of has just changed.
    Raises Unavailable.
    """
    if isinstance(ref, InstanceRef) or sum(one.number_of_instances for one in version.series) > MAX_INSTANCES:
        return None
    try:
        pieces = await _pieces(archive, ref, version.series, service_url)
    except (_Changed, NotFound):
        return None
    parts: list[GzipPiece | bytes] = [b"["]
    for piece in pieces:
        parts += (piece, b",")
    parts[-1] = b"]"
    length = sum(len(part) if isinstance(part, bytes) else part.length for part in parts)
    return MetadataDocument(gzip_of(parts), length)


async def retrieve_metadata(
    archive: Archive, ref: Reference, service_url: str
) -> AsyncIterator[tuple[InstanceRef, bytes]]:
    """DICOM JSON text of each instance, BulkDataURIs absolute below `service_url`. Raises Unavailable."""
    async for instance, text in stream_metadata(archive.db, ref):
        yield instance, _with_urls(text, instance, service_url)


async def _pieces(
    archive: Archive, ref: Reference, versions: Sequence[SeriesVersion], service_url: str
) -> list[GzipPiece]:
    """Of each series, the kept ones read together. Raises _Changed, NotFound, Unavailable."""
    study = ref.study_instance_uid
    keys = [
        f"metadata 1 {study} {one.series_instance_uid} {one.version} {one.updated_at.timestamp()} {service_url}"
        for one in versions
    ]
    turn = asyncio.Semaphore(_PARALLEL)

    async def make(key: str, version: SeriesVersion) -> bytes:
        async with turn:
            return await archive.cache.get_or_make(key, lambda: _make_piece(archive, study, version, service_url))

    found = await archive.cache.get_many(keys)
    missing = [place for place, packed in enumerate(found) if packed is None]
    # All come to their end, so that none goes on when the answer has failed.
    made = await asyncio.gather(*(make(keys[place], versions[place]) for place in missing), return_exceptions=True)
    by_place: dict[int, bytes] = {}
    for place, result in zip(missing, made, strict=True):
        if isinstance(result, BaseException):
            raise result
        by_place[place] = result
    return [GzipPiece.unpack(by_place[place] if packed is None else packed) for place, packed in enumerate(found)]


async def _make_piece(archive: Archive, study: str, version: SeriesVersion, service_url: str) -> bytes:
    """The objects of one series, with commas between them. Raises _Changed, NotFound, Unavailable."""
    ref = SeriesRef(study, version.series_instance_uid)
    compressor = PieceCompressor()
    separator = b""
    async for page in metadata_pages(archive.db, ref):
        await asyncio.to_thread(_compress, compressor, page, separator, service_url)
        separator = b","
    # What was read must be what the key says: the look-up after the reading proves it.
    if await series_versions(archive.db, ref) != (version,):
        raise _Changed
    return (await asyncio.to_thread(compressor.finish)).pack()


def _compress(
    compressor: PieceCompressor, page: Sequence[tuple[InstanceRef, bytes]], separator: bytes, service_url: str
) -> None:
    for instance, packed in page:
        compressor.add(separator + _with_urls(unpacked(packed), instance, service_url))
        separator = b","


def _with_urls(text: bytes, instance: InstanceRef, service_url: str) -> bytes:
    if INSTANCE_URL_MARK not in text:
        return text
    return text.replace(INSTANCE_URL_MARK, f"{service_url}{resource_path(instance)}".encode())
