"""`gantry import` against a real HTTP server that does as each test says."""

import asyncio
import io
import re
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from app.cli.http import Patience
from app.cli.import_command import ImportPlan, ImportTally, import_files, run
from app.cli.program import program
from app.cli.store_answer import describe_status
from tests.cli.store_peer import Reply, StorePeer, item, response_module, running
from tests.support.dicom_bytes import make_instance, new_uid, part10
from tests.support.server import PROJECT, free_port

PROGRAM = [sys.executable, "-c", "from app.cli import main; main()"]


@pytest.fixture
def peer() -> Iterator[StorePeer]:
    with running(StorePeer()) as peer:
        yield peer


async def _at_once(_: float) -> None:
    await asyncio.sleep(0)


def make_files(folder: Path, count: int, **attributes: Any) -> dict[str, bytes]:
    """SOP Instance UID -> bytes of files named 000.dcm, 001.dcm, ..."""
    folder.mkdir(parents=True, exist_ok=True)
    made = {}
    for number in range(count):
        uid = new_uid()
        made[uid] = make_instance(sop=uid, **attributes)
        (folder / f"{number:03}.dcm").write_bytes(made[uid])
    return made


class Run:
    """One import in this process: `tally`, `output`, `code`; pauses between attempts take no time."""

    def __init__(self, url: str, *paths: Path, retries: int = 3, **options: Any) -> None:
        self.pauses: list[float] = []

        async def note(seconds: float) -> None:
            self.pauses.append(seconds)
            await asyncio.sleep(0)

        self.plan = ImportPlan(paths, url, patience=Patience(retries, sleep=note), **options)
        self.tally = ImportTally()
        stream = io.StringIO()
        asyncio.run(import_files(self.plan, Console(file=stream, width=300, soft_wrap=True), self.tally))
        self.output = stream.getvalue()
        self.code = self.tally.exit_code


def test_folders_files_and_archives_are_stored_byte_for_byte(tmp_path: Path, peer: StorePeer) -> None:
    made = make_files(tmp_path / "folder" / "deep", 3) | make_files(tmp_path / "single", 1, rows=700, columns=900)
    zipped = make_instance(sop="1.2.3.4.5")
    with zipfile.ZipFile(tmp_path / "folder" / "more.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/b/c.dcm", zipped)
    (tmp_path / "folder" / "notes.txt").write_text("hello")
    (tmp_path / "folder" / "DICOMDIR").write_bytes(part10(b"", sop_class="1.2.840.10008.1.3.10"))
    result = Run(peer.url, tmp_path / "folder", tmp_path / "single" / "000.dcm")
    assert result.code == 0
    assert peer.stored == made | {"1.2.3.4.5": zipped}
    assert "Stored 5 files" in result.output
    assert "Skipped 2 files: not DICOM, 1 DICOMDIR among them" in result.output


def test_requests_are_multipart_related_with_an_exact_length(tmp_path: Path, peer: StorePeer) -> None:
    make_files(tmp_path, 2)
    Run(peer.url, tmp_path, headers=(("Authorization", "Bearer secret"),))
    ((headers, parts),) = peer.requests
    assert re.fullmatch(
        r'multipart/related; type="application/dicom"; boundary=[0-9A-Za-z-]{20,70}', headers["content-type"]
    )
    assert int(headers["content-length"]) > sum(len(part) for part in parts)
    assert "transfer-encoding" not in headers
    assert headers["accept"] == "application/dicom+json"
    assert headers["authorization"] == "Bearer secret"


def test_requests_hold_several_files_up_to_a_count(tmp_path: Path, peer: StorePeer) -> None:
    made = make_files(tmp_path, 11)
    result = Run(peer.url, tmp_path, batch_files=4, jobs=1)
    assert [len(parts) for _, parts in peer.requests] == [4, 4, 3]
    assert [part for _, parts in peer.requests for part in parts] == list(made.values())
    assert result.code == 0


def test_requests_hold_several_files_up_to_a_size(tmp_path: Path, peer: StorePeer) -> None:
    sizes = {len(content) for content in make_files(tmp_path, 6, rows=100, columns=100).values()}
    Run(peer.url, tmp_path, batch_bytes=2 * max(sizes) + 100, jobs=1)
    assert [len(parts) for _, parts in peer.requests] == [2, 2, 2]
    peer.requests.clear()
    Run(peer.url, tmp_path, batch_bytes=1, jobs=1)
    assert [len(parts) for _, parts in peer.requests] == [1] * 6


