"""Storing while the archive grows: the rate in a full archive against the rate in an empty one."""

from benchmarks.archive_rows import Rows, fill
from benchmarks.cases.case import Case
from benchmarks.lab import Lab
from benchmarks.measurement import Measurement, measured, observe
from benchmarks.uploads import Upload, store_under_load

TIMES = 10  # of the studies of the searches


def _growth(lab: Lab) -> list[Measurement]:
    studies = lab.corpus.size.studies * TIMES
    upload = Upload(lab.corpus.template("ct"), 10, 2000)
    found = []
    for on_postgresql in (False, True) if lab.cluster else (False,):
        name = "growth-pg" if on_postgresql else "growth"
        with lab.another_gantry(name, database="growth", on_postgresql=on_postgresql) as server:
            store_under_load(server, upload, clients=2, seconds=1)
            before = observe(server, lambda s=server: store_under_load(s, upload, clients=4, seconds=lab.seconds))
            server.stop()
            fill(server, Rows(studies, series_of_study=1, instances_of_series=1), bulk=True)
            server.start()
            store_under_load(server, upload, clients=2, seconds=1)
            after = observe(server, lambda s=server: store_under_load(s, upload, clients=4, seconds=lab.seconds))
        label = "gantry-pg" if on_postgresql else "gantry"
        found.append(measured("growth", f"{label} empty", [before], unit="instances"))
        grown = measured("growth", f"{label} {studies} studies", [after], unit="instances")
        found.append(grown)
    return found


CASES = [Case("growth", "STOW as the archive grows, 10 a request, 4 clients", "within 15 % of empty", _growth)]
