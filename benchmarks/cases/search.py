"""Searches in an archive of ten thousand studies: ours filled by SQL, the peer's through its front door, in bounded time."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from benchmarks.archive_rows import Rows, fill
from benchmarks.archive_values import DATES, SURNAMES, StudyValues, small_file, small_template
from benchmarks.cases.case import Case
from benchmarks.lab import Lab, Left
from benchmarks.load import Answer, Probe
from benchmarks.measurement import Measurement
from benchmarks.servers import Gantry, Server
from benchmarks.uploads import store_files

PAGE = 50
VARIANTS = 40
FILL_SECONDS = 40.0  # of the peer
_HEADERS = {"Accept": "application/dicom+json"}
_GENERATED = StudyValues(0).uid[:20]
Matches = Callable[[StudyValues], bool]


@dataclass(frozen=True, slots=True)
class Question:
    """A search, and what it finds. `skipped` results lie before the page, which has `page` at most."""

    query: str
    matches: Matches
    skipped: int = 0
    page: int = PAGE


def spread(count: int) -> list[int]:
    """Numbers of studies from all over the archive."""
    return [count // 10 + place * (count - count // 10) // VARIANTS for place in range(VARIANTS)]


def _dates(first: int, days: int) -> tuple[str, str]:
    return DATES[first], DATES[min(first + days, len(DATES) - 1)]


def _between(dates: tuple[str, str], modality: str, study: StudyValues) -> bool:
    return dates[0] <= study.study_date <= dates[1] and modality in ("", study.modality)


def _of_patient(patient_id: str, study: StudyValues) -> bool:
    return study.patient_id == patient_id


def _same(number: int, study: StudyValues) -> bool:
    return study.number == number


def _named(part: str, infix: bool, study: StudyValues) -> bool:
    name = f"{study.surname}^{study.first_name}".lower()
    return part in name if infix else name.startswith(part)


def _all(study: StudyValues) -> bool:
    return True


def questions(count: int) -> dict[str, list[Question]]:
    """By kind; several of each, so that one answer is not all that is ever asked for."""
    studies = [StudyValues(number) for number in spread(count)]
    weeks = [_dates(day, 6) for day in range(100, 3500, 3400 // VARIANTS)]
    months = [_dates(day, 30) for day in range(100, 3500, 3400 // VARIANTS)]
    prefixes = [name[:4].lower() for name in SURNAMES[::3]]
    limit = f"limit={PAGE}"
    deep = count * 9 // 10
    return {
        "patient": [Question(f"PatientID={s.patient_id}", partial(_of_patient, s.patient_id)) for s in studies],
        "accession": [Question(f"AccessionNumber={s.accession}", partial(_same, s.number)) for s in studies],
        "uid": [Question(f"StudyInstanceUID={s.uid}", partial(_same, s.number)) for s in studies],
        "date-range": [Question(f"StudyDate={a}-{b}&{limit}", partial(_between, (a, b), "")) for a, b in weeks],
        "modality": [
            Question(f"ModalitiesInStudy={modality}&{limit}", partial(_between, (DATES[0], DATES[-1]), modality))
            for modality in ("MR", "US", "DX", "MG")
        ],
        "modality-date": [
            Question(f"ModalitiesInStudy=MR&StudyDate={a}-{b}&{limit}", partial(_between, (a, b), "MR"))
            for a, b in months
        ],
        "name-prefix": [Question(f"PatientName={text}*&{limit}", partial(_named, text, False)) for text in prefixes],
        "name-infix": [
            Question(f"PatientName=*{text[1:]}*&{limit}", partial(_named, text[1:], True)) for text in prefixes
        ],
        "first-page": [Question(limit, _all)],
        "deep-page": [
            Question(f"{limit}&offset={deep + step}", _all, deep + step) for step in range(0, count // 20, 50)
        ],
    }


def check_of(question: Question, count: int) -> Callable[[Answer], None]:
    """That the right number of studies came, and the right ones; a few of the other cases may be among them."""

    def check(answer: Answer) -> None:
        found = [one["0020000D"]["Value"][0] for one in json.loads(answer.body)]
        everything = map(StudyValues, range(count))
        expected = {study.uid for study in everything if question.matches(study)}
        total = max(0, len(expected) - question.skipped)
        most = question.page
        assert min(most, total) <= len(found) <= most, f"{question.query}: {len(found)} of {total} studies"
        strange = {uid for uid in found if uid.startswith(_GENERATED)} - expected
        assert not strange, f"{question.query}: other studies than asked for"

    return check


def archives(lab: Lab) -> dict[str, Server]:
    """The servers with the studies in them, filled when first asked for; ours on PostgreSQL too where there is one."""
    count = lab.corpus.size.studies
    for server in list(lab.servers.values()):
        if server.name in lab.studies:
            continue
        if isinstance(server, Gantry):
            fill(server, Rows(count))
            lab.studies[server.name] = count
        else:
            lab.studies[server.name] = store_files(server, _files(count), batch=100, seconds=FILL_SECONDS)
    return lab.servers


def _files(count: int) -> Iterator[tuple[bytes, bytes]]:
    template = small_template()
    return (small_file(template, number) for number in range(count))


def _search(kind: str) -> Callable[[Lab], list[Measurement]]:
    def run(lab: Lab) -> list[Measurement]:
        archives(lab)

        def probe(server: Server) -> Probe:
            count = lab.studies[server.name]
            if count < 100:
                raise Left(f"only {count} studies could be stored")
            asked = questions(count)[kind]
            paths = [f"{server.base}/studies?{question.query}" for question in asked]
            return Probe(paths, _HEADERS, check_of(asked[0], count))

        return lab.compare(f"search-{kind}", probe)

    return run


def _series_of_study(lab: Lab) -> list[Measurement]:
    study = lab.series("mr").study

    def check(answer: Answer) -> None:
        assert len(json.loads(answer.body)) == 5

    return lab.compare(
        "search-series", lambda server: Probe([f"{server.base}/studies/{study}/series"], _HEADERS, check), names=["mr"]
    )


def _instances_of_series(lab: Lab) -> list[Measurement]:
    series = lab.series("ct")

    def check(answer: Answer) -> None:
        assert len(json.loads(answer.body)) == series.count

    return lab.compare(
        "search-instances",
        lambda server: Probe([f"{server.base}{series.path}/instances"], _HEADERS, check),
        names=["ct"],
    )


_TITLES: Sequence[tuple[str, str]] = (
    ("patient", "by Patient ID"),
    ("accession", "by Accession Number"),
    ("uid", "by Study Instance UID"),
    ("date-range", "by a week, 50 at most"),
    ("modality", "by modality, 50 at most"),
    ("modality-date", "by modality and month, 50 at most"),
    ("name-prefix", "by the beginning of a name, 50 at most"),
    ("name-infix", "by a part of a name, 50 at most"),
    ("first-page", "first page of 50"),
    ("deep-page", "page of 50 behind nine tenths"),
)
_BAR = "10x a peer below 100/s, else 2x"

CASES = [
    *(Case(f"search-{kind}", f"search {title}", _BAR, _search(kind)) for kind, title in _TITLES),
    Case("search-series", "search series of a study", _BAR, _series_of_study),
    Case("search-instances", "search instances of a series, 200", _BAR, _instances_of_series),
]
