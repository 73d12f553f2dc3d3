"""The searches again in an archive of up to a million studies, three million series and ten million instances."""

from benchmarks.archive_rows import Rows, fill_postgresql, fill_sqlite
from benchmarks.cases.case import Case
from benchmarks.cases.search import PAGE, Question, check_of, questions
from benchmarks.lab import Lab, first_answer, loaded_work
from benchmarks.load import Probe
from benchmarks.measurement import Measurement, measured, observe
from benchmarks.servers import Gantry

_SMALL = 10_000
_CONNECTIONS = 4
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
                _fill(server, Rows(studies, *_ROWS[label]))
                server.start()
                found += _ask(lab, server, label, studies)
    return found


def _fill(server: Gantry, rows: Rows) -> None:
    if server.database_url:
        fill_postgresql(server.database_url, rows, bulk=True)
    else:
        fill_sqlite(server.sqlite_file, rows, bulk=True)


def _ask(lab: Lab, server: Gantry, label: str, studies: int) -> list[Measurement]:
    asked = questions(studies)
    middle = studies // 2
    asked["offset-half"] = [Question(f"limit={PAGE}&offset={middle}", asked["first-page"][0].matches, middle)]
    found = []
    for kind, some in asked.items():
        paths = [f"{server.base}/studies?{question.query}" for question in some]
        probe = Probe(paths, {"Accept": "application/dicom+json"}, check_of(some[0], studies))
        case = f"scale-{kind}"
        try:
            answer = first_answer(server, probe)
        except (AssertionError, OSError) as error:
            found.append(Measurement(case, f"{label} {studies}", "requests", 0.0, note=str(error)[:160]))
            continue
        alone = observe(server, loaded_work(server, probe, answer, lab.seconds / 2, 1))
        many = observe(server, loaded_work(server, probe, answer, lab.seconds / 2, _CONNECTIONS))
        found.append(measured(case, f"{label} {studies}", [many], [alone]))
    return found


CASES = [
    Case(
        "scale",
        "searches from 10 k studies to many",
        "p95 < 15 ms, infix < 100; growth <= 1.5x",
        _scale,
        opt_in="--scale",
    ),
]