def test_requests_run_side_by_side(tmp_path: Path, peer: StorePeer) -> None:
    peer.delay = 0.1
    make_files(tmp_path, 12)
    Run(peer.url, tmp_path, batch_files=1, jobs=3)
    assert peer.most_at_once == 3


def test_refusals_are_told_with_file_code_and_reason(tmp_path: Path, peer: StorePeer) -> None:
    made = make_files(tmp_path, 5)
    bad = list(made)[2]
    peer.judge = lambda uid: 0xA900 if uid == bad else None
    result = Run(peer.url, tmp_path)
    assert result.code == 1
    assert f"{tmp_path}/002.dcm: refused: {describe_status(0xA900)} (A900H)" in result.output
    assert f"1 file refused: {describe_status(0xA900)} (A900H)" in result.output
    assert "Stored 4 files" in result.output
    assert len(peer.requests) == 1


def test_a_request_of_which_nothing_is_stored_still_gives_each_reason(tmp_path: Path, peer: StorePeer) -> None:
    make_files(tmp_path, 3)
    peer.judge = lambda _: 0x0122
    result = Run(peer.url, tmp_path)
    assert (result.tally.stored, result.tally.refused, len(peer.requests)) == (0, 3, 1)
    assert result.output.count(f"{describe_status(0x0122)} (0122H)") == 4


def test_other_failures_find_their_file(tmp_path: Path, peer: StorePeer) -> None:
    made = make_files(tmp_path, 3)
    bad = list(made)[1]
    peer.judge = lambda uid: 0xC000 if uid == bad else None
    result = Run(peer.url, tmp_path)
    assert f"{tmp_path}/001.dcm: refused: {describe_status(0xC000)} (C000H)" in result.output
    assert len(peer.requests) == 1


def test_warnings_are_counted_and_no_failure(tmp_path: Path, peer: StorePeer) -> None:
    (uid,) = make_files(tmp_path, 1)
    peer.script = [Reply(202, response_module([item(uid, 0xB000, "00081196")], []))]
    result = Run(peer.url, tmp_path)
    assert result.code == 0
    assert f"1 file stored with a warning: {describe_status(0xB000)} (B000H)" in result.output


@pytest.mark.parametrize("status", [400, 413, 415])
def test_a_request_that_fails_as_a_whole_is_sent_again_file_by_file(
    tmp_path: Path, peer: StorePeer, status: int
) -> None:
    made = make_files(tmp_path, 4)
    culprit = list(made.values())[2]
    peer.reply = lambda parts: Reply(status, b'{"detail": "that one"}') if culprit in parts else None
    result = Run(peer.url, tmp_path)
    assert [len(parts) for _, parts in peer.requests] == [4, 1, 1, 1, 1]
    assert (result.tally.stored, result.tally.refused) == (3, 1)
    assert re.search(rf"002\.dcm: refused: {status} [A-Za-z ]+: that one", result.output)


def test_files_that_the_answer_leaves_in_doubt_are_sent_again(tmp_path: Path, peer: StorePeer) -> None:
    uids = list(make_files(tmp_path, 3))
    peer.script = [Reply(200, response_module([item(uids[0])], []))]
    result = Run(peer.url, tmp_path)
    assert result.code == 0
    assert [len(parts) for _, parts in peer.requests] == [3, 1, 1]
    assert set(peer.stored) == set(uids[1:])


def test_an_empty_200_is_believed(tmp_path: Path, peer: StorePeer) -> None:
    make_files(tmp_path, 2)
    peer.script = [Reply(200)]
    assert Run(peer.url, tmp_path).code == 0


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_busy_server_is_asked_again(tmp_path: Path, peer: StorePeer, status: int) -> None:
    made = make_files(tmp_path, 2)
    peer.script = [Reply(status), Reply(status)]
    result = Run(peer.url, tmp_path)
    assert result.code == 0
    assert peer.stored == made
    assert len(result.pauses) == 2
    assert result.pauses[1] <= 1.0


def test_retry_after_is_heeded(tmp_path: Path, peer: StorePeer) -> None:
    make_files(tmp_path, 1)
    peer.script = [Reply(503, headers=(("retry-after", "17"),))]
    assert Run(peer.url, tmp_path).pauses == [17.0]


