"""migrate, verify, sweep, reindex, restore, doctor, openapi: on a real archive, as programs, and what they print."""

import asyncio
import fcntl
import inspect
import json
import re
import shutil
from pathlib import Path

import pytest
from typer.models import CommandInfo
from typer.testing import CliRunner

from app import __version__
from app.cli import doctor
from app.cli.configuration import output
from app.cli.doctor import Finding, examine
from app.cli.openapi import openapi_text
from app.cli.program import program
from app.db.inventory import begin_reindexing
from app.main import open_archive
from app.settings import Settings
from tests.support.dicom_bytes import make_instance, new_uid
from tests.support.http import Peer
from tests.support.server import Server

STUDY, SERIES = "1.2.3", "1.2.3.1"


@pytest.fixture
def instances(gantry: Server) -> dict[str, bytes]:
    """Three instances in a running Gantry, by SOP Instance UID."""
    made = {sop: make_instance(study=STUDY, series=SERIES, sop=sop) for sop in (new_uid(), new_uid(), new_uid())}
    peer = Peer(gantry.base_url)
    assert peer.store(list(made.values())).status_code == 200
    peer.close()
    return made


def blobs(gantry: Server) -> list[Path]:
    return sorted((gantry.data_dir / "blobs").rglob("*.dcm"))


def run(gantry: Server, *arguments: str) -> tuple[int, str]:
    result = gantry.gantry(*arguments)
    assert "Traceback" not in result.stderr, result.stderr
    return result.returncode, result.stdout + result.stderr


def test_verify_a_sound_archive(gantry: Server, instances: dict[str, bytes]) -> None:
    code, output = run(gantry, "verify")
    assert code == 0
    assert re.search(r"^Verified 3 instances, [0-9.]+ kB: none damaged$", output, re.MULTILINE)


def test_verify_names_what_is_missing_and_what_is_altered(gantry: Server, instances: dict[str, bytes]) -> None:
    first, second, third = blobs(gantry)
    first.unlink()
    content = bytearray(second.read_bytes())
    content[-1] ^= 1
    second.write_bytes(content)
    third.write_bytes(third.read_bytes() + b"x")
    code, output = run(gantry, "verify")
    assert code == 1
    for path in (first, second, third):
        sop = path.name.partition("-")[0]
        assert re.search(
            rf"^{re.escape(sop)}: the blob.* \(instances/{STUDY}/{SERIES}/{re.escape(path.name)}", output, re.MULTILINE
        )
    assert "3 damaged" in output


def test_sweep_shows_first_and_removes_when_told(gantry: Server, instances: dict[str, bytes]) -> None:
    known = blobs(gantry)
    stray = known[0].with_name("1.2.9-0123456789abcdef-0123456789abcdef.dcm")
    stray.write_bytes(b"x" * 2000)
    code, output = run(gantry, "sweep")
    assert code == 0
    assert "Would remove 0 stray blobs" in output, "what is young may belong to an upload that is under way"
    code, output = run(gantry, "sweep", "--grace-hours", "0")
    assert code == 0
    assert stray.name in output
    assert "Would remove 1 stray blob (2.0 kB) and 0 expired instances (0 bytes), of 4 blobs" in output
    assert "run `gantry sweep --delete`" in output
    assert stray.exists()
    code, output = run(gantry, "sweep", "--grace-hours", "0", "--delete")
    assert code == 0
    assert "Removed 1 stray blob (2.0 kB)" in output
    assert blobs(gantry) == known


def test_sweep_names_the_first_and_all_when_told(gantry: Server, instances: dict[str, bytes]) -> None:
    for number in range(30):
        blobs(gantry)[0].with_name(f"0123456789abcdef-{number:016x}.dcm").write_bytes(b"x")
    _, output = run(gantry, "sweep", "--grace-hours", "0")
    assert output.count("0123456789abcdef-") == 20
    assert "... and 10 more: --all names them" in output
    _, output = run(gantry, "sweep", "--grace-hours", "0", "--all")
    assert output.count("0123456789abcdef-") == 30


def test_sweep_of_a_database_that_knows_too_little_is_refused(gantry: Server, instances: dict[str, bytes]) -> None:
    known = blobs(gantry)
    for number in range(12):
        known[0].with_name(f"1.2.9-0123456789abcdef-{number:016x}.dcm").write_bytes(b"x")
    code, output = run(gantry, "sweep", "--grace-hours", "0")
    assert code == 0
    assert "They would be left alone: the database does not know 12 of 15 blobs" in output
    code, output = run(gantry, "sweep", "--grace-hours", "0", "--delete")
    assert code == 1
    assert output.startswith("gantry: the database does not know 12 of 15 blobs")
    assert len(blobs(gantry)) == 15
    code, output = run(gantry, "sweep", "--grace-hours", "0", "--delete", "--force")
    assert code == 0
    assert blobs(gantry) == known
    gantry.stop()
    for path in gantry.data_dir.glob("gantry.sqlite*"):
        path.unlink()
    code, output = run(gantry, "sweep", "--grace-hours", "0", "--delete", "--force")
    assert code == 1
    assert "run `gantry reindex`" in output
    assert blobs(gantry) == known


