"""`gantry export`: from a real Gantry, and from servers that are wrong in some way."""

import asyncio
import hashlib
import io
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pytest
from blake3 import blake3
from rich.console import Console
from typer.testing import CliRunner

from app.blobs.digests import digests_of
from app.cli import wado
from app.cli.export import ExportPlan, ExportTally, export_studies
from app.cli.http import Patience
from app.cli.program import program
from app.cli.wado import ACCEPT_ONE_RANGE
from tests.cli.retrieve_peer import RetrievePeer, Stored, multipart
from tests.cli.store_peer import Reply, running
from tests.cli.test_import import PROGRAM, wait_for
from tests.support.dicom_bytes import BIG_ENDIAN, EXPLICIT, IMPLICIT, make_instance, new_uid
from tests.support.http import Peer
from tests.support.server import PROJECT, free_port, running_server

DEFLATED = "1.2.840.10008.1.2.1.99"
STUDY, OTHER_STUDY = "1.2.3", "1.2.4"


@pytest.fixture
def peer() -> Iterator[RetrievePeer]:
    with running(RetrievePeer()) as peer:
        yield peer


class Run:
    """One export in this process."""

    def __init__(
        self, url: str, folder: Path, *studies: str, series: str = "", retries: int = 2, jobs: int = 4
    ) -> None:
        async def at_once(_: float) -> None:
            await asyncio.sleep(0)

        plan = ExportPlan(studies or (STUDY,), folder, url, series, jobs, patience=Patience(retries, sleep=at_once))
        self.tally = ExportTally()
        stream = io.StringIO()
        asyncio.run(export_studies(plan, Console(file=stream, width=300, soft_wrap=True), self.tally))
        self.output = stream.getvalue()
        self.code = self.tally.exit_code
        self.files = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def stored(
    series: str = "1.2.3.1", sop: str = "", *, study: str = STUDY, syntax: str = EXPLICIT, told: str | None = None
) -> Stored:
    sop = sop or new_uid()
    content = make_instance(study=study, series=series, sop=sop, transfer_syntax=syntax)
    return Stored(study, series, sop, content, syntax if told is None else told)


def file_of(one: Stored) -> str:
    return f"{one.study}/{one.series}/{one.sop}.dcm"


def expected(instances: list[Stored]) -> dict[str, bytes]:
    return {file_of(one): one.content for one in instances}


