"""`python -m benchmarks`: runs the cases, prints the table as it grows, writes JSON."""

import argparse
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.cases import CASES, Case
from benchmarks.corpus import SIZES, Corpus
from benchmarks.lab import Lab, Left, failed
from benchmarks.measurement import Measurement
from benchmarks.postgres import Cluster, PostgresMissing
from benchmarks.processes import PROJECT, load_average, use_free_memory
from benchmarks.report import heading, lines_of, write_json
from benchmarks.servers import Gantry, Nginx, Orthanc, Server, has_orthanc_postgresql, missing_tools

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gantry-benchmarks"


def main() -> int:
    options = _options()
    chosen = [case for case in CASES if _wanted(case, options)]
    if not chosen:
        print(f"no case is called {options.only}: " + ", ".join(case.name for case in CASES), file=sys.stderr)
        return 2
    missing = missing_tools()
    if missing:
        print(
            f"missing: {', '.join(missing)}. Their columns stay empty. apt-get install -y {' '.join(missing.values())}"
        )
    if "wrk" in missing:
        print("Without wrk no GET can be measured.", file=sys.stderr)
        return 2
    folder = Path(tempfile.mkdtemp(prefix="gantry-bench-"))
    folder.chmod(0o755)  # PostgreSQL runs as another user when this runs as root
    deadline = time.monotonic() + options.minutes * 60
    try:
        with _laboratory(options, folder, missing) as lab:
            if options.used_memory:
                use_free_memory(folder / "holes")
            results = _run(chosen, lab, deadline)
        write_json(options.json, results, _versions(missing), {k: str(v) for k, v in vars(options).items()})
        print(f"written: {options.json}")
    finally:
        if not options.keep:
            shutil.rmtree(folder, ignore_errors=True)
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--only", action="append", default=[], metavar="NAME", help="cases whose names begin so; repeatable"
    )
    parser.add_argument("--seconds", type=float, default=4.0, help="of load per server and case")
    parser.add_argument("--size", choices=sorted(SIZES), default="full", help="of the corpus")
    parser.add_argument("--minutes", type=float, default=15.0, help="no case is begun after so many")
    parser.add_argument("--postgresql", action="store_true", help="ours and the peer on PostgreSQL in every case too")
    parser.add_argument(
        "--scale", type=int, default=0, metavar="STUDIES", help="searches in so many studies, e.g. 1000000"
    )
    parser.add_argument(
        "--object-store", action="store_true", help="series from an object store that is 20 ms away; takes a minute"
    )
    parser.add_argument(
        "--memory-mb", type=int, default=100, help="size of each of ten uploads at once; 1024 for the bar"
    )
    parser.add_argument(
        "--used-memory",
        action="store_true",
        help="fill the memory with files first: what a virtual machine has not used yet costs every server time",
    )
    parser.add_argument("--cache", type=Path, default=CACHE, help="folder of the generated corpus")
    parser.add_argument("--json", type=Path, default=PROJECT / "build" / "benchmarks.json", help="where the JSON goes")
    parser.add_argument("--keep", action="store_true", help="leave the servers' folders, with their logs")
    return parser.parse_args()


def _wanted(case: Case, options: argparse.Namespace) -> bool:
    if case.opt_in and not getattr(options, case.opt_in.removeprefix("--").replace("-", "_")):
        return False
    return not options.only or any(case.name.startswith(name) for name in options.only)


@contextlib.contextmanager
def _laboratory(options: argparse.Namespace, folder: Path, missing: dict[str, str]) -> Iterator[Lab]:
    corpus = Corpus(options.cache, SIZES[options.size])
    lab = Lab(corpus, folder, options.seconds, scale_studies=options.scale, memory_mb=options.memory_mb)
    with contextlib.ExitStack() as stack:
        try:
            lab.cluster = Cluster(folder / "postgresql")
            stack.callback(lab.cluster.stop)
            lab.cluster.start()
        except PostgresMissing as error:
            print(f"PostgreSQL is left out: {error}")
        servers: list[Server] = [Gantry("gantry", folder / "gantry")]
        if "Orthanc" not in missing:
            servers.append(Orthanc("orthanc", folder / "orthanc"))
        if lab.cluster and options.postgresql:
            servers.append(Gantry("gantry-pg", folder / "gantry-pg", lab.cluster))
            if "Orthanc" not in missing and has_orthanc_postgresql():
                servers.append(Orthanc("orthanc-pg", folder / "orthanc-pg", lab.cluster))
            else:
                print("orthanc-pg is left out: apt-get install -y orthanc-postgresql")
        if "nginx" not in missing:
            lab.nginx = Nginx("nginx", folder / "nginx")
        for server in (*servers, *filter(None, [lab.nginx])):
            stack.callback(server.stop)
            server.start()
        lab.servers = {server.name: server for server in servers}
        yield lab


def _run(chosen: Sequence[Case], lab: Lab, deadline: float) -> list[tuple[Case, list[Measurement]]]:
    results = []
    print(f"load of the machine before: {load_average():.1f}\n{heading()}")
    for case in chosen:
        if time.monotonic() > deadline:
            print(f"{case.title}: left out, the time is up")
            continue
        started = time.monotonic()
        try:
            found = case.run(lab)
        except (AssertionError, Left, OSError, RuntimeError, subprocess.SubprocessError) as error:
            found = [failed(case.name, "-", "requests", error)]
        results.append((case, found))
        print("\n".join(lines_of(case, found)), flush=True)
        print(f"    {case.name}, {time.monotonic() - started:.0f} s", flush=True)
    print(f"load of the machine after: {load_average():.1f}")
    return results


def _versions(missing: dict[str, str]) -> dict[str, str]:
    wanted = ["orthanc", "orthanc-dicomweb", "orthanc-postgresql", "nginx-light", "wrk"]
    found = {}
    for package in wanted:
        if package in missing.values():
            continue
        query = subprocess.run(
            ["dpkg-query", "-W", "-f=${Version}", package], capture_output=True, text=True, check=False
        )
        if query.returncode == 0:
            found[package] = query.stdout
    return found


if __name__ == "__main__":
    sys.exit(main())