def test_restore_what_was_deleted(gantry: Server, instances: dict[str, bytes]) -> None:
    peer = Peer(gantry.base_url)
    path = f"/studies/{STUDY}"
    assert peer.delete(path).status_code in (200, 204)
    assert peer.get(path).status_code == 410
    sop = next(iter(instances))
    code, output = run(gantry, "restore", STUDY, "--series", SERIES, "--instance", sop)
    assert (code, output) == (0, "Restored 1 instance\n")
    code, output = run(gantry, "restore", STUDY)
    assert (code, output) == (0, "Restored 2 instances\n")
    parts = peer.parts(path, 'multipart/related; type="application/dicom"; transfer-syntax=*')
    assert sorted(part.body for part in parts) == sorted(instances.values())
    peer.close()


def test_nothing_to_restore(gantry: Server, instances: dict[str, bytes]) -> None:
    code, output = run(gantry, "restore", "9.9.9")
    assert code == 1
    assert output.startswith("gantry: ")
    assert output.count("\n") == 1


def test_reindex_brings_the_database_back(gantry: Server, instances: dict[str, bytes]) -> None:
    gantry.stop()
    for path in gantry.data_dir.glob("gantry.sqlite*"):
        path.unlink()
    broken = blobs(gantry)[0].with_name("1.2.9-0123456789abcdef-0123456789abcdef.dcm")
    # Earlier versions kept each instance in a folder of its own.
    sop, _, name = blobs(gantry)[0].name.partition("-")
    blobs(gantry)[0].with_name(sop).mkdir()
    blobs(gantry)[0].rename(broken.parent / sop / name)
    code, output = run(gantry, "reindex")
    assert (code, output) == (0, "Indexed 3 instances and 0 deleted instances, 0 problems\n")
    broken.write_bytes(b"not dicom")
    code, output = run(gantry, "reindex")
    assert code == 1
    assert f"{broken.name}: " in output
    assert "Indexed 3 instances and 0 deleted instances, 1 problem" in output
    gantry.start()
    peer = Peer(gantry.base_url)
    assert len(peer.search("/instances")) == 3
    peer.close()


def test_reindex_keeps_away_from_a_server(gantry: Server, instances: dict[str, bytes]) -> None:
    code, output = run(gantry, "reindex")
    assert (code, output.count("\n")) == (1, 1)
    assert output.startswith("gantry: a server or another command is using the archive: stop it first (database ")
    assert run(gantry, "verify")[0] == 0, "they read and write side by side"
    gantry.kill()
    assert run(gantry, "reindex") == (0, "Indexed 3 instances and 0 deleted instances, 0 problems\n")


def test_a_server_keeps_away_from_a_reindex(gantry: Server) -> None:
    gantry.stop()
    with (gantry.data_dir / "gantry.sqlite.lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        code, output = run(gantry, "serve")
    assert code == 1
    assert output.startswith("gantry: the archive is being reindexed: wait until that has ended (database ")


@pytest.mark.parametrize("command", ["serve", "verify", "sweep", "migrate", "doctor"])
def test_a_disk_of_blobs_that_is_not_mounted(gantry: Server, instances: dict[str, bytes], command: str) -> None:
    """Not taken for a new, empty store: what is stored into its mount point is gone when the disk is there again."""
    gantry.stop()
    folder, disk = gantry.data_dir / "blobs", gantry.data_dir / "disk"
    folder.rename(disk)
    folder.mkdir()
    code, output = run(gantry, command)
    assert code == 1
    assert "holds none: is its disk mounted?" in " ".join(output.split())
    assert list(folder.iterdir()) == []
    folder.rmdir()
    disk.rename(folder)
    shutil.rmtree(folder / ".spool")  # a copy of the blobs alone will do
    assert run(gantry, "verify")[0] == 0
    gantry.start()


def test_migrate_says_what_it_did(tmp_path: Path) -> None:
    server = Server(tmp_path / "data")
    server.data_dir.mkdir()
    code, output = run(server, "migrate")
    assert code == 0
    assert re.fullmatch(r"Applied \d+ migrations?\n", output)
    assert run(server, "migrate") == (0, "The database is up to date\n")


def test_doctor_of_a_sound_installation(gantry: Server) -> None:
    code, output = run(gantry, "doctor")
    assert code == 0, output
    lines = [line.split() for line in output.splitlines() if not line.startswith(" ")]
    assert [words[0] for words in lines] == ["ok"] * 8
    assert "FAIL" not in output
    assert blobs(gantry) == []
    assert not list((gantry.data_dir / "blobs").rglob("doctor*/*"))


def test_doctor_finds_what_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file where the folder should be")
    server = Server(tmp_path / "data", {"GANTRY_DATABASE_URL": "postgresql://x:secret@127.0.0.1:1/x", "COLUMNS": "200"})
    result = server.environment()
    code = CliRunner().invoke(program(), ["doctor"], env=result)
    assert code.exit_code == 1
    failed = {line.split("  ")[0]: line for line in code.output.splitlines() if line.startswith("FAIL")}
    assert failed
    assert "Data folder" in code.output
    assert "GANTRY_DATA_DIR" in code.output
    assert "GANTRY_DATABASE_URL" in code.output
    assert "secret" not in code.output
    assert code.output.count("FAIL") >= 3


def test_doctor_sees_a_database_that_was_not_migrated(tmp_path: Path) -> None:
    (tmp_path / "gantry.sqlite").touch()
    findings = {finding.subject: finding for finding in examine(Settings(data_dir=tmp_path))}
    assert not findings["Database"].well
    assert findings["Database"].remedy == "Run `gantry migrate`"
    assert findings["Codecs"].well
    assert findings["Blob store"].well


def test_doctor_sees_a_reindex_that_was_broken_off(tmp_path: Path) -> None:
    async def break_off(settings: Settings) -> None:
        async with open_archive(settings) as archive:
            await begin_reindexing(archive.db)

    settings = Settings(data_dir=tmp_path)
    asyncio.run(break_off(settings))
    findings = {finding.subject: finding for finding in examine(settings)}
    assert not findings["Database"].well
    assert findings["Database"].remedy == "Run `gantry reindex` again"


def test_doctor_sees_a_package_that_cannot_be_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "COMPILED", ("numpy", "no_such_package"))
    finding = doctor._packages()
    assert not finding.well
    assert "cannot import no_such_package" in finding.detail


