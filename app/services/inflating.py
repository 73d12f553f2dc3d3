"""Data sets of Deflated Explicit VR Little Endian (PS3.5 A.5): the only stored form without random access."""

import asyncio

from app.db.locate import InstanceLocation
from app.dicom.header import inflate_data_set
from app.dicom.layout import InstanceLayout
from app.services.archive import Archive


async def read_data_set(archive: Archive, location: InstanceLocation) -> bytes:
    """The whole inflated data set, at most `limits.parse.max_inflated_bytes`. Raises DicomError, Unavailable."""
    layout = InstanceLayout.from_json(location.layout)
    start = layout.dataset_offset
    deflated = await archive.blobs.get_range(location.blob_key, start, location.size - start)
    return await asyncio.to_thread(inflate_data_set, deflated, archive.limits.parse)
