"""Finds what can be stored in folders, files and zip archives, and reads it again when it is sent.

Nothing is unpacked to disk and no file is held in memory: a zip member is inflated while its bytes go out.
"""

import asyncio
import os
import stat
import zipfile
import zlib
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import IO

from app.cli.dicom_head import HEAD_SIZE, read_head

CHUNK_SIZE = 256 * 1024
MAX_ZIP_MEMBERS = 1_000_000
# Deflate reaches 1000:1 on blank images, but a whole archive of real instances never comes near 200:1. Small archives may.
MAX_ZIP_RATIO = 200
MAX_ZIP_BYTES_REGARDLESS_OF_RATIO = 1024**3

_ZIP_SIGNATURES = (b"PK\x03\x04", b"PK\x05\x06")
# What damaged, truncated, encrypted or exotic archives make zipfile raise.
_ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError)


class Skip(StrEnum):
    """Why a file is not sent."""

    NOT_DICOM = "not DICOM"
    DICOMDIR = "DICOMDIR"
    UNREADABLE = "cannot be read"


@dataclass(frozen=True, slots=True)
class SkippedFile:
    """`detail` is for people; UNREADABLE counts as a failure, the others do not."""

    name: str
    skip: Skip
    detail: str = ""


class UnreadableFile(Exception):
    """A file can no longer be read as it was found."""

    def __init__(self, file: "DicomFile", reason: str) -> None:
        super().__init__(f"{file.name}: {reason}")
        self.file = file
        self.reason = reason


@dataclass(frozen=True, slots=True, eq=False)
class DicomFile:
    """A file, or a member of a zip archive, that begins like DICOM.

    name    for people: the path, or `archive.zip/member`
    size    in bytes, of what will be sent
    """

    name: str
    size: int
    path: Path
    # One open archive is shared by its members and closes itself when the last of them is done with: opening it anew for
    # each member would read its whole directory each time. Reading members in several threads is safe.
    archive: zipfile.ZipFile | None = field(default=None, repr=False)
    member: zipfile.ZipInfo | None = field(default=None, repr=False)

    def open(self) -> IO[bytes]:
        if self.archive is not None and self.member is not None:
            return self.archive.open(self.member)
        return self.path.open("rb", buffering=0)

    def head(self) -> bytes:
        """The first HEAD_SIZE bytes, fewer when there are fewer. Raises UnreadableFile."""
        try:
            with self.open() as stream:
                return stream.read(HEAD_SIZE)
        except (OSError, *_ZIP_ERRORS) as error:
            raise UnreadableFile(self, _reason(error)) from error

    async def chunks(self) -> AsyncIterator[bytes]:
        """Exactly `size` bytes. Raises UnreadableFile when there are fewer, or when reading fails."""
        left = self.size
        try:
            stream = await asyncio.to_thread(self.open)
            try:
                while left:
                    chunk = await asyncio.to_thread(stream.read, min(CHUNK_SIZE, left))
                    if not chunk:
                        raise UnreadableFile(self, f"{left} bytes fewer than before")
                    left -= len(chunk)
                    yield chunk
            finally:
                stream.close()
        except (OSError, *_ZIP_ERRORS) as error:
            raise UnreadableFile(self, _reason(error)) from error

    def sop_instance_uid(self) -> str:
        """ "" where it cannot be found."""
        try:
            head = read_head(self.head())
        except UnreadableFile:
            return ""
        return head.sop_instance_uid if head else ""


Found = DicomFile | SkippedFile


def find_files(paths: Iterable[Path]) -> Iterator[Found]:
    """Everything below `paths`: folders with all their subfolders, files, and zip archives among them. In order of name."""
    for path in paths:
        if path.is_dir():
            yield from _in_folder(path)
        else:
            yield from _in_file(path)


def _in_folder(folder: Path) -> Iterator[Found]:
    problems: list[OSError] = []
    seen: set[tuple[int, int]] = set()  # links to folders are followed, but never in a circle
    _first_visit(str(folder), seen, problems)
    for root, folders, names in os.walk(folder, onerror=problems.append, followlinks=True):
        folders.sort()
        folders[:] = [name for name in folders if _first_visit(os.path.join(root, name), seen, problems)]  # noqa: PTH118
        for name in sorted(names):
            yield from _in_file(Path(root, name))
    for problem in problems:
        yield SkippedFile(str(problem.filename or folder), Skip.UNREADABLE, _reason(problem))


def _first_visit(folder: str, seen: set[tuple[int, int]], problems: list[OSError]) -> bool:
    try:
        status = os.stat(folder)  # noqa: PTH116
    except OSError as error:
        problems.append(error)
        return False
    identity = (status.st_dev, status.st_ino)
    known = identity in seen
    seen.add(identity)
    return not known


def _in_file(path: Path) -> Iterator[Found]:
    name = str(path)
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # a pipe would block for ever
            yield SkippedFile(name, Skip.NOT_DICOM)
            return
        with path.open("rb", buffering=0) as stream:
            head = stream.read(HEAD_SIZE)
    except OSError as error:
        yield SkippedFile(name, Skip.UNREADABLE, _reason(error))
        return
    found = _judge(DicomFile(name, status.st_size, path), head)
    if isinstance(found, SkippedFile) and head.startswith(_ZIP_SIGNATURES):
        yield from _in_zip(path)
    else:
        yield found


def _judge(file: DicomFile, head: bytes) -> Found:
    facts = read_head(head)
    if facts is None:
        # Some media hold a DICOMDIR that is no longer readable; its name is fixed (PS3.10 section 8.6).
        directory = Path(file.name).name.upper() == "DICOMDIR"
        return SkippedFile(file.name, Skip.DICOMDIR if directory else Skip.NOT_DICOM)
    return SkippedFile(file.name, Skip.DICOMDIR) if facts.is_directory else file


def _in_zip(path: Path) -> Iterator[Found]:
    name = str(path)
    try:
        # Not a with block: see DicomFile.archive.
        archive = zipfile.ZipFile(path)
        members = [member for member in archive.infolist() if not member.is_dir()]
        problem = _bomb(members, path.stat().st_size)
    except (OSError, *_ZIP_ERRORS) as error:
        yield SkippedFile(name, Skip.UNREADABLE, f"damaged zip archive: {_reason(error)}")
        return
    if problem:
        yield SkippedFile(name, Skip.UNREADABLE, problem)
        return
    for member in members:
        file = DicomFile(f"{name}/{member.filename}", member.file_size, path, archive, member)
        try:
            head = file.head()
        except UnreadableFile as error:
            yield SkippedFile(file.name, Skip.UNREADABLE, error.reason)
        else:
            yield _judge(file, head)


def _bomb(members: list[zipfile.ZipInfo], archive_size: int) -> str:
    """Why an archive is not touched; "" when it is fine.

    zipfile gives no more bytes than the directory promises, so what the directory promises can be judged beforehand. Members
    that share their compressed bytes, the trick of the smallest bombs, show in the sum as well.
    """
    if len(members) > MAX_ZIP_MEMBERS:
        return f"zip archive with more than {MAX_ZIP_MEMBERS} members"
    total = sum(member.file_size for member in members)
    if total > max(MAX_ZIP_BYTES_REGARDLESS_OF_RATIO, archive_size * MAX_ZIP_RATIO):
        return f"zip archive of {archive_size} bytes that would unpack to {total}"
    return ""


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
