"""Metadata of series and studies: warm, first after a store, and unchanged."""

import gzip
import json
from collections.abc import Callable

from benchmarks.cases.case import Case
from benchmarks.lab import Lab, Left, failed
from benchmarks.load import Answer, Probe, fetch
from benchmarks.measurement import Measurement, percentile
from benchmarks.servers import Gantry, Server
from benchmarks.uploads import store_all

_HEADERS = {"Accept": "application/dicom+json", "Accept-Encoding": "gzip"}
_FIRST_READS = 3


def holds(count: int) -> Callable[[Answer], None]:
    """A check: JSON of so many instances, complete ones."""

    def check(answer: Answer) -> None:
        body = gzip.decompress(answer.body) if answer.headers.get("content-encoding") == "gzip" else answer.body
        found = json.loads(body)
        assert len(found) == count, f"{len(found)} instances instead of {count}"
        assert len({one["00080018"]["Value"][0] for one in found}) == count
        assert all(len(one) > 100 for one in found), "metadata without most attributes"

    return check


def _series(case: str, name: str) -> Callable[[Lab], list[Measurement]]:
    def run(lab: Lab) -> list[Measurement]:
        series = lab.series(name)
        return lab.compare(
            case,
            lambda server: Probe([f"{server.base}{series.path}/metadata"], _HEADERS, holds(series.count)),
            names=[name],
            limit=True,
        )

    return run


def _study(lab: Lab) -> list[Measurement]:
    count = lab.corpus.size.mr // 5 * 5
    study = lab.series("mr").study
    return lab.compare(
        "metadata-study",
        lambda server: Probe([f"{server.base}/studies/{study}/metadata"], _HEADERS, holds(count)),
        names=["mr"],
        limit=True,
    )


def _unchanged(lab: Lab) -> list[Measurement]:
    series = lab.series("many")

    def probe(server: Server) -> Probe:
        if not isinstance(server, Gantry):
            raise Left("sends no ETag")
        path = f"{server.base}{series.path}/metadata"
        etag = fetch(server, path, _HEADERS).headers["etag"]

        def check(answer: Answer) -> None:
            assert answer.status == 304

        return Probe([path], {**_HEADERS, "If-None-Match": etag}, check)

    return lab.compare("metadata-304", probe, names=["many"])


def _first(case: str, name: str, of_study: bool) -> Callable[[Lab], list[Measurement]]:
    """The first read after a store: each server gets new editions of the data set, each read once."""

    def run(lab: Lab) -> list[Measurement]:
        times: dict[str, list[float]] = {}
        found: list[Measurement] = []
        for edition in range(1, _FIRST_READS + 1):
            all_series = lab.corpus.series(name, edition)
            path = f"/studies/{all_series[0].study}/metadata" if of_study else f"{all_series[0].path}/metadata"
            count = sum(one.count for one in all_series)
            for server in lab.servers.values():
                try:
                    store_all(server, all_series)
                    answer = fetch(server, server.base + path, _HEADERS)
                    assert answer.status == 200, f"answered {answer.status}"
                    holds(count)(answer)
                except (AssertionError, OSError, RuntimeError) as error:
                    found.append(failed(case, server.name, "requests", error))
                else:
                    times.setdefault(server.name, []).append(answer.seconds)
        for server_name, taken in times.items():
            middle = percentile(taken, 0.5)
            found.append(
                Measurement(
                    case, server_name, "requests", 1 / middle, middle * 1000, max(taken) * 1000, note="each read once"
                )
            )
        return found

    return run


CASES = [
    Case(
        "metadata-series",
        "series metadata, 200 instances, gzip",
        "p50 < 1.5 ms, 30x the peer",
        _series("metadata-series", "ct"),
    ),
    Case(
        "metadata-series-first",
        "the same, first read after a store",
        "< 40 ms",
        _first("metadata-series-first", "ct", False),
    ),
    Case("metadata-study", "study metadata, 1000 in 5 series", "p50 < 5 ms", _study),
    Case(
        "metadata-study-first",
        "the same, first read after a store",
        "< 120 ms",
        _first("metadata-study-first", "mr", True),
    ),
    Case("metadata-5000", "series metadata, 5000 instances", "p50 < 8 ms", _series("metadata-5000", "many")),
    Case("metadata-304", "the same, unchanged (If-None-Match)", "p50 < 1 ms", _unchanged),
]
