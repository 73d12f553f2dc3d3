"""The blob layer: the only package that touches stored bytes."""

from app.blobs.base import BlobStat, BlobStore, BlobWriter
from app.blobs.local import LocalBlobStore
from app.blobs.memory import MemoryBlobStore
from app.blobs.urls import open_blob_store

__all__ = [
    "BlobStat",
    "BlobStore",
    "BlobWriter",
    "LocalBlobStore",
    "MemoryBlobStore",
    "open_blob_store",
]
