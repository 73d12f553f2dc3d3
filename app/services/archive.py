"""What every transaction works on: one archive, its parts and its bounds."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta

from app.blobs.base import BlobStore
from app.db.engine import Database
from app.db.ingest import DuplicatePolicy
from app.dicom.header import ParseLimits


@dataclass(frozen=True, slots=True)
class Limits:
    """max_decoded_bytes of one frame after decoding; codec_timeout in seconds for one frame."""

    parse: ParseLimits = field(default_factory=ParseLimits)
    max_decoded_bytes: int = 1024**3
    codec_timeout: float = 60.0
    min_free_bytes: int = 0
    search_max_results: int = 1000
    search_candidate_cap: int = 10_000


@dataclass(frozen=True, slots=True)
class Archive:
    """The first argument of every service. `codec_threads` runs what moves pixels, away from the event loop."""

    db: Database
    blobs: BlobStore
    codec_threads: ThreadPoolExecutor
    duplicates: DuplicatePolicy = DuplicatePolicy.REPLACE
    retention: timedelta = timedelta(days=30)
    limits: Limits = field(default_factory=Limits)
