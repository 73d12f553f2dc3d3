"""Headers of a series that were read before: the same results as without them, whatever the bytes, and less reading."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.dicom import known_headers
from app.dicom.data_set_reader import DataSetReader
from app.dicom.header import NotQuick, parse_instance
from app.dicom.instance import ParsedInstance
from app.dicom.known_headers import KnownHeaders
from app.dicom.parse_limits import ParseLimits
from app.errors import DicomError
from tests.dicom.test_header_against_pydicom import PACKAGE
from tests.dicom.test_header_properties import CHANGES, SMALL, changed, datasets, written
from tests.support.dicom_bytes import BIG_ENDIAN, EXPLICIT, IMPLICIT, make_instance, new_uid, part10

SERIES = "1.2.840.99999.7.1"


def told(data: bytes, known: KnownHeaders | None, limits: ParseLimits | None = None) -> Any:
    """All that reading a file says, in a form that can be compared."""
    try:
        parsed = parse_instance(data, limits or ParseLimits(), quick=True, known_headers=known)
    except NotQuick:
        return "not quick"
    except DicomError as error:
        return type(error), str(error)
    fields = {name: getattr(parsed, name) for name in ParsedInstance.__slots__ if name != "dataset"}
    return fields, list(parsed.dataset)


def reads_alike(*files: bytes, limits: ParseLimits | None = None) -> None:
    """Twice, so that each comes behind each other."""
    known = KnownHeaders()
    for data in files * 2:
        assert told(data, known, limits) == told(data, None, limits)


def files_of_package() -> list[bytes]:
    found = [path.read_bytes() for path in sorted(PACKAGE.rglob("*")) if path.is_file()]
    return [data for data in found if data[128:132] == b"DICM"]


def test_every_real_file() -> None:
    known = KnownHeaders(most=1000)
    for _ in range(4):
        for data in files_of_package():
            assert told(data, known) == told(data, None)


@settings(max_examples=400, deadline=None)
@given(
    data=st.sampled_from(SMALL),
    first=st.lists(CHANGES, max_size=3),
    changes=CHANGES,
    again=st.lists(CHANGES, max_size=2),
)
def test_changed_files(data: bytes, first: list[Any], changes: Any, again: list[Any]) -> None:
    variants = [changed(data, changes), *(changed(data, other) for other in [*first, *again])]
    reads_alike(data, data, *variants, data)


@pytest.mark.filterwarnings("ignore:Value exceeds:UserWarning", "ignore:Invalid value:UserWarning")
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    values=st.lists(datasets(1), min_size=2, max_size=4),
    undefined=st.booleans(),
    syntax=st.sampled_from([EXPLICIT, IMPLICIT, BIG_ENDIAN]),
    threshold=st.sampled_from([16, 1024]),
)
def test_different_data_sets_of_one_series(
    values: list[dict[str, Any]], undefined: bool, syntax: str, threshold: int
) -> None:
    merged = [values[0] | one for one in values]  # most elements alike
    files = [
        part10(written({**one, "SeriesInstanceUID": SERIES}, syntax, undefined=undefined), syntax)
        for one in [*values, *merged]
    ]
    reads_alike(*files, limits=ParseLimits(bulkdata_threshold=threshold))


def element(tag: int, vr: bytes, value: bytes) -> bytes:
    return tag.to_bytes(4, "big")[1::-1] + tag.to_bytes(4, "big")[:1:-1] + vr + len(value).to_bytes(2, "little") + value


UID = element(0x0020000E, b"UI", b"1.2.3\0")


@pytest.mark.parametrize(
    "headers",
    [
        # the same text in another character set
        [
            element(0x00080005, b"CS", charset) + element(0x00100010, b"PN", b"\xc4\xd6") + UID
            for charset in (b"ISO_IR 100", b"ISO_IR 144", b"ISO_IR 100")
        ],
        # none, one, another
        [
            charset + element(0x00100010, b"PN", b"\xc4\xd6") + UID
            for charset in (b"", element(0x00080005, b"CS", b"ISO_IR 144"), b"")
        ],
        # the same bytes, signed and not
        [
            UID + element(0x00280103, b"US", sign) + element(0x00280106, b"US", b"\xff\xff")
            for sign in (b"\0\0", b"\1\0", b"\0\0")
        ],
        # elements that come, go, come twice, and in another order
        [
            element(0x00100010, b"PN", b"A ") + element(0x00100020, b"LO", b"1 ") + UID,
            element(0x00100010, b"PN", b"A ") + UID,
            element(0x00100010, b"PN", b"A ") + element(0x00100020, b"LO", b"1 ") + UID + UID,
            element(0x00100020, b"LO", b"1 ") + element(0x00100010, b"PN", b"A ") + UID,
            element(0x00080060, b"CS", b"CT")
            + element(0x00100010, b"PN", b"B ")
            + element(0x00100020, b"LO", b"1 ")
            + UID,
        ],
        # cut off within what was known
        [UID + element(0x00280010, b"US", b"\1\0")[:size] for size in (10, 10, 9, 8, 7, 1, 0)],
    ],
    ids=["character set", "none", "sign", "order", "cut"],
)
def test_what_depends_on_others(headers: list[bytes]) -> None:
    reads_alike(*[part10(header) for header in headers])
    reads_alike(*[part10(headers[0])] * 2, *[part10(header) for header in headers])


def test_limits_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    items = b"".join(
        b"\xfe\xff\x00\xe0" + (12).to_bytes(4, "little") + element(0x00081155, b"UI", b"1.2\0") for _ in range(20)
    )
    sequence = b"\x08\x00\x40\x11SQ\0\0" + len(items).to_bytes(4, "little") + items
    data = part10(sequence + UID + element(0x00280010, b"US", b"\1\0"))
    for most in (20, 40, 41, 42, 43, 44, 45, 60):
        reads_alike(data, data, data, limits=ParseLimits(max_elements=most))
    for size in (100, 420, 430, 440, 450, 460, 500):
        reads_alike(data, data, data, limits=ParseLimits(max_header_bytes=size))


def test_only_what_differs_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    original = DataSetReader.read_elements

    def counted(self: DataSetReader, offset: int, last: int, place: Any, dataset: dict[str, Any]) -> int:
        before = len(dataset)
        stop = original(self, offset, last, place, dataset)
        read.append(len(dataset) - before)
        return stop

    monkeypatch.setattr(DataSetReader, "read_elements", counted)
    series, study = new_uid(), new_uid()
    files = [make_instance(study, series, InstanceNumber=str(number)) for number in range(9)]
    known = KnownHeaders()
    parsed = [parse_instance(data, quick=True, known_headers=known) for data in files]
    read.clear()
    parsed.append(parse_instance(files[3], quick=True, known_headers=known))
    assert sum(read) <= 4  # SOP Instance UID, Instance Number, Pixel Data, what its sign decides
    assert parsed[-1].json == parsed[3].json
    assert parsed[-1].dataset["00100010"] is parsed[4].dataset["00100010"]


def test_few_series_are_remembered_and_single_instances_cost_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    remembered: list[bytes] = []
    original = known_headers._remembered
    monkeypatch.setattr(
        known_headers, "_remembered", lambda data, *rest: remembered.append(data) or original(data, *rest)
    )
    known = KnownHeaders(most=3)
    series = [new_uid() for _ in range(5)]
    for uid in series:
        parse_instance(make_instance(series=uid), known_headers=known)
    assert not remembered
    for uid in series[-3:]:
        for _ in range(5):
            parse_instance(make_instance(series=uid), known_headers=known)
    assert len(remembered) == 3
    assert len(known._headers) == 3
