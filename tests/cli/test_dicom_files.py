"""What is found in folders, files and zip archives, with real ones on disk."""

import os
import shutil
import sys
import zipfile
from pathlib import Path

import pytest

from app.cli import dicom_files
from app.cli.dicom_files import CHUNK_SIZE, DicomFile, Skip, SkippedFile, UnreadableFile, find_files
from tests.support.dicom_bytes import make_instance, part10


def dicom(path: Path, content: bytes | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(make_instance() if content is None else content)
    return path


def found(*paths: Path) -> tuple[list[str], list[tuple[str, Skip]]]:
    """Names of files to send, and (name, reason) of those that are not; relative to the first path."""
    results = list(find_files(paths))
    root = f"{paths[0]}{os.sep}"
    send = [result.name.removeprefix(root) for result in results if isinstance(result, DicomFile)]
    skip = [(result.name.removeprefix(root), result.skip) for result in results if isinstance(result, SkippedFile)]
    return send, skip


async def content_of(file: DicomFile) -> bytes:
    return b"".join([chunk async for chunk in file.chunks()])


def test_a_folder_with_all_its_subfolders_in_order(tmp_path: Path) -> None:
    for name in ("b.dcm", "a/2", "a/1", "a/deep/er/x.ima"):
        dicom(tmp_path / name)
    (tmp_path / "readme.txt").write_text("hello")
    (tmp_path / "empty").touch()
    send, skip = found(tmp_path)
    assert send == ["b.dcm", "a/1", "a/2", "a/deep/er/x.ima"]
    assert sorted(skip) == [("empty", Skip.NOT_DICOM), ("readme.txt", Skip.NOT_DICOM)]


def test_single_files_by_name(tmp_path: Path) -> None:
    one, two = dicom(tmp_path / "one"), dicom(tmp_path / "two.bin")
    assert [result.name for result in find_files([two, one])] == [str(two), str(one)]


def test_directories_of_media_are_skipped(tmp_path: Path) -> None:
    dicom(tmp_path / "index", part10(b"", sop_class="1.2.840.10008.1.3.10"))
    (tmp_path / "DICOMDIR").write_bytes(b"damaged")
    send, skip = found(tmp_path)
    assert send == []
    assert sorted(skip) == [("DICOMDIR", Skip.DICOMDIR), ("index", Skip.DICOMDIR)]


def test_links_to_folders_are_followed_once(tmp_path: Path) -> None:
    dicom(tmp_path / "scans" / "1.dcm")
    (tmp_path / "scans" / "again").symlink_to(tmp_path / "scans", target_is_directory=True)
    other = tmp_path / "elsewhere"
    dicom(other / "2.dcm")
    (tmp_path / "scans" / "more").symlink_to(other, target_is_directory=True)
    (tmp_path / "scans" / "nowhere").symlink_to(tmp_path / "missing")
    send, skip = found(tmp_path / "scans")
    assert send == ["1.dcm", "more/2.dcm"]
    assert skip == [("nowhere", Skip.UNREADABLE)]


def test_a_pipe_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert found(tmp_path) == ([], [("pipe", Skip.NOT_DICOM)])


def test_a_folder_that_cannot_be_listed_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Permissions do not stop root, who runs tests in containers: the refusal is made at the system call.
    closed = tmp_path / "closed"
    dicom(closed / "1.dcm")
    scandir = os.scandir

    def refuse(path: object) -> object:
        if str(path) == str(closed):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)  # type: ignore[call-overload]

    monkeypatch.setattr(os, "scandir", refuse)
    results = list(find_files([tmp_path]))
    assert results == [SkippedFile(str(closed), Skip.UNREADABLE, "Permission denied")]


