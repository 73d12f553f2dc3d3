"""The cases, in the order in which they are run. Those that are opt-in take longer than the others together."""

from benchmarks.cases import (
    frames,
    growth,
    ladder,
    memory,
    metadata,
    object_store,
    rendered,
    retrieve,
    scale,
    search,
    startup,
    store,
    workers,
)
from benchmarks.cases.case import Case

__all__ = ["CASES", "Case"]

CASES: list[Case] = [
    *startup.CASES,
    *store.CASES,
    *metadata.CASES,
    *frames.CASES,
    *ladder.CASES,
    *retrieve.CASES,
    *object_store.CASES,
    *rendered.CASES,
    *search.CASES,
    *growth.CASES,
    *workers.CASES,
    *memory.CASES,
    *scale.CASES,
]
