"""Two worker processes against one, on work that keeps a processor busy."""

import json

from benchmarks.archive_rows import Rows, fill_postgresql, fill_sqlite
from benchmarks.cases.case import Case
from benchmarks.lab import Lab, first_answer, loaded_work
from benchmarks.load import Answer, Probe
from benchmarks.measurement import Measurement, measured, observe
from benchmarks.uploads import Upload, store_under_load

_STUDIES = 1000


def _full_page(answer: Answer) -> None:
    assert len(json.loads(answer.body)) == 100


def _workers(lab: Lab) -> list[Measurement]:
    found = []
    upload = Upload(lab.corpus.template("many"), 5, 3000)
    for on_postgresql in (False, True) if lab.cluster else (False,):
        label = "gantry-pg" if on_postgresql else "gantry"
        for workers in (1, 2):
            settings = {"GANTRY_WORKERS": str(workers)}
            name = f"workers-{workers}{'-pg' if on_postgresql else ''}"
            with lab.another_gantry(
                name, database=name.replace("-", "_"), settings=settings, on_postgresql=on_postgresql
            ) as server:
                if on_postgresql:
                    fill_postgresql(server.database_url, Rows(_STUDIES))
                else:
                    fill_sqlite(server.sqlite_file, Rows(_STUDIES))
                probe = Probe([f"{server.base}/studies?limit=100"], {"Accept": "application/dicom+json"}, _full_page)
                answer = first_answer(server, probe)
                reads = [observe(server, loaded_work(server, probe, answer, lab.seconds, 16))]
                writes = [observe(server, lambda s=server: store_under_load(s, upload, clients=4, seconds=lab.seconds))]
            found.append(measured("workers", f"{label} {workers} search", reads))
            found.append(measured("workers", f"{label} {workers} store", writes, unit="instances"))
    return found


CASES = [Case("workers", "GANTRY_WORKERS 1 and 2: a page of 100, small uploads", "1.6x; no errors", _workers)]
