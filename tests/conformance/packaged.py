"""The files inside the pydicom package with UIDs of this session: same length, every other byte as it was."""

import warnings
from io import BytesIO
from pathlib import Path

import pydicom
from pydicom.data import get_testdata_file
from pydicom.errors import InvalidDicomError

from tests.conformance.instances import Item, Uids

UID_KEYWORDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
PACKAGE_FOLDERS = ("test_files", "charset_files")


def package_files() -> list[Path]:
    """Every file with a DICOM prefix or name in the package, the broken ones too."""
    root = Path(pydicom.__file__).parent / "data"
    return sorted(path for folder in PACKAGE_FOLDERS for path in (root / folder).rglob("*.dcm"))


def read(data: bytes) -> pydicom.Dataset:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pydicom.dcmread(BytesIO(data), force=True)


def packaged(name: str, uids: Uids, renamed: dict[str, str] | None = None) -> Item:
    """A file of the package by its name. `renamed` keeps one new UID per old one over several files."""
    path = get_testdata_file(name)
    assert isinstance(path, str), name
    return with_fresh_uids(name, Path(path).read_bytes(), uids, renamed)


def with_fresh_uids(name: str, data: bytes, uids: Uids, renamed: dict[str, str] | None = None) -> Item:
    """Raises InvalidDicomError for files without the UIDs, or whose UIDs are not readable in the bytes (deflated ones)."""
    renamed = {} if renamed is None else renamed
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # values are read when they are asked for
        dataset = read(data)
        found = {keyword: str(dataset.get(keyword, "")) for keyword in (*UID_KEYWORDS, "SOPClassUID")}
    old = []
    for keyword in UID_KEYWORDS:
        uid = found[keyword]
        if not uid or uid.encode() not in data:
            raise InvalidDicomError(f"{name} has no {keyword}")
        old.append(uid)
    # The longest first, as one UID may begin with another; the bytes around a UID may look like digits themselves.
    for uid in sorted(set(old), key=len, reverse=True):
        fresh = renamed.setdefault(uid, uids.of_length(len(uid)))
        data = data.replace(uid.encode(), fresh.encode())
    study, series, instance = (renamed[uid] for uid in old)
    meta = getattr(dataset, "file_meta", None) or {}
    syntax = str(meta.get("TransferSyntaxUID", ""))
    return Item(name, data, study, series, instance, found["SOPClassUID"], syntax)
