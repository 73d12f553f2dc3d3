"""The searches again in an archive of up to a million studies, three million series and ten million instances."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from benchmarks.archive_rows import Rows, fill
from benchmarks.archive_values import SURNAMES, StudyValues
from benchmarks.cases.case import Case
from benchmarks.cases.search import PAGE, Matches, Question, check_of, questions, spread
from benchmarks.lab import Lab, first_answer, loaded_work
from benchmarks.load import Answer, Probe, get_one_by_one
from benchmarks.measurement import Measurement, measured, observe
from benchmarks.servers import Gantry

_SMALL = 10_000
_CONNECTIONS = 4
_HEADERS = {"Accept": "application/dicom+json"}
# A week holds 19 studies of ten thousand and a page full of a million: how the search alone grows is seen where the answers
# are of one size.
_TEN = ("date-range", "modality", "modality-date", "name-prefix")
# SQLite gets the studies and series alone: an instance has no part in these searches, and ten million take half an hour.
_ROWS = {"gantry-pg": (3, 3), "gantry": (1, 1)}


def _scale(lab: Lab) -> list[Measurement]:
    found = []
    for label in ("gantry-pg", "gantry") if lab.cluster else ("gantry",):
        for studies in (_SMALL, lab.scale_studies):
            name = f"scale-{label}-{studies}"
            with lab.another_gantry(
                name, database=name.replace("-", "_"), on_postgresql=label == "gantry-pg"
            ) as server:
                server.stop()
                rows = Rows(studies, *_ROWS[label])
                fill(server, rows, bulk=True)
                server.start()
                found += _ask(lab, server, label, rows)
    return found


def _ask(lab: Lab, server: Gantry, label: str, rows: Rows) -> list[Measurement]:
    probes = _probes(server.base, rows)
    found = _ask_once(server, label, rows, probes)
    for kind, probe in probes.items():
        case = f"scale-{kind}"
        try:
            answer = first_answer(server, probe)
        except (AssertionError, OSError) as error:
            found.append(Measurement(case, f"{label} {rows.studies}", "requests", 0.0, note=str(error)[:160]))
            continue
        alone = observe(server, loaded_work(server, probe, answer, lab.seconds / 2, 1))
        many = observe(server, loaded_work(server, probe, answer, lab.seconds / 2, _CONNECTIONS))
        found.append(measured(case, f"{label} {rows.studies}", [many], [alone]))
    return found


def _ask_once(server: Gantry, label: str, rows: Rows, probes: dict[str, Probe]) -> list[Measurement]:
    """Each question for the first time, each on a connection of its own: nothing that was counted before helps."""
    found = []
    for kind, probe in probes.items():
        if kind in _TEN:
            continue  # or those of ten results would not be the first
        probe = replace(probe, paths=list(dict.fromkeys(probe.paths)))
        once = observe(server, partial(get_one_by_one, server, probe, seconds=0, at_least=len(probe.paths)))
        found.append(measured(f"scale-{kind}-once", f"{label} {rows.studies}", [once]))
    return found


def _probes(base: str, rows: Rows) -> dict[str, Probe]:
    """By kind: searches for studies, and for what is in one."""
    count = rows.studies
    asked = questions(count)
    for kind in _TEN:
        asked[f"{kind}-ten"] = [
            Question(one.query.replace(f"limit={PAGE}", "limit=10"), one.matches, page=10) for one in asked[kind]
        ]
    asked["offset-half"] = [Question(f"limit={PAGE}&offset={count // 2}", asked["first-page"][0].matches, count // 2)]
    asked |= _of_several_keys(asked, count)
    asked["fuzzy-word"] = [_fuzzily(one) for one in asked["name-prefix"]]
    asked["fuzzy-name"] = [_fuzzy_name(StudyValues(number)) for number in spread(count)]
    probes = {
        kind: Probe([f"{base}/studies?{question.query}" for question in some], _HEADERS, check_of(some[0], count))
        for kind, some in asked.items()
    }
    studies = [StudyValues(number) for number in spread(count)]
    probes["series-of-study"] = Probe(
        [f"{base}/studies/{study.uid}/series" for study in studies], _HEADERS, _counting(rows.series_of_study)
    )
    probes["instances-of-series"] = Probe(
        [f"{base}/studies/{study.uid}/series/{study.series_uid}/instances" for study in studies],
        _HEADERS,
        _counting(rows.instances_of_series),
    )
    return probes


def _of_several_keys(asked: dict[str, list[Question]], count: int) -> dict[str, list[Question]]:
    """What work lists ask: each key alone fits a hundredth of the archive, a fifth, or half."""
    names, limit = SURNAMES[::4], f"limit={PAGE}"
    return {
        "surname": [Question(f"PatientName={name}*&{limit}", partial(_has, name, "")) for name in names],
        "surname-modality": [
            Question(f"PatientName={name}*&ModalitiesInStudy=CT&{limit}", partial(_has, name, "CT")) for name in names
        ],
        "infix-modality": [
            Question(
                one.query.replace("&", "&ModalitiesInStudy=MR&", 1),
                partial(_all_of, (one.matches, partial(_has, "", "MR"))),
            )
            for one in asked["name-infix"]
        ],
        "description-modality": [
            Question(f"StudyDescription=CT*&ModalitiesInStudy={one}&{limit}", partial(_has, "", one))
            for one in ("CT", "MR", "US", "MG")
        ],
        "description-week": [
            Question(f"StudyDescription=*ABDO*&{one.query}", one.matches) for one in asked["date-range"]
        ],
        "identifier": [
            Question(f"PatientID={prefix}*&{limit}", partial(_is_identified, prefix))
            for prefix in sorted({StudyValues(number).patient_id[:-3] for number in spread(count)})
        ],
    }


def _has(surname: str, modality: str, study: StudyValues) -> bool:
    return study.surname.startswith(surname) and modality in ("", study.modality)


def _is_identified(prefix: str, study: StudyValues) -> bool:
    return study.patient_id.startswith(prefix)


def _all_of(matches: Sequence[Matches], study: StudyValues) -> bool:
    return all(one(study) for one in matches)


def _fuzzily(question: Question) -> Question:
    """The beginning of a name as a word of it: every generated name has its words in one component each."""
    name = question.query.partition("*")[0]
    return Question(f"{name}&fuzzymatching=true&limit={PAGE}", question.matches)


def _fuzzy_name(study: StudyValues) -> Question:
    """Both words in the wrong order. Words that only begin so match as well: what is expected is too little."""
    query = f"PatientName={study.first_name}%20{study.surname}&fuzzymatching=true&limit={PAGE}"
    return Question(query, partial(_begins_like, study))


def _begins_like(one: StudyValues, study: StudyValues) -> bool:
    return study.surname.startswith(one.surname) and study.first_name.startswith(one.first_name)


def _counting(expected: int) -> Callable[[Answer], None]:
    def check(answer: Answer) -> None:
        found = len(json.loads(answer.body))
        assert found == expected, f"{found} results instead of {expected}"

    return check


CASES = [
    Case(
        "scale",
        "searches from 10 k studies to many",
        "p95 < 15 ms, infix and fuzzy < 100; growth <= 1.5x",
        _scale,
        opt_in="--scale",
    ),
]
