"""Metadata: prepared when stored, sent as prepared. Only the URLs inside bulkdata references are filled in."""

import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime

from app.db.metadata import series_versions, stream_metadata
from app.dicom.instance import INSTANCE_URL_MARK
from app.dicom.references import InstanceRef, Reference, resource_path
from app.services.archive import Archive


@dataclass(frozen=True, slots=True)
class MetadataVersion:
    """What a metadata document is now: `tag` changes whenever any instance below the reference does."""

    tag: str
    modified: datetime


async def metadata_version(archive: Archive, ref: Reference) -> MetadataVersion:
    """Costs one look-up. Raises NotFound, Gone, Unavailable."""
    versions = await series_versions(archive.db, ref)
    digest = hashlib.sha256()
    for version in versions:
        digest.update(f"{version.series_instance_uid} {version.version} {version.updated_at.timestamp()}\n".encode())
    return MetadataVersion(digest.hexdigest()[:32], max(version.updated_at for version in versions))


async def retrieve_metadata(
    archive: Archive, ref: Reference, service_url: str
) -> AsyncIterator[tuple[InstanceRef, bytes]]:
    """DICOM JSON text of each instance, BulkDataURIs absolute below `service_url`. Raises Unavailable."""
    async for instance, text in stream_metadata(archive.db, ref):
        if INSTANCE_URL_MARK in text:
            text = text.replace(INSTANCE_URL_MARK, f"{service_url}{resource_path(instance)}".encode())
        yield instance, text