def test_a_server_that_stays_busy_stops_the_import(tmp_path: Path, peer: StorePeer) -> None:
    make_files(tmp_path, 8)
    peer.reply = lambda _: Reply(503, b"down for maintenance", (("content-type", "text/plain"),))
    result = Run(peer.url, tmp_path, jobs=1, batch_files=2, retries=2)
    assert result.code == 1
    assert len(peer.requests) == 3
    assert "Not sent: 8 files" in result.output
    assert "503 Service Unavailable: down for maintenance, after 3 attempts" in result.output


def test_a_cut_connection_is_tried_again(tmp_path: Path, peer: StorePeer) -> None:
    made = make_files(tmp_path, 3)
    peer.script = [Reply(0, drop=True)]
    result = Run(peer.url, tmp_path)
    assert result.code == 0
    assert peer.stored == made


def test_a_file_that_makes_the_server_fall_does_not_take_the_others_along(tmp_path: Path, peer: StorePeer) -> None:
    made = make_files(tmp_path, 3)
    culprit = next(iter(made.values()))
    peer.reply = lambda parts: Reply(500) if culprit in parts else None
    result = Run(peer.url, tmp_path, retries=2)
    assert (result.tally.stored, result.tally.refused) == (2, 1)
    assert "000.dcm: refused: 500 Internal Server Error, after 2 attempts" in result.output


@pytest.mark.parametrize("status", [401, 403, 404, 405])
def test_a_server_that_refuses_everything_is_not_asked_again(tmp_path: Path, peer: StorePeer, status: int) -> None:
    make_files(tmp_path, 9)
    peer.reply = lambda _: Reply(status)
    result = Run(peer.url, tmp_path, batch_files=1, jobs=1)
    assert result.code == 1
    assert len(peer.requests) == 1
    assert f"Stopped: {peer.url}/studies answered {status}" in result.output


def test_a_server_that_has_moved_is_told(tmp_path: Path, peer: StorePeer) -> None:
    make_files(tmp_path, 1)
    peer.reply = lambda _: Reply(301, headers=(("location", "https://elsewhere/dicomweb/studies"),))
    result = Run(peer.url, tmp_path)
    assert "has moved to https://elsewhere/dicomweb/studies: pass that as --url" in result.output


def test_a_server_that_is_not_there_is_told_in_one_line(tmp_path: Path) -> None:
    make_files(tmp_path, 3)
    url = f"http://127.0.0.1:{free_port()}/dicomweb"
    result = Run(url, tmp_path, retries=1)
    assert result.code == 1
    assert re.search(rf"Stopped: {url}: cannot connect \(.+\), after 2 attempts", result.output)
    assert "Traceback" not in result.output


def test_a_file_that_cannot_be_read_any_more_does_not_stop_the_others(tmp_path: Path, peer: StorePeer) -> None:
    content = make_instance(rows=100, columns=300)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("bad.dcm", content)
    data = bytearray((tmp_path / "a.zip").read_bytes())
    data[data.index(content) + len(content) - 5] ^= 0xFF
    (tmp_path / "a.zip").write_bytes(data)
    made = make_files(tmp_path / "good", 3)
    result = Run(peer.url, tmp_path)
    assert result.code == 1
    assert peer.stored == made
    assert re.search(r"a\.zip/bad\.dcm: refused: Bad CRC-32", result.output)


def test_unreadable_files_make_the_import_fail(tmp_path: Path, peer: StorePeer) -> None:
    (tmp_path / "link.dcm").symlink_to(tmp_path / "missing")
    result = Run(peer.url, tmp_path)
    assert result.code == 1
    assert "link.dcm: No such file or directory" in result.output
    assert "Could not read 1 file or folder" in result.output


def test_nothing_to_store_is_said_and_no_failure(tmp_path: Path, peer: StorePeer) -> None:
    result = Run(peer.url, tmp_path)
    assert result.code == 0
    assert "No DICOM files were found" in result.output


def test_the_same_import_again_is_fine(tmp_path: Path, peer: StorePeer) -> None:
    made = make_files(tmp_path, 3)
    assert [Run(peer.url, tmp_path).code for _ in range(2)] == [0, 0]
    assert peer.stored == made