def test_doctor_sees_a_disk_that_is_nearly_full(tmp_path: Path) -> None:
    findings = {finding.subject: finding for finding in examine(Settings(data_dir=tmp_path, min_free_bytes=10**18))}
    assert not findings["Free space"].well


def test_findings_are_shown_with_their_remedy(capsys: pytest.CaptureFixture[str]) -> None:
    doctor.print_findings(
        [Finding("One", True, "fine", "not shown"), Finding("Two", False, "broken", "Mend it")], output()
    )
    shown = capsys.readouterr().out
    assert re.search(r"^ok +One +fine *$", shown, re.MULTILINE)
    assert re.search(r"^FAIL +Two +broken\. Mend it *$", shown, re.MULTILINE)


def test_openapi_is_json_and_always_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GANTRY_DATABASE_URL", "nonsense")
    runner = CliRunner()
    printed = runner.invoke(program(), ["openapi"])
    assert printed.exit_code == 0
    assert runner.invoke(program(), ["openapi", "-o", "file.json"]).exit_code == 0
    assert (tmp_path / "file.json").read_text() == printed.stdout == openapi_text()
    description = json.loads(printed.stdout)
    assert description["openapi"].startswith("3.")
    assert "/dicomweb/studies" in description["paths"]
    assert [path.name for path in tmp_path.iterdir()] == ["file.json"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["restore", "abc"], "is not a DICOM UID"),
        (["restore", "1.2", "--instance", "1.3"], "needs --series"),
        (["sweep", "--grace-hours", "-1"], "--grace-hours"),
        (["nonsense"], "No such command"),
        (["--nonsense"], "No such option"),
    ],
)
def test_wrong_usage_is_2(arguments: list[str], said: str) -> None:
    result = CliRunner().invoke(program(), arguments, env={"COLUMNS": "300"})
    assert result.exit_code == 2
    assert said in result.output


@pytest.mark.parametrize("command", [command.name for command in program().registered_commands])
def test_every_command_has_help_with_an_example(command: str) -> None:
    result = CliRunner().invoke(program(), [command, "--help"], env={"COLUMNS": "120"})
    assert result.exit_code == 0
    assert re.search(r"Examples?.*:", result.output)
    assert f"gantry {command}" in result.output


@pytest.mark.parametrize("command", program().registered_commands, ids=lambda command: command.name)
def test_the_help_breaks_lines_where_the_terminal_ends(command: CommandInfo) -> None:
    output = CliRunner().invoke(program(), [str(command.name), "--help"], env={"COLUMNS": "600"}).output
    assert command.callback
    for paragraph in inspect.getdoc(command.callback).split("\n\n"):  # type: ignore[union-attr]
        assert " ".join(paragraph.split()) in output


def test_the_program_lists_its_commands_and_its_version() -> None:
    result = CliRunner().invoke(program(), ["--help"])
    assert {"serve", "import", "export", "migrate", "verify", "sweep", "reindex", "restore", "doctor"} <= set(
        result.output.split()
    )
    version = CliRunner().invoke(program(), ["--version"])
    assert (version.exit_code, version.output) == (0, f"gantry {__version__}\n")
