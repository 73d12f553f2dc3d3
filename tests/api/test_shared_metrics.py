"""Metrics of several processes: whichever is asked answers for all of them, those that have ended included."""

import asyncio
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, Counter
from prometheus_client.parser import text_string_to_metric_families

from app import shared_metrics
from app.observability import RequestMetrics
from app.shared_metrics import SharedMetrics


class Process:
    """What one process counts, and tells."""

    def __init__(self, folder: Path | None) -> None:
        registry = CollectorRegistry()
        self.requests = RequestMetrics()
        registry.register(self.requests)
        self.stored = Counter("gantry_instances_stored_total", "Instances.", ["result"], registry=registry)
        self.shared = SharedMetrics(registry, folder)

    def values(self) -> dict[tuple[str, str], float]:
        return {
            (sample.name, ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))): sample.value
            for family in text_string_to_metric_families(self.shared.text().decode())
            for sample in family.samples
        }


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_metrics, "SECONDS", 0.01)


async def test_they_are_added_up(tmp_path: Path) -> None:
    one, other, third = (Process(tmp_path) for _ in range(3))
    async with one.shared.told(), other.shared.told():
        async with third.shared.told():
            third.requests.count("retrieve_series", 200, seconds=7, received=0, sent=1)
        one.requests.count("store_instances", 200, seconds=0.003, received=1000, sent=10)
        one.requests.count("store_instances", 200, seconds=0.2, received=500, sent=10)
        other.requests.count("store_instances", 200, seconds=0.3, received=50, sent=5)
        other.requests.count("store_instances", 409, seconds=400, received=5, sent=2)
        one.stored.labels("stored").inc(2)
        other.stored.labels("refused").inc()
        async with asyncio.timeout(10):
            while one.values() != other.values() or len(one.values()) < 60:  # noqa: ASYNC110 - threads tell it
                await asyncio.sleep(0.01)
        found = one.values()
    stored = "status=200,transaction=store_instances"
    assert found["gantry_request_seconds_count", stored] == 3
    assert found["gantry_request_seconds_sum", stored] == pytest.approx(0.503)
    buckets = [
        found["gantry_request_seconds_bucket", f"le={le},{stored}"] for le in ("0.0025", "0.005", "0.25", "+Inf")
    ]
    assert buckets == [0, 1, 2, 3]
    assert found["gantry_request_bytes_total", stored] == 1550
    assert found["gantry_response_bytes_total", stored] == 25
    assert found["gantry_request_seconds_count", "status=409,transaction=store_instances"] == 1
    assert found["gantry_request_seconds_bucket", "le=300.0,status=409,transaction=store_instances"] == 0
    assert found["gantry_instances_stored_total", "result=stored"] == 2
    assert found["gantry_instances_stored_total", "result=refused"] == 1
    # Of a process that has ended; nothing has ended without telling the last it counted.
    assert found["gantry_request_seconds_count", "status=200,transaction=retrieve_series"] == 1
    assert not [name for name, _ in found if name.endswith("_created")]
    assert len(list(tmp_path.iterdir())) == 3


def test_what_was_answered_is_known_to_who_answers_next(tmp_path: Path) -> None:
    """Even of one that is killed before it tells for the next time: a counter that falls counts as begun anew, from nothing."""
    one, other = Process(tmp_path), Process(tmp_path)
    one.stored.labels("stored").inc(2)
    assert one.values()["gantry_instances_stored_total", "result=stored"] == 2
    other.stored.labels("stored").inc()
    assert other.values()["gantry_instances_stored_total", "result=stored"] == 3
    assert one.values()["gantry_instances_stored_total", "result=stored"] == 3


async def test_of_one_process_alone() -> None:
    process = Process(None)
    async with process.shared.told():
        process.stored.labels("stored").inc()
        assert process.values()["gantry_instances_stored_total", "result=stored"] == 1


async def test_a_folder_that_cannot_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its own are still told."""
    process = Process(tmp_path / "missing")
    async with process.shared.told():
        process.stored.labels("stored").inc()
        await asyncio.sleep(0.05)
        assert process.values()["gantry_instances_stored_total", "result=stored"] == 1
