"""`gantry serve` as a process: where it says it is, how it ends, and what keeps it from starting."""

import os
import re
import resource
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from app.cli.configuration import with_archive
from app.cli.serve import announcement
from app.services.archive import Archive
from app.services.store_results import StoredInstance
from app.settings import Settings
from tests.cli.test_import import PROGRAM
from tests.services.uploads import upload
from tests.support.dicom_bytes import make_instance
from tests.support.http import build_multipart
from tests.support.server import PROJECT, free_port


def environment(folder: Path, **settings: object) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("GANTRY_")}
    chosen = {f"GANTRY_{name.upper()}": str(value) for name, value in settings.items()}
    return {**inherited, "PYTHONPATH": str(PROJECT), "GANTRY_DATA_DIR": str(folder / "data"), **chosen}


def serve(folder: Path, *arguments: str, **settings: object) -> subprocess.CompletedProcess[str]:
    """A server that does not start."""
    return subprocess.run(
        [*PROGRAM, "serve", *arguments],
        env=environment(folder, **settings),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@contextmanager
def serving(
    folder: Path, *arguments: str, temporary: Path | None = None, **settings: object
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server that does, and the line in which it says where. `temporary`: the only folder for what is temporary."""
    log = (folder / "log").open("w")
    program = [*PROGRAM, "serve", *arguments]
    if temporary is not None:
        program[2] = f"import tempfile; tempfile.tempdir = {str(temporary)!r}; {program[2]}"
    process = subprocess.Popen(
        program,
        env=environment(folder, **settings),
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
    )
    try:
        assert process.stdout
        yield process, process.stdout.readline()
    finally:
        if process.poll() is None:
            process.terminate()
        process.communicate(timeout=30)
        log.close()


def root_of(said: str) -> str:
    match = re.match(r"DICOMweb root: (\S+)  \(database (\S+), blobs (\S+)\)$", said.strip())
    assert match, said
    return match[1]


def get_when_ready(url: str) -> httpx.Response:
    end = time.monotonic() + 30
    while True:
        try:
            return httpx.get(url, trust_env=False, timeout=30)
        except httpx.TransportError:
            assert time.monotonic() < end
            time.sleep(0.05)


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("workers", [1, 2])
def test_says_where_it_is_and_ends_cleanly(tmp_path: Path, sign: signal.Signals, workers: int) -> None:
    with serving(tmp_path, "--port", "0", "--workers", str(workers)) as (process, said):
        root = root_of(said)
        assert f"blobs {tmp_path / 'data' / 'blobs'}" in said
        assert get_when_ready(f"{root}/studies").status_code in (200, 204)
        process.send_signal(sign)
        assert process.wait(30) == 0
    assert "Traceback" not in (tmp_path / "log").read_text()


def test_flags_win_over_the_environment(tmp_path: Path) -> None:
    port = free_port()
    chosen = (
        "--port",
        str(port),
        "--data-dir",
        str(tmp_path / "elsewhere"),
        "--public-url",
        "https://pacs.example.org/",
    )
    with serving(tmp_path, *chosen, port=1, data_dir=tmp_path / "nowhere") as (_, said):
        assert root_of(said) == "https://pacs.example.org/dicomweb"
        assert get_when_ready(f"http://127.0.0.1:{port}/healthz").status_code == 200
    assert (tmp_path / "elsewhere" / "gantry.sqlite").exists()
    assert not (tmp_path / "nowhere").exists()


def test_the_server_does_not_tell_what_it_is_made_of(tmp_path: Path) -> None:
    with serving(tmp_path, port=0) as (_, said):
        assert "server" not in get_when_ready(f"{root_of(said)}/studies").headers


@pytest.mark.parametrize("workers", [1, 2])
def test_more_files_may_be_open_than_a_shell_allows(tmp_path: Path, workers: int) -> None:
    with serving(tmp_path, "--port", "0", "--workers", str(workers)) as (process, _):
        limits = Path(f"/proc/{process.pid}/limits").read_text()
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        (soft,) = re.findall(r"Max open files +(\d+)", limits)
        assert int(soft) >= min(hard, 65_536)


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        result = serve(tmp_path, "--port", str(port))
    assert result.returncode == 1
    assert result.stderr == f"gantry: cannot listen on 127.0.0.1 port {port}: address already in use\n"
    assert result.stdout == ""


def test_an_address_that_is_not_ours(tmp_path: Path) -> None:
    result = serve(tmp_path, "--host", "192.0.2.1", "--port", "0")
    assert result.returncode == 1
    assert result.stderr.startswith("gantry: cannot listen on 192.0.2.1 port 0: ")
    assert result.stderr.count("\n") == 1


def test_a_database_that_does_not_answer(tmp_path: Path) -> None:
    url = f"postgresql://gantry:secret@127.0.0.1:{free_port()}/gantry"
    result = serve(tmp_path, "--port", "0", database_url=url)
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith("gantry: the database cannot be reached: ")
    assert "Connect call failed" in result.stderr
    assert " (database postgresql://gantry:***@127.0.0.1:" in result.stderr
    assert "secret" not in result.stderr


@pytest.mark.parametrize(
    ("name", "value"),
    [("database_url", "mysql://host/x"), ("blob_url", "ftp://host/x"), ("searchable_attributes", "Nonsense")],
)
def test_settings_that_nothing_can_be_opened_with(tmp_path: Path, name: str, value: str) -> None:
    result = serve(tmp_path, "--port", "0", **{name: value})
    assert result.returncode in (1, 2)
    assert result.stderr.startswith("gantry: ")
    assert result.stderr.count("\n") == 1


def test_a_data_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    result = serve(tmp_path, "--port", "0", "--data-dir", str(tmp_path / "file" / "data"))
    assert result.returncode == 1
    assert result.stderr == f"gantry: Not a directory: {tmp_path}/file/data\n"


def test_every_unusable_setting_is_named(tmp_path: Path) -> None:
    result = serve(tmp_path, port="eighty", log_level="loud")
    assert result.returncode == 2
    assert re.search(r"^gantry: GANTRY_PORT: .*integer.* \(it is 'eighty'\)$", result.stderr, re.MULTILINE)
    assert re.search(r"^gantry: GANTRY_LOG_LEVEL: .*must be debug", result.stderr, re.MULTILINE)
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("value", ["-1", "9" * 30, "nan"])
def test_every_number_has_bounds(tmp_path: Path, value: str) -> None:
    """Rather than a server that starts, and then fails at each request that comes to use the number."""
    numbers = {name for name, field in Settings.model_fields.items() if field.annotation in (int, float)}
    result = serve(tmp_path, **dict.fromkeys(numbers, value))
    assert result.returncode == 2
    named = re.findall(r"^gantry: GANTRY_([A-Z_]+): .* \(it is ", result.stderr, re.MULTILINE)
    assert {name.lower() for name in named} == numbers
    assert "Traceback" not in result.stderr


def test_the_longest_retention_ends_at_a_date(tmp_path: Path) -> None:
    versions = [make_instance("1.2", "1.3", "1.4", PatientName=name) for name in ("old", "new")]
    with_archive(Settings(data_dir=tmp_path, retention_days=36_500), lambda archive: _each(archive, versions))


async def _each(archive: Archive, files: list[bytes]) -> None:
    for data in files:
        (result,) = await upload(archive, [data])
        assert isinstance(result, StoredInstance), result


def test_a_settings_file_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "gantry.toml").write_text("port = [")
    result = serve(tmp_path)
    assert result.returncode == 2
    assert result.stderr.startswith("gantry: gantry.toml cannot be read: ")


def test_a_settings_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "gantry.toml").write_text('port = 0\npublic_url = "http://from.file"\n')
    with serving(tmp_path) as (_, said):
        assert root_of(said) == "http://from.file/dicomweb"


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:80/dicomweb"),
        ("0.0.0.0", "http://127.0.0.1:80/dicomweb"),  # noqa: S104 - shown, not bound
        ("::", "http://[::1]:80/dicomweb"),
        ("fe80::1", "http://[fe80::1]:80/dicomweb"),
        ("pacs", "http://pacs:80/dicomweb"),
    ],
)
def test_the_address_is_one_that_can_be_clicked(host: str, url: str, tmp_path: Path) -> None:
    settings = Settings(host=host, data_dir=tmp_path, blob_url="s3://bucket/x?secret_access_key=hidden")
    said = announcement(settings, 80)
    assert root_of(said) == url
    assert "blobs s3://bucket/x)" in said
    assert "hidden" not in said


def children_of(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [int(child) for task in tasks for child in (task / "children").read_text().split()]


def test_workers_are_forked_from_one_process_and_share_what_it_imported(tmp_path: Path) -> None:
    with serving(tmp_path, "--port", "0", "--workers", "2") as (process, said):
        get_when_ready(f"{root_of(said)}/studies")
        forked = {child: children_of(child) for child in children_of(process.pid)}
        (workers,) = [found for found in forked.values() if found]
        assert len(workers) == 2
        for worker in workers:
            memory = Path(f"/proc/{worker}/smaps_rollup").read_text()
            resident, proportional = (int(re.search(rf"^{n}: +(\d+)", memory, re.MULTILINE)[1]) for n in ("Rss", "Pss"))
            assert proportional < 0.75 * resident


def test_a_worker_that_dies_is_replaced(tmp_path: Path) -> None:
    with serving(tmp_path, "--port", "0", "--workers", "2") as (process, said):
        get_when_ready(f"{root_of(said)}/studies")
        before = {worker for child in children_of(process.pid) for worker in children_of(child)}
        os.kill(min(before), signal.SIGKILL)
        end = time.monotonic() + 30
        while time.monotonic() < end:
            after = {worker for child in children_of(process.pid) for worker in children_of(child)}
            if len(after) == 2 and min(before) not in after:
                break
            time.sleep(0.1)
        assert len(after - before) == 1
        assert get_when_ready(f"{root_of(said)}/studies").status_code in (200, 204)


def test_workers_end_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    """And not before what they had begun to receive is stored."""
    with serving(tmp_path, "--port", "0", "--workers", "2") as (process, said):
        get_when_ready(f"{root_of(said)}/studies")
        host, port = root_of(said).split("/")[2].split(":")
        workers = [worker for child in children_of(process.pid) for worker in children_of(child)]
        assert len(workers) == 2
        boundary, body = build_multipart([make_instance(study="1.2.3")])
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(upload_head(boundary, len(body)) + body[:100])
            time.sleep(0.5)
            process.kill()
            process.wait(30)
            time.sleep(0.5)
            connection.sendall(body[100:])
            assert connection.makefile("rb").read().startswith(b"HTTP/1.1 200 ")
        end = time.monotonic() + 30
        while any(Path(f"/proc/{worker}").exists() for worker in workers):
            assert time.monotonic() < end
            time.sleep(0.1)
    with serving(tmp_path, "--port", port, "--workers", "2") as (_, said):
        assert [study["0020000D"]["Value"] for study in get_when_ready(f"{root_of(said)}/studies").json()] == [
            ["1.2.3"]
        ]


def test_each_worker_tells_the_metrics_of_all(tmp_path: Path) -> None:
    count = re.compile(r'gantry_request_seconds_count{status="200",transaction="search_for_studies"} (\S+)')
    with serving(tmp_path, "--port", "0", "--workers", "2") as (_, said):
        root = root_of(said)
        get_when_ready(f"{root}/studies")
        for _ in range(19):
            httpx.get(f"{root}/studies", trust_env=False)
        end = time.monotonic() + 30
        told: list[str] = []
        while told[-8:] != ["20.0"] * 8:  # by either of them
            assert time.monotonic() < end, told
            time.sleep(0.2)
            found = count.search(httpx.get(f"{root.removesuffix('/dicomweb')}/metrics", trust_env=False).text)
            told.append(found[1] if found else "")


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """The fork server has a socket below its folder for what is temporary, and names of sockets are short."""
    with tempfile.TemporaryDirectory(prefix="g") as folder:
        yield Path(folder)


@pytest.mark.parametrize("is_at_once", [True, False])
def test_the_folder_of_the_metrics_ends_with_the_server(tmp_path: Path, short_folder: Path, is_at_once: bool) -> None:
    with serving(tmp_path, "--port", "0", "--workers", "2", temporary=short_folder) as (process, said):
        if not is_at_once:
            get_when_ready(f"{root_of(said)}/studies")
            assert len(list(short_folder.glob("gantry-metrics-*"))) == 1
        process.terminate()
        assert process.wait(30) == 0
    assert list(short_folder.glob("gantry-metrics-*")) == []


def upload_head(boundary: str, length: int) -> bytes:
    return (
        f"POST /dicomweb/studies HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\nConnection: close\r\n"
        f'Content-Type: multipart/related; type="application/dicom"; boundary={boundary}\r\n\r\n'
    ).encode()


def test_a_start_counts_anew(tmp_path: Path) -> None:
    """In a folder that was set too, whatever became of the run before."""
    count = re.compile(r'gantry_request_seconds_count{status="200",transaction="search_for_studies"} (\S+)')
    folder = tmp_path / "metrics"
    for number in (3, 1):
        with serving(tmp_path, "--port", "0", "--workers", "2", metrics_dir=folder) as (process, said):
            root = root_of(said)
            get_when_ready(f"{root}/studies")
            for _ in range(number - 1):
                httpx.get(f"{root}/studies", trust_env=False)
            end = time.monotonic() + 30
            told = ""
            while told != f"{number}.0":
                assert time.monotonic() < end, told
                time.sleep(0.2)
                found = count.search(httpx.get(f"{root.removesuffix('/dicomweb')}/metrics", trust_env=False).text)
                told = found[1] if found else ""
            assert len(list(folder.iterdir())) == 1
            if number == 3:
                forked = [worker for child in children_of(process.pid) for worker in children_of(child)]
                process.kill()
                process.wait()
                for one in forked:  # they would end by themselves, a little later
                    os.kill(one, signal.SIGKILL)
    assert list(folder.iterdir()) == []


def test_a_folder_of_metrics_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = serve(tmp_path, "--port", "0", "--workers", "2", metrics_dir=tmp_path / "file")
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1
    assert "metrics" in result.stderr


def test_several_workers_and_a_database_that_does_not_answer(tmp_path: Path) -> None:
    url = f"postgresql://gantry:secret@127.0.0.1:{free_port()}/gantry"
    result = serve(tmp_path, "--port", "0", "--workers", "2", database_url=url)
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith("gantry: the database cannot be reached: ")
    assert " (database postgresql://gantry:***@" in result.stderr
    assert result.stdout == ""
