"""What every transaction works on: one archive, its parts and its bounds."""

import asyncio
from dataclasses import dataclass, field
from datetime import timedelta

from app.blobs.base import BlobStore
from app.db.engine import Database
from app.db.group_queue import GroupQueue
from app.db.ingest import DuplicatePolicy
from app.dicom.header import ParseLimits
from app.dicom.known_headers import KnownHeaders
from app.services.codec_threads import CodecThreads
from app.services.derived_cache import DerivedCache

# Instances of a group that is stored together, and groups at once: while one is written others are read, or made rows.
ARRIVALS = 16, 8
ROWS = 256  # of a transaction: it holds its locks for some 100 ms


@dataclass(frozen=True, slots=True)
class Limits:
    """max_decoded_bytes   of one frame after decoding
    max_metadata_bytes  of one metadata part of a store
    """

    parse: ParseLimits = field(default_factory=ParseLimits)
    max_decoded_bytes: int = 1024**3
    max_metadata_bytes: int = 1 << 26


@dataclass(frozen=True, slots=True)
class Archive:
    """The first argument of every service. `codec_threads` runs what moves pixels, away from the event loop; `cache` keeps what
    was worked out from stored bytes; `arrivals` is the way of new instances into the archive, `rows` into the database;
    `known_headers` is for the event loop; who inflates a whole data set in memory holds `inflating`.
    """

    db: Database
    blobs: BlobStore
    codec_threads: CodecThreads
    duplicates: DuplicatePolicy = DuplicatePolicy.REPLACE
    retention: timedelta = timedelta(days=30)
    limits: Limits = field(default_factory=Limits)
    cache: DerivedCache = field(default_factory=DerivedCache)
    arrivals: GroupQueue = field(default_factory=lambda: GroupQueue(*ARRIVALS))
    rows: GroupQueue = field(default_factory=lambda: GroupQueue(ROWS))
    known_headers: KnownHeaders = field(default_factory=KnownHeaders)
    inflating: asyncio.Lock = field(default_factory=asyncio.Lock)
