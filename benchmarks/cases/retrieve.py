"""Whole series and studies."""

from collections.abc import Callable

from benchmarks.cases.case import Case
from benchmarks.lab import Lab
from benchmarks.load import Answer, Probe
from benchmarks.measurement import Measurement

_HEADERS = {"Accept": 'multipart/related; type="application/dicom"; transfer-syntax=*'}
_PEER = {"Accept": 'multipart/related; type="application/dicom"'}


def _whole(case: str, name: str, of_study: bool) -> Callable[[Lab], list[Measurement]]:
    def run(lab: Lab) -> list[Measurement]:
        all_series = lab.corpus.series(name)
        path = f"/studies/{all_series[0].study}" if of_study else all_series[0].path
        template = all_series[0].template
        count = sum(one.count for one in all_series) if of_study else all_series[0].count

        def check(answer: Answer) -> None:
            assert answer.body.count(b"DICM\x02\x00") == count, f"not {count} files"
            assert len(answer.body) > count * len(template)

        return lab.compare(
            case,
            lambda server: Probe([server.base + path], _HEADERS if server is lab.ours() else _PEER, check),
            names=[name],
            connections=2,
            limit=True,
        )

    return run


_BAR = "0.7 of nginx' MB/s, memory flat"

CASES = [
    Case("retrieve-series", "whole series, 200 CT, 105 MB", _BAR, _whole("retrieve-series", "ct", False)),
    Case("retrieve-study", "whole study, 1000 MR, 134 MB", _BAR, _whole("retrieve-study", "mr", True)),
]
