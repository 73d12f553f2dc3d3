"""A small archive for database tests: data sets in short form, stored through the real ingest."""

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any

import orjson

from app.blobs.digests import digest_of
from app.db.engine import Database
from app.db.ingest import DuplicatePolicy, ingest
from app.dicom.attributes import TAGS, VRS
from app.dicom.instance import InstanceRecord, ParsedInstance
from app.dicom.references import InstanceRef

EXPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"
CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"


def dataset(**attributes: Any) -> dict[str, Any]:
    """A data set in the DICOM JSON Model from keyword=value: one value or a list, None for an empty attribute, `=`-joined
    groups for person names, data sets for the items of sequences. Keys of 8 hexadecimal digits behind an underscore are
    taken as they are: `_00431001={"vr": ..}`."""
    built: dict[str, Any] = {}
    for keyword, given in attributes.items():
        if keyword.startswith("_"):
            built[keyword[1:]] = given
            continue
        tag = TAGS[keyword]
        vr = VRS[tag]
        values = given if isinstance(given, list) else [] if given is None else [given]
        if vr == "PN":
            values = [_name(value) for value in values]
        built[tag] = {"vr": vr, "Value": values} if values else {"vr": vr}
    return dict(sorted(built.items()))


def _name(text: str) -> dict[str, str]:
    groups = zip(("Alphabetic", "Ideographic", "Phonetic"), text.split("="), strict=False)
    return {name: group for name, group in groups if group}


def instance(
    study: str, series: str, sop: str, *, transfer_syntax: str = EXPLICIT_LITTLE_ENDIAN, **attributes: Any
) -> InstanceRecord:
    """An instance of the given UIDs; SOP Class UID is CT unless given."""
    attributes.setdefault("SOPClassUID", CT_IMAGE)
    data = dataset(StudyInstanceUID=study, SeriesInstanceUID=series, SOPInstanceUID=sop, **attributes)
    return record(data, transfer_syntax=transfer_syntax)


def study_of_doe(number: int, **attributes: Any) -> InstanceRecord:
    """The one instance of study 1.{number}, of patient P{number}, on one of nine days."""
    return instance(
        f"1.{number}",
        f"1.{number}.1",
        f"1.{number}.1.1",
        StudyDate=f"202401{number % 9 + 1:02}",
        PatientID=f"P{number}",
        PatientName="Doe^John",
        **attributes,
    )


def record(data: Mapping[str, Any], *, transfer_syntax: str = EXPLICIT_LITTLE_ENDIAN) -> InstanceRecord:
    """What the database is told of a data set, as if it had come in a file."""
    study, series, sop = (data[tag]["Value"][0] for tag in ("0020000D", "0020000E", "00080018"))
    text = orjson.dumps(data).replace(b"\\u0001", b"\x01")  # as the header reader writes it: app.dicom.instance
    digest = digest_of(text)
    parsed = ParsedInstance(transfer_syntax, 132, data, text, (), None, b"")
    sop_class = data.get("00080016", {}).get("Value", [""])[0]
    key = f"instances/{study}/{series}/{sop}/{digest[:16]}.dcm"
    return InstanceRecord(InstanceRef(study, series, sop), sop_class, parsed, key, len(text), digest)


async def store(db: Database, records: Iterable[InstanceRecord]) -> None:
    """Make the records known to the database."""
    await ingest(db, list(records), duplicates=DuplicatePolicy.REPLACE, retention=timedelta(days=1))
