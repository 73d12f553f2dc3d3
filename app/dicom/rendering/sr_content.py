"""The content tree of a structured report as plain values (PS3.3 C.17.3): what HTML and text are made of."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from app.dicom.instance import DicomJson
from app.dicom.rendering.attribute_reader import AttributeReader
from app.errors import TooLarge

CONTENT_SEQUENCE = "0040A730"
_TEXT_VALUE = "0040A160"
MAX_ITEMS, MAX_DEPTH = 50_000, 64
_MAX_COORDINATES = 24  # shown of one item

# What each value type shows of itself (C.17.3.2.4): the attributes of its value.
_PLAIN_VALUES = {"TEXT": _TEXT_VALUE, "PNAME": "0040A123", "UIDREF": "0040A124"}
_TIMES = {"DATE": "0040A121", "TIME": "0040A122", "DATETIME": "0040A120"}
_SOP_CLASSES = {"IMAGE": "Image", "WAVEFORM": "Waveform", "COMPOSITE": "Object"}


@dataclass(frozen=True, slots=True)
class ContentItem:
    """name      meaning of the concept name; "" where there is none
    value     as it is shown; "" for containers; may have several lines
    relation  of an item to its parent, in words: `contains`, `has observation context`; "" for the root
    number    position as PS3.3 C.17.3.2.5 counts it: `1.2.1`
    """

    name: str
    value: str
    relation: str
    number: str
    children: tuple["ContentItem", ...]


@dataclass(frozen=True, slots=True)
class Report:
    """title   of the document
    facts   what is known of patient, study and document: label and value
    root    of the content tree; None where the object has no tree
    """

    title: str
    facts: tuple[tuple[str, str], ...]
    root: ContentItem | None


def sr_bulkdata(attributes: DicomJson) -> tuple[str, ...]:
    """Paths of the long texts that the metadata of a report names by BulkDataURI."""
    return tuple(_long_texts(AttributeReader(attributes), 0))


def _long_texts(reader: AttributeReader, depth: int) -> Iterator[str]:
    element = reader.dataset.get(_TEXT_VALUE)
    if isinstance(element, Mapping) and "BulkDataURI" in element:
        yield f"{reader.prefix}{_TEXT_VALUE}"
    if depth < MAX_DEPTH:
        for item in reader.items(CONTENT_SEQUENCE):
            yield from _long_texts(item, depth + 1)


def is_report(attributes: DicomJson) -> bool:
    """Whether an instance has a content tree: structured reports and key object selections."""
    reader = AttributeReader(attributes)
    return reader.text("0040A040") == "CONTAINER" or reader.item_count(CONTENT_SEQUENCE) > 0


def read_report(attributes: DicomJson, bulk: Mapping[str, bytes] | None = None) -> Report:
    """Raises TooLarge beyond MAX_ITEMS items or MAX_DEPTH levels.

    bulk  the values of `sr_bulkdata`, as stored
    """
    reader = AttributeReader(attributes, bulk or {})
    budget = [MAX_ITEMS]
    root = _content_item(reader, "1", 0, budget) if is_report(attributes) else None
    return Report(_code(reader, "0040A043") or _title(reader), tuple(_facts(reader)), root)


def _title(reader: AttributeReader) -> str:
    return reader.text("00420010") or reader.text("0008103E") or f"{reader.text('00080060') or 'DICOM'} document"


def _facts(reader: AttributeReader) -> Iterator[tuple[str, str]]:
    for label, tag in (
        ("Patient", "00100010"),
        ("Patient ID", "00100020"),
        ("Born", "00100030"),
        ("Sex", "00100040"),
        ("Accession number", "00080050"),
        ("Study date", "00080020"),
        ("Study", "00081030"),
        ("Series", "0008103E"),
        ("Content date", "00080023"),
        ("Referring physician", "00080090"),
        ("Manufacturer", "00080070"),
        ("Completion", "0040A491"),
        ("Verification", "0040A493"),
    ):
        value = _name(reader.text(tag)) if tag in ("00100010", "00080090") else reader.text(tag)
        if value:
            yield label, _date(value) if tag in ("00100030", "00080020", "00080023") else value
    for observer in reader.items("0040A073"):
        name, time = _name(observer.text("0040A075")), _date_time(observer.text("0040A030"))
        organization = observer.text("0040A027")
        yield "Verified by", ", ".join(part for part in (name, organization, time) if part)


def _content_item(reader: AttributeReader, number: str, depth: int, budget: list[int]) -> ContentItem:
    budget[0] -= 1
    if budget[0] < 0 or depth > MAX_DEPTH:
        raise TooLarge(f"the report has more than {MAX_ITEMS} items or {MAX_DEPTH} levels")
    children = tuple(
        _content_item(child, f"{number}.{position}", depth + 1, budget)
        for position, child in enumerate(reader.items(CONTENT_SEQUENCE), start=1)
    )
    relation = reader.text("0040A010").lower().replace("_", " ") if depth else ""
    referenced = reader.numbers("0040DB73")
    if referenced and not reader.text("0040A040"):
        value = "see item " + ".".join(str(int(position)) for position in referenced[:MAX_DEPTH])
    else:
        value = _value(reader)
    return ContentItem(_code(reader, "0040A043"), value, relation, number, children)


def _value(reader: AttributeReader) -> str:
    kind = reader.text("0040A040")
    if kind in _PLAIN_VALUES:
        text = "\\".join(reader.texts(_PLAIN_VALUES[kind])).strip()
        return _name(text) if kind == "PNAME" else text
    if kind in _TIMES:
        text = reader.text(_TIMES[kind])
        return {"DATE": _date, "TIME": _time, "DATETIME": _date_time}[kind](text)
    if kind == "CODE":
        return _code(reader, "0040A168")
    if kind == "NUM":
        return _measured(reader)
    if kind in _SOP_CLASSES:
        return _reference(reader, _SOP_CLASSES[kind])
    if kind in ("SCOORD", "SCOORD3D"):
        return _coordinates(reader)
    if kind == "TCOORD":
        return _temporal(reader)
    return "" if kind in ("CONTAINER", "") else f"({kind})"


def _measured(reader: AttributeReader) -> str:
    measured = reader.item("0040A300")
    qualifier = _code(reader, "0040A301")
    if measured is None:
        return qualifier
    units = measured.item("004008EA")
    unit = "" if units is None else units.text("00080100") or units.text("00080104")
    value = measured.text("0040A30A")
    # No units, as UCUM writes them.
    text = f"{value} {unit}" if unit and unit != "1" and not unit.startswith("{") else value
    return f"{text} ({qualifier})" if qualifier else text


def _reference(reader: AttributeReader, noun: str) -> str:
    item = reader.item("00081199")
    if item is None:
        return noun
    parts = [noun, item.text("00081155")]
    frames = item.numbers("00081160")
    if frames:
        parts.append("frames " + ", ".join(str(int(frame)) for frame in frames[:_MAX_COORDINATES]))
    segments = item.numbers("0062000B")
    if segments:
        parts.append("segments " + ", ".join(str(int(segment)) for segment in segments[:_MAX_COORDINATES]))
    return " ".join(part for part in parts if part)


def _coordinates(reader: AttributeReader) -> str:
    numbers = reader.numbers("00700022")
    shown = ", ".join(f"{number:g}" for number in numbers[:_MAX_COORDINATES])
    more = f" and {len(numbers) - _MAX_COORDINATES} more" if len(numbers) > _MAX_COORDINATES else ""
    return f"{reader.text('00700023').lower()} {shown}{more}".strip()


def _temporal(reader: AttributeReader) -> str:
    for tag in ("0040A132", "0040A138", "0040A13A"):
        values = [text for text in reader.texts(tag)[:_MAX_COORDINATES] if text]
        if values:
            return f"{reader.text('0040A130').lower()} {', '.join(values)}".strip()
    return reader.text("0040A130").lower()


def _code(reader: AttributeReader, tag: str) -> str:
    """Code Meaning of the first item, else its value."""
    item = reader.item(tag)
    if item is None:
        return ""
    return item.text("00080104") or item.text("00080100") or item.text("00080119") or item.text("00080120")


def _name(text: str) -> str:
    return " ".join(text.split("=")[0].replace("^", " ").split())


def _date(text: str) -> str:
    return f"{text[:4]}-{text[4:6]}-{text[6:8]}" if len(text) == 8 and text.isdecimal() else text


def _time(text: str) -> str:
    return f"{text[:2]}:{text[2:4]}:{text[4:]}".rstrip(":") if len(text) >= 4 and text[:4].isdecimal() else text


def _date_time(text: str) -> str:
    return f"{_date(text[:8])} {_time(text[8:])}".strip() if text[:8].isdecimal() and len(text) >= 8 else text