def test_progress_takes_back_what_is_sent_again(
    tmp_path: Path, peer: StorePeer, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make_files(tmp_path, 3, rows=300, columns=300)
    sums: list[int] = []
    from app.cli.terminal import TransferProgress

    advance = TransferProgress.advance

    def note(self: TransferProgress, *, files: int = 0, size: int = 0) -> None:
        advance(self, files=files, size=size)
        sums.append(self.size)

    monkeypatch.setattr(TransferProgress, "advance", note)
    peer.script = [Reply(503), Reply(413)]
    assert Run(peer.url, tmp_path).code == 0
    total = sum(len(content) for content in made.values())
    assert sums[-1] == total
    assert max(sums) <= 2 * total
    assert min(sums) >= 0


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    # 300 MB through a server that only counts: the peak of the importer stays far below.
    size = 300_000_000
    path = tmp_path / "large.dcm"
    with path.open("wb") as stream:
        stream.write(part10(b""))
        stream.truncate(size)
    received = 0

    async def count(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal received
        head = await reader.readuntil(b"\r\n\r\n")
        match = re.search(rb"content-length: (\d+)", head.lower())
        assert match
        left = int(match[1])
        while left:
            left -= len(chunk := await reader.read(min(left, 1 << 20)))
            received += len(chunk)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    async def serve_and_import() -> int:
        server = await asyncio.start_server(count, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with server:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-c",
                # Not ru_maxrss: Linux counts the memory of the process that forked this one in it.
                "from app.cli.program import program\ntry: program()()\n"
                "finally: print('peak', *[line.split()[1] for line in open('/proc/self/status') if 'VmHWM' in line])",
                "import",
                str(path),
                "--url",
                f"http://127.0.0.1:{port}/dicomweb",
                cwd=PROJECT,
                stdout=subprocess.PIPE,
            )
            output, _ = await process.communicate()
        assert process.returncode == 0, output
        return int(re.search(rb"peak (\d+)", output)[1])  # type: ignore[index]

    peak = asyncio.run(serve_and_import())
    assert received > size
    assert peak * 1024 < 150_000_000


def wait_for(condition: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_ctrl_c_ends_with_a_word_and_without_a_traceback(tmp_path: Path, peer: StorePeer) -> None:
    peer.delay = 30
    make_files(tmp_path, 3)
    process = subprocess.Popen(
        [*PROGRAM, "import", str(tmp_path), "--url", peer.url, "--batch-size", "1"],
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_for(lambda: peer.most_at_once > 0)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "Interrupted: 0 files stored. It is safe to run the same command again." in output
    assert errors == ""
    peer.delay = 0


def test_the_command_line(tmp_path: Path, peer: StorePeer) -> None:
    made = make_files(tmp_path, 5)
    arguments = [
        "import",
        str(tmp_path),
        "--url",
        peer.url + "/",
        "-j",
        "2",
        "--batch-size",
        "2",
        "-H",
        "X-One: 1",
        "-H",
        "X-Two: 2",
    ]
    result = CliRunner().invoke(program(), arguments)
    assert result.exit_code == 0, result.output
    assert peer.stored == made
    assert {len(parts) for _, parts in peer.requests} <= {1, 2}
    assert all(headers["x-one"] == "1" and headers["x-two"] == "2" for headers, _ in peer.requests)
    assert re.search(r"Stored 5 files \([0-9.]+ kB\) in [0-9.]+ s, [0-9.]+ .B/s", result.output)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["import"], "Missing argument"),
        (["import", "/no/such/path"], "does not exist"),
        (["import", ".", "--url", "pacs"], "begins with http:// or https://"),
        (["import", ".", "--header", "nonsense"], "is not a header"),
        (["import", ".", "--jobs", "0"], "--jobs"),
        (["import", ".", "--nonsense"], "No such option"),
    ],
)
def test_wrong_usage_is_2(arguments: list[str], said: str) -> None:
    result = CliRunner().invoke(program(), arguments, env={"COLUMNS": "300"})
    assert result.exit_code == 2
    assert said in result.output


def test_run_gives_the_exit_code(tmp_path: Path, peer: StorePeer) -> None:
    make_files(tmp_path, 1)
    plan = ImportPlan((tmp_path,), peer.url, patience=Patience(0, sleep=_at_once))
    assert run(plan, Console(file=io.StringIO())) == 0
    peer.reply = lambda _: Reply(401)
    assert run(plan, Console(file=io.StringIO())) == 1