async def test_members_of_a_zip_archive_with_folders(tmp_path: Path) -> None:
    contents = {"1.dcm": make_instance(), "disk/DICOM/2": make_instance(rows=300, columns=3000)}
    with zipfile.ZipFile(tmp_path / "scans.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
        archive.writestr("disk/notes.txt", "hello")
        archive.writestr("disk/DICOMDIR", part10(b"", sop_class="1.2.840.10008.1.3.10"))
        archive.mkdir("disk/nothing")
    results = list(find_files([tmp_path]))
    send = {result.name: result for result in results if isinstance(result, DicomFile)}
    assert set(send) == {f"{tmp_path}/scans.zip/{name}" for name in contents}
    for name, content in contents.items():
        file = send[f"{tmp_path}/scans.zip/{name}"]
        assert file.size == len(content)
        assert await content_of(file) == content
        assert file.sop_instance_uid()
    skipped = {result.skip for result in results if isinstance(result, SkippedFile)}
    assert skipped == {Skip.NOT_DICOM, Skip.DICOMDIR}


async def test_members_with_the_same_name_are_told_apart(tmp_path: Path) -> None:
    contents = [make_instance(), make_instance(rows=5)]
    with zipfile.ZipFile(tmp_path / "twice.zip", "w") as archive:
        archive.writestr("same.dcm", contents[0])
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("same.dcm", contents[1])
    files = [result for result in find_files([tmp_path]) if isinstance(result, DicomFile)]
    assert [await content_of(file) for file in files] == contents


def test_a_dicom_file_that_ends_like_an_archive_is_dicom(tmp_path: Path) -> None:
    # Such files exist: a zip archive is found by its end, DICOM by its beginning.
    path = dicom(tmp_path / "both.dcm")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("hidden.dcm", make_instance())
    assert found(tmp_path) == (["both.dcm"], [])


@pytest.mark.parametrize("keep", [10, 200, -30])
def test_a_damaged_archive_is_told(tmp_path: Path, keep: int) -> None:
    with zipfile.ZipFile(tmp_path / "whole.zip", "w") as archive:
        archive.writestr("1.dcm", make_instance())
    (tmp_path / "cut.zip").write_bytes((tmp_path / "whole.zip").read_bytes()[:keep])
    (tmp_path / "whole.zip").unlink()
    (result,) = find_files([tmp_path])
    assert isinstance(result, SkippedFile)
    assert result.skip is Skip.UNREADABLE
    assert "damaged zip archive" in result.detail


async def test_a_member_with_a_wrong_checksum_is_told_when_it_is_sent(tmp_path: Path) -> None:
    content = make_instance(rows=100, columns=300)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("1.dcm", content)
    data = bytearray((tmp_path / "a.zip").read_bytes())
    data[data.index(content) + len(content) - 5] ^= 0xFF
    (tmp_path / "a.zip").write_bytes(data)
    (file,) = find_files([tmp_path])
    assert isinstance(file, DicomFile)
    with pytest.raises(UnreadableFile, match="CRC") as error:
        await content_of(file)
    assert error.value.file is file
    assert file.archive is not None
    file.archive.close()  # the error refers to it, and who of the two is collected first is chance


def test_an_encrypted_member_is_told(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "secret.zip", "w") as archive:
        archive.writestr("1.dcm", make_instance())
    data = bytearray((tmp_path / "secret.zip").read_bytes())
    data[6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "secret.zip").write_bytes(data)
    (result,) = find_files([tmp_path])
    assert isinstance(result, SkippedFile)
    assert result.skip is Skip.UNREADABLE
    assert "encrypted" in result.detail


def test_an_archive_that_would_unpack_to_much_more_than_it_is_stays_shut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("1.dcm", part10(bytes(3_000_000)))
    assert found(tmp_path)[0] == ["bomb.zip/1.dcm"]
    monkeypatch.setattr(dicom_files, "MAX_ZIP_BYTES_REGARDLESS_OF_RATIO", 1_000_000)
    (result,) = find_files([tmp_path])
    assert isinstance(result, SkippedFile)
    assert result.skip is Skip.UNREADABLE
    assert "would unpack to 3,000" in result.detail.replace("3000", "3,000")
    monkeypatch.setattr(dicom_files, "MAX_ZIP_RATIO", 100_000)
    assert found(tmp_path)[0] == ["bomb.zip/1.dcm"]


def test_an_archive_with_too_many_members_stays_shut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile(tmp_path / "many.zip", "w") as archive:
        for number in range(4):
            archive.writestr(f"{number}.dcm", make_instance())
    monkeypatch.setattr(dicom_files, "MAX_ZIP_MEMBERS", 3)
    (result,) = find_files([tmp_path])
    assert isinstance(result, SkippedFile)
    assert "more than 3 members" in result.detail


async def test_a_member_never_gives_more_than_its_directory_promised(tmp_path: Path) -> None:
    content = make_instance(rows=100, columns=300)
    with zipfile.ZipFile(tmp_path / "liar.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("1.dcm", content)
    data = bytearray((tmp_path / "liar.zip").read_bytes())
    entry = data.index(b"PK\x01\x02")
    data[entry + 24 : entry + 28] = (2000).to_bytes(4, "little")
    (tmp_path / "liar.zip").write_bytes(data)
    for result in find_files([tmp_path]):
        if isinstance(result, DicomFile):
            received = 0
            with pytest.raises(UnreadableFile):
                async for chunk in result.chunks():
                    received += len(chunk)
            assert received <= 2000


async def test_large_files_come_in_chunks_that_may_be_read_again(tmp_path: Path) -> None:
    content = make_instance(rows=1000, columns=1000)
    (file,) = find_files([dicom(tmp_path / "large.dcm", content)])
    assert isinstance(file, DicomFile)
    for _ in range(2):
        chunks = [chunk async for chunk in file.chunks()]
        assert max(len(chunk) for chunk in chunks) <= CHUNK_SIZE
        assert len(chunks) >= 4
        assert b"".join(chunks) == content


async def test_a_file_that_shrinks_or_goes_is_told(tmp_path: Path) -> None:
    path = dicom(tmp_path / "1.dcm")
    (file,) = find_files([path])
    assert isinstance(file, DicomFile)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(UnreadableFile, match="10 bytes fewer"):
        await content_of(file)
    path.unlink()
    with pytest.raises(UnreadableFile, match="No such file"):
        await content_of(file)
    assert file.sop_instance_uid() == ""


async def test_a_file_that_grows_is_sent_as_it_was_announced(tmp_path: Path) -> None:
    path = dicom(tmp_path / "1.dcm")
    before = path.read_bytes()
    (file,) = find_files([path])
    assert isinstance(file, DicomFile)
    path.write_bytes(before + b"more")
    assert await content_of(file) == before


@pytest.mark.parametrize("count", [300])
def test_archives_are_closed_when_their_members_are_done_with(tmp_path: Path, count: int) -> None:
    with zipfile.ZipFile(tmp_path / "0.zip", "w") as archive:
        archive.writestr("1.dcm", make_instance())
    for number in range(1, count):
        shutil.copy(tmp_path / "0.zip", tmp_path / f"{number}.zip")
    open_files = Path("/proc/self/fd")
    before = len(list(open_files.iterdir())) if sys.platform == "linux" else 0
    assert sum(isinstance(result, DicomFile) for result in find_files([tmp_path])) == count
    after = len(list(open_files.iterdir())) if sys.platform == "linux" else 0
    assert after - before < 10
