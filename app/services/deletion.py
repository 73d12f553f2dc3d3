"""Delete and restore. What is deleted answers 410 and can be brought back until its retention time is over."""

from app.blobs.base import BlobStore
from app.db.deletion import delete as delete_rows
from app.db.ingest import DuplicatePolicy, Outcome, ingest
from app.db.tombstones import restorable
from app.dicom.header import ParseLimits, parse_instance
from app.dicom.instance import InstanceRecord
from app.dicom.references import InstanceRef, Reference
from app.errors import BlobNotFound, DicomError, NotFound, Unavailable
from app.observability import log
from app.services.archive import Archive
from app.services.tombstones import erase_tombstones, record_tombstones


async def delete(archive: Archive, ref: Reference) -> int:
    """Delete a study, a series or an instance; the number of instances deleted. Raises NotFound, Gone."""
    keys = await delete_rows(archive.db, ref, retention=archive.retention)
    try:
        await record_tombstones(archive.blobs, keys, "deleted")
    except Unavailable as error:  # deleted is deleted; a sweep writes what is missing
        log.warning("delete.tombstones_missing", error=str(error), instances=len(keys))
    log.info("deleted", ref=str(ref), instances=len(keys))
    return len(keys)


async def restore(archive: Archive, ref: Reference) -> list[InstanceRef]:
    """Bring back the newest deleted content of every instance below `ref` that is not stored now.

    When `ref` is an instance that is stored, its newest replaced content comes back, and what is there now is replaced. What is
    missing or damaged is left out. Returns what was restored. Raises NotFound when there is nothing to bring back, Unavailable.
    """
    tombstones = await restorable(archive.db, ref)
    if not tombstones:
        raise NotFound("nothing that was deleted or replaced can be restored there")
    restored: list[InstanceRef] = []
    for tombstone in tombstones:
        try:
            record = await read_record(archive.blobs, tombstone.blob_key, archive.limits.parse, tombstone.digest)
        except (BlobNotFound, DicomError) as error:  # the others come back all the same
            log.error("restore.blob_unreadable", key=tombstone.blob_key, problem=str(error))
            continue
        results = await ingest(
            archive.db,
            [record],
            duplicates=DuplicatePolicy.REPLACE,
            retention=archive.retention,
            restoring=True,
        )
        await erase_tombstones(archive.blobs, [tombstone.blob_key])
        replaced = [result.replaced_blob_key for result in results if result.replaced_blob_key]
        await record_tombstones(archive.blobs, replaced, "replaced")
        restored += [result.ref for result in results if result.outcome is not Outcome.UNCHANGED]
    return restored


async def read_record(blobs: BlobStore, key: str, limits: ParseLimits, digest: str = "") -> InstanceRecord:
    """The record of a blob that is in the store already, read anew. Raises BlobNotFound, DicomError, Unavailable.

    The bytes pass through a writer that is never committed: it spools what is large and gives the digest.
    """
    writer = await blobs.open_writer()
    try:
        async for chunk in blobs.open(key):
            await writer.write(chunk)
        parsed = parse_instance(await writer.contents(), limits)
        found = await writer.digest(like=digest)
        size = writer.size
    finally:
        await writer.cancel()
    if digest and found != digest:
        raise BlobNotFound(f"the blob {key} is damaged: its digest is {found}")
    ref = InstanceRef(parsed.text("0020000D"), parsed.text("0020000E"), parsed.text("00080018"))
    return InstanceRecord(ref, parsed.text("00080016"), parsed, key, size, found)