# From a real Gantry.


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The service root of a Gantry that these tests only read from, each its own studies."""
    with running_server(tmp_path_factory.mktemp("gantry") / "data") as server:
        yield server.base_url


@pytest.fixture(scope="module")
def mixed(archive: str) -> list[Stored]:
    """Two studies in Gantry, with series of one syntax and of several, those that are kept off the wire among them."""
    plain = [stored("1.2.3.1", syntax=EXPLICIT) for _ in range(5)]
    odd = [stored("1.2.3.2", syntax=syntax) for syntax in (IMPLICIT, BIG_ENDIAN, DEFLATED, EXPLICIT)]
    other = [stored("1.2.4.1", study=OTHER_STUDY, syntax="1.2.840.10008.1.2.4.50")]
    peer = Peer(archive)
    assert peer.store([one.content for one in (*plain, *odd, *other)]).status_code == 200
    peer.close()
    return [*plain, *odd, *other]


def test_every_byte_comes_back_as_it_was_stored(archive: str, mixed: list[Stored], tmp_path: Path) -> None:
    result = Run(archive, tmp_path / "out", STUDY, OTHER_STUDY)
    assert result.code == 0, result.output
    assert result.files == expected(mixed)
    assert "Wrote 10 instances" in result.output


def test_running_it_again_fetches_what_is_missing_or_different(
    archive: str, mixed: list[Stored], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    Run(archive, out)
    times = {path: path.stat().st_mtime_ns for path in out.rglob("*.dcm")}
    again = Run(archive, out)
    assert (again.code, again.tally.written, again.tally.unchanged) == (0, 0, 9)
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.dcm")} == times
    (out / file_of(mixed[0])).unlink()
    (out / file_of(mixed[1])).write_bytes(mixed[1].content + b"more")
    (out / file_of(mixed[6])).write_bytes(mixed[6].content[:-1] + b"?")
    mended = Run(archive, out)
    assert (mended.code, mended.tally.written, mended.tally.unchanged) == (0, 3, 6)
    assert mended.files == expected(mixed[:9])


def test_one_series_by_the_command_line(archive: str, mixed: list[Stored], tmp_path: Path) -> None:
    arguments = ["export", STUDY, "--series", "1.2.3.2", "-o", str(tmp_path / "out"), "--url", archive]
    result = CliRunner().invoke(program(), arguments)
    assert result.exit_code == 0, result.output
    assert {path.parent.name for path in (tmp_path / "out").rglob("*.dcm")} == {"1.2.3.2"}
    assert "Wrote 4 instances" in result.output


def test_import_and_export_are_inverse(archive: str, tmp_path: Path) -> None:
    study = new_uid()
    instances = [
        stored(f"1.2.3.{number % 3}", study=study, syntax=IMPLICIT if number % 2 else EXPLICIT) for number in range(12)
    ]
    for number, one in enumerate(instances):
        path = tmp_path / "in" / str(number % 4) / f"{number}.dcm"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(one.content)
    runner = CliRunner()
    assert runner.invoke(program(), ["import", str(tmp_path / "in"), "--url", archive]).exit_code == 0
    assert Run(archive, tmp_path / "out", study).files == expected(instances)


# From servers that are wrong.


@pytest.mark.parametrize("status", [400, 406])
def test_a_server_that_takes_the_ranges_of_accept_for_one(peer: RetrievePeer, tmp_path: Path, status: int) -> None:
    """As Orthanc does, which offers instances only as parts and says nothing of their transfer syntaxes in searches."""

    def refuse(path: str, accept: str) -> Reply | None:
        is_search = path.endswith("/instances")
        return None if is_search or accept == ACCEPT_ONE_RANGE else Reply(status, b"cannot generate this content type")

    peer.instances = [stored(syntax=syntax, told="") for syntax in (EXPLICIT, IMPLICIT)]
    peer.change = refuse
    result = Run(peer.url, tmp_path)
    assert (result.code, result.files) == (0, expected(peer.instances)), result.output


def test_a_study_that_is_not_there_fails(peer: RetrievePeer, tmp_path: Path) -> None:
    result = Run(peer.url, tmp_path)
    assert result.code == 1
    assert f"/studies/{STUDY}: nothing is stored there" in result.output


def test_a_new_series_is_one_request_and_search_goes_on_over_pages(peer: RetrievePeer, tmp_path: Path) -> None:
    peer.instances = [stored() for _ in range(7)]
    peer.page = 3
    result = Run(peer.url, tmp_path)
    assert result.files == expected(peer.instances)
    assert peer.searches == 4
    assert [path for path, _ in peer.seen] == [f"/dicomweb/studies/{STUDY}/series/1.2.3.1"]
    accept = peer.seen[0][1]["accept"]
    assert accept.index(f"transfer-syntax={IMPLICIT};") < accept.index("transfer-syntax=*;q=0.9")
    assert peer.seen[0][1]["accept-encoding"] == "identity"


@pytest.mark.parametrize("told", ["", IMPLICIT])
def test_what_may_be_rewritten_is_asked_for_alone(peer: RetrievePeer, tmp_path: Path, told: str) -> None:
    peer.instances = [stored(told=told, syntax=IMPLICIT) for _ in range(3)]
    result = Run(peer.url, tmp_path)
    assert result.files == expected(peer.instances)
    assert sorted(path for path, _ in peer.seen) == sorted(one.path for one in peer.instances)


def test_a_server_that_ignores_the_offset_is_borne(peer: RetrievePeer, tmp_path: Path) -> None:
    one = stored()
    peer.instances = [one]
    page = peer._search(f"/dicomweb/studies/{STUDY}/instances", {"offset": ["0"], "limit": ["9"]})
    peer.change = lambda path, _: page if path.endswith("/instances") else None
    assert Run(peer.url, tmp_path).files == expected([one])


def test_a_converted_instance_is_not_taken_for_the_stored_one(peer: RetrievePeer, tmp_path: Path) -> None:
    peer.instances = [stored(syntax=EXPLICIT, told="1.2.840.10008.1.2.4.90") for _ in range(2)]
    result = Run(peer.url, tmp_path)
    assert result.code == 1
    assert result.output.count("did not come, or not as it is stored") == 2
    assert "Missing: 2 instances" in result.output


def test_a_cut_answer_is_finished_one_by_one(peer: RetrievePeer, tmp_path: Path) -> None:
    peer.instances = [stored() for _ in range(4)]
    contents = [one.content for one in peer.instances]
    series = f"/dicomweb/studies/{STUDY}/series/1.2.3.1"
    cut = multipart([*contents[:2], contents[2][:200]], closing=False, drop=True)
    peer.change = lambda path, _: cut if path == series else None
    result = Run(peer.url, tmp_path)
    assert result.code == 0
    assert result.files == expected(peer.instances)
    assert "going on one by one" in result.output
    assert {path for path, _ in peer.seen[1:]} == {one.path for one in peer.instances[2:]}


def test_nothing_half_written_stays(peer: RetrievePeer, tmp_path: Path) -> None:
    peer.instances = [stored()]
    cut = multipart([peer.instances[0].content[:100]], closing=False)
    peer.change = lambda path, _: None if path.endswith("/instances") else cut
    result = Run(peer.url, tmp_path)
    assert result.code == 1
    assert result.files == {}
    assert len(peer.seen) == 3
    assert "the message ends within this part" in result.output


def test_a_single_part_is_taken(peer: RetrievePeer, tmp_path: Path) -> None:
    one = stored()
    peer.instances = [one]
    reply = Reply(200, one.content, (("content-type", "application/dicom"), ("content-length", str(len(one.content)))))
    peer.change = lambda path, _: reply if path == one.path else None
    assert Run(peer.url, tmp_path).files == expected([one])
    # Without an ETag the size of a single part tells whether the file is still the same.
    again = Run(peer.url, tmp_path)
    assert (again.code, again.tally.unchanged) == (0, 1)


def test_an_etag_made_of_the_digest_is_recognised(peer: RetrievePeer, tmp_path: Path) -> None:
    one = stored()
    peer.instances = [one]
    Run(peer.url, tmp_path)
    sent = [headers for path, headers in peer.seen if path == one.path][-1]
    assert "if-none-match" not in sent
    peer.change = lambda path, _: Reply(304) if path == one.path else None
    again = Run(peer.url, tmp_path)
    assert again.tally.unchanged == 1
    # Those of servers that know it by BLAKE3, and of earlier ones.
    hashes = (blake3(one.content).hexdigest(), hashlib.sha256(one.content).hexdigest())
    tags = [f'"{digits[:32]}-{EXPLICIT}"' for digits in hashes]
    assert peer.seen[-1][1]["if-none-match"] == ", ".join(tags)
    for tag in tags:
        reply = Reply(200, b"x", (("etag", tag),))
        peer.change = lambda path, _, reply=reply: reply if path == one.path else None  # type: ignore[misc]
        assert Run(peer.url, tmp_path).tally.unchanged == 1


def test_files_of_an_earlier_run_are_hashed_beside_the_other_downloads(
    peer: RetrievePeer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = stored()
    peer.instances = [one]
    Run(peer.url, tmp_path)
    threads = []

    def hashed(stream: BinaryIO) -> tuple[str, ...]:
        threads.append(threading.current_thread())
        return digests_of(stream)

    monkeypatch.setattr(wado, "digests_of", hashed)
    Run(peer.url, tmp_path)
    assert threads
    assert threading.main_thread() not in threads


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (Reply(406, b"cannot"), "406 Not Acceptable: cannot"),
        (Reply(410), "410 Gone"),
        (Reply(200, b"hello", (("content-type", "text/plain"),)), "not a DICOM file"),
        (Reply(200, b"hello"), "cannot be read"),
        (Reply(200, b"hello", (("content-type", "multipart/related"),)), "cannot be read"),
        (Reply(500), "500 Internal Server Error"),
        (multipart([b"not dicom at all"]), "not a DICOM file"),
    ],
)
def test_useless_answers_are_told(peer: RetrievePeer, tmp_path: Path, reply: Reply, said: str) -> None:
    one = stored()
    peer.instances = [one]
    peer.change = lambda path, _: reply if path == one.path else None
    result = Run(peer.url, tmp_path)
    assert result.code == 1
    assert f"instances/{one.sop}: " in result.output
    assert said in result.output
    assert result.files == {}


@pytest.mark.parametrize("status", [401, 403, 503])
def test_a_server_that_refuses_or_stays_busy_ends_it(peer: RetrievePeer, tmp_path: Path, status: int) -> None:
    peer.instances = [stored()]
    peer.change = lambda _path, _accept: Reply(status)
    result = Run(peer.url, tmp_path)
    assert result.code == 1
    assert f"Stopped: {peer.url}/studies/{STUDY}/instances: {status}" in result.output


def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    result = Run(f"http://127.0.0.1:{free_port()}/x", tmp_path, retries=1)
    assert result.code == 1
    assert "Stopped: " in result.output
    assert "cannot connect" in result.output


def test_names_from_the_server_stay_within_the_folder(peer: RetrievePeer, tmp_path: Path) -> None:
    good = stored()
    evil = Stored(STUDY, "../../..", "1.2.3.9", good.content)
    worse = Stored(STUDY, "1.2.3.1", "../../evil", good.content)
    peer.instances = [good, evil, worse]
    result = Run(peer.url, tmp_path / "deep" / "out")
    assert result.files == expected([good])
    assert {path.name for path in tmp_path.rglob("*.dcm")} == {f"{good.sop}.dcm"}


@pytest.mark.parametrize("answer", [b"no json", b'{"a": 1}', b"[1, null, {}]", b"[" * 50_000])
def test_a_search_that_answers_nonsense(peer: RetrievePeer, tmp_path: Path, answer: bytes) -> None:
    peer.change = lambda path, _: Reply(200, answer) if path.endswith("/instances") else None
    result = Run(peer.url, tmp_path)
    assert result.code == 1
    assert "Traceback" not in result.output


def test_a_folder_that_cannot_be_written_is_told_in_one_line(peer: RetrievePeer, tmp_path: Path) -> None:
    peer.instances = [stored()]
    (tmp_path / "out").write_text("a file")
    result = CliRunner().invoke(program(), ["export", STUDY, "-o", str(tmp_path / "out"), "--url", peer.url])
    assert result.exit_code == 1
    assert "Stopped: Not a directory" in result.output


def test_ctrl_c(tmp_path: Path) -> None:
    with running(_Hanging()) as hanging:
        process = subprocess.Popen(
            [*PROGRAM, "export", STUDY, "-o", str(tmp_path), "--url", f"http://127.0.0.1:{hanging.port}"],
            cwd=PROJECT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        wait_for(lambda: hanging.requests > 0)
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "Interrupted: 0 instances written. The same command goes on from there." in output
    assert errors == ""


class _Hanging:
    port = 0
    requests = 0

    async def __call__(self, scope: object, receive: object, send: object) -> None:
        self.requests += 1
        await asyncio.sleep(30)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["export", "1.2.3"], "--output"),
        (["export", "../x", "-o", "out"], "is not a DICOM UID"),
        (["export", "1.2", "1.3", "--series", "1.4", "-o", "out"], "exactly one study"),
        (["export", "1.2", "--series", "x", "-o", "out"], "is not a DICOM UID"),
        (["export", "1.2", "-o", "out", "--url", "nowhere"], "begins with http"),
    ],
)
def test_wrong_usage_is_2(arguments: list[str], said: str) -> None:
    result = CliRunner().invoke(program(), arguments, env={"COLUMNS": "300"})
    assert result.exit_code == 2
    assert said in result.output
