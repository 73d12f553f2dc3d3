"""Rendered images and thumbnails."""

from collections.abc import Callable

from benchmarks.cases.case import Case
from benchmarks.lab import Lab
from benchmarks.load import Answer, Probe
from benchmarks.measurement import Measurement

_HEADERS = {"Accept": "image/jpeg"}


def _is_jpeg(answer: Answer) -> None:
    assert answer.body[:2] == b"\xff\xd8", "not a JPEG image"
    assert answer.body[-2:] == b"\xff\xd9", "a cut JPEG image"


def _rendered(case: str, resource: str, many: bool) -> Callable[[Lab], list[Measurement]]:
    def run(lab: Lab) -> list[Measurement]:
        series = lab.series("ct")
        count = series.count if many else 1
        paths = [f"{series.instance_path(index)}/{resource}" for index in range(count)]
        return lab.compare(
            case, lambda server: Probe([server.base + path for path in paths], _HEADERS, _is_jpeg), names=["ct"]
        )

    return run


CASES = [
    Case("rendered", "rendered CT as JPEG, 200 in turn", "half of 5.6 ms CPU", _rendered("rendered", "rendered", True)),
    Case(
        "rendered-again", "the same image again and again", "p50 < 1 ms", _rendered("rendered-again", "rendered", False)
    ),
    Case("thumbnail", "thumbnail of a CT", "p50 < 1 ms", _rendered("thumbnail", "thumbnail", False)),
]
