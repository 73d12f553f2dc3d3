"""Metrics of several server processes as those of one: whichever is asked answers for all of them.

Each tells its own in a file of a folder that they share, a second late at most. They are counters and histograms, which are added
up. What a process had counted that has ended since still counts: else a counter would fall. So it would where another answers
next that has not been told what the one before answered, or where that one was killed: whoever answers tells first.
"""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Iterable, Iterator
from pathlib import Path
from threading import Lock

from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from app.observability import log

SECONDS = 1.0
_SUFFIX = ".prom"


class SharedMetrics:
    """Those of `registry`, and of the other processes that use `folder`; None: there are no others."""

    def __init__(self, registry: CollectorRegistry, folder: Path | None) -> None:
        self._registry = registry
        self._folder = folder
        self._name = f"{os.getpid()}-{os.urandom(4).hex()}{_SUFFIX}"
        self._told = b""
        self._is_troubled = False
        self._telling = Lock()  # what was counted later is never overwritten by what was counted before

    @contextlib.asynccontextmanager
    async def told(self) -> AsyncIterator[None]:
        """The others know of this process's."""
        if self._folder is None:
            yield
            return
        telling = asyncio.create_task(self._keep_telling(self._folder))
        try:
            yield
        finally:
            telling.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await telling
            await asyncio.to_thread(self._tell, self._folder)

    def text(self) -> bytes:
        """In Prometheus' text format. Blocking where there are others."""
        if self._folder is None:
            return generate_latest(self._registry)
        own = self._tell(self._folder)
        others = [path for path in self._folder.glob(f"*{_SUFFIX}") if path.name != self._name]
        return generate_latest(_Sum([own, *_contents(others)]))

    async def _keep_telling(self, folder: Path) -> None:
        while True:
            await asyncio.to_thread(self._tell, folder)
            await asyncio.sleep(SECONDS)

    def _tell(self, folder: Path) -> bytes:
        """What was told."""
        with self._telling:
            text = generate_latest(self._registry)
            if text == self._told:
                return text
            unfinished = folder / f"{self._name}.unfinished"
            try:
                unfinished.write_bytes(text)
                unfinished.replace(folder / self._name)
            except OSError as error:
                if not self._is_troubled:  # once, not every second
                    log.warning("metrics.not_told", error=error.strerror)
                self._is_troubled = True
            else:
                self._told, self._is_troubled = text, False
            return text


class _Sum(Collector):
    """Of several texts."""

    def __init__(self, texts: Iterable[bytes]) -> None:
        self._texts = texts

    def collect(self) -> Iterator[Metric]:
        families: dict[str, Metric] = {}
        values: dict[str, dict[tuple[str, tuple[tuple[str, str], ...]], float]] = {}
        for text in self._texts:
            for family in text_string_to_metric_families(text.decode()):
                families.setdefault(family.name, Metric(family.name, family.documentation, family.type))
                sums = values.setdefault(family.name, {})
                for sample in family.samples:
                    key = sample.name, tuple(sample.labels.items())
                    sums[key] = sums.get(key, 0.0) + sample.value
        for name, family in families.items():
            for (sample_name, labels), value in values[name].items():
                family.add_sample(sample_name, dict(labels), value)
            yield family


def _contents(paths: Iterable[Path]) -> Iterator[bytes]:
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            yield path.read_bytes()
