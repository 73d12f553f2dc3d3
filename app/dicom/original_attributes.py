"""What was changed on the way in, as PS3.3 C.12.1.1.9 and PS3.18 10.5.2 want it kept: Original Attributes Sequence (0400,0561)."""

from datetime import datetime
from typing import Any

from app.dicom.character_sets import encodings_of
from app.dicom.instance import DicomJson
from app.dicom.json_model import EMITTERS
from app.dicom.metadata_elements import DataSet, MetadataElement, items

ORIGINAL_ATTRIBUTES = 0x04000561
SPECIFIC_CHARACTER_SET = 0x00080005
MODIFYING_SYSTEM = "GANTRY"
_UTF_8 = encodings_of(["ISO_IR 192"])


def note_originals(data_set: DataSet, originals: DataSet, now: datetime) -> DataSet:
    """Add an item for corrected elements as they were; the item. `now` is aware."""
    modified_at = now.strftime("%Y%m%d%H%M%S.%f%z")
    item: DataSet = {
        0x04000550: items(dict(originals)),
        0x04000562: MetadataElement("DT", modified_at.encode("ascii")),
        0x04000563: MetadataElement("LO", MODIFYING_SYSTEM.encode("ascii")),
        0x04000564: MetadataElement("LO", b""),
        0x04000565: MetadataElement("CS", b"CORRECT"),
    }
    before = data_set.get(ORIGINAL_ATTRIBUTES)
    earlier = before.value if before is not None and isinstance(before.value, tuple) else ()
    data_set[ORIGINAL_ATTRIBUTES] = items(*earlier, item)
    return item


def settle_character_set(data_set: DataSet, *, is_ascii: bool) -> tuple[MetadataElement | None, list[str]]:
    """Declare what the texts are in: metadata is UTF-8 (PS3.18 8.8), whatever (0008,0005) it brings along.

    Texts of ASCII are right in any set and stay as they were declared. The first result is (0008,0005) as it was, where it had
    to be corrected; the second names the declarations within items that were left out: they would say something else.
    """
    if is_ascii:
        return None, []
    said = data_set.get(SPECIFIC_CHARACTER_SET)
    utf_8 = said is not None and isinstance(said.value, bytes) and said.value.strip() == b"ISO_IR 192"
    data_set[SPECIFIC_CHARACTER_SET] = MetadataElement("CS", b"ISO_IR 192")
    discarded: list[str] = []
    for tag, element in data_set.items():
        if isinstance(element.value, tuple):
            for number, item in enumerate(element.value, start=1):
                _drop_character_sets(item, f"{tag:08X}.{number}.", discarded)
    return (None if utf_8 or said is None or said.value == b"" else said), discarded


def _drop_character_sets(item: DataSet, path: str, discarded: list[str]) -> None:
    said = item.get(SPECIFIC_CHARACTER_SET)
    if said is not None and said.value != b"ISO_IR 192":
        del item[SPECIFIC_CHARACTER_SET]
        discarded.append(f"{path}{SPECIFIC_CHARACTER_SET:08X}")
    for tag, element in item.items():
        if isinstance(element.value, tuple):
            for number, inner in enumerate(element.value, start=1):
                _drop_character_sets(inner, f"{path}{tag:08X}.{number}.", discarded)


def to_json(data_set: DataSet) -> DicomJson:
    """Such an item in the DICOM JSON Model, for the answer to the sender (PS3.18 Table I.1-1)."""
    result: dict[str, Any] = {}
    for tag in sorted(data_set):
        vr, value = data_set[tag].vr, data_set[tag].value
        if isinstance(value, bytes):
            result[f"{tag:08X}"] = EMITTERS[vr](value, _UTF_8)
        elif isinstance(value, tuple):
            result[f"{tag:08X}"] = {"vr": vr, "Value": [to_json(item) for item in value]}
    return result
