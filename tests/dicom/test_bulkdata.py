"""The packed list of bulkdata."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.dicom.bulkdata import find_bulkdata, pack_bulkdata, unpack_bulkdata
from app.dicom.header import parse_instance
from app.dicom.instance import FRAGMENT, FRAGMENTS, BulkdataItem
from app.errors import NotFound
from tests.support.dicom_bytes import element, part10, sequence

items = st.builds(
    BulkdataItem,
    path=st.from_regex(r"[0-9A-F]{8}(\.[1-9][0-9]{0,3}\.[0-9A-F]{8}){0,3}", fullmatch=True),
    vr=st.sampled_from(["OB", "OW", "UN", "UT", "FD"]),
    offset=st.integers(0, 2**50),
    length=st.integers(-1, 2**50),
    coding=st.sampled_from(["", "latin_1", "latin-1,iso2022_jp", FRAGMENT, FRAGMENTS]),
)


@given(st.lists(items, max_size=5, unique_by=lambda one: one.path))
def test_round_trip(several: list[BulkdataItem]) -> None:
    packed = pack_bulkdata(several)
    assert unpack_bulkdata(packed) == tuple(several)
    for one in several:
        assert find_bulkdata(packed, one.path) == one


def test_none_is_no_bytes() -> None:
    assert pack_bulkdata(()) == b""
    assert unpack_bulkdata(b"") == ()


@pytest.mark.parametrize("path", ["", "7FE00010", "54000100.1.5400101", "../../etc", "54000100.1.54001010\n"])
def test_unknown_paths(path: str) -> None:
    packed = pack_bulkdata([BulkdataItem("54000100.1.54001010", "OW", 1, 2)])
    with pytest.raises(NotFound):
        find_bulkdata(packed, path)
    with pytest.raises(NotFound):
        find_bulkdata(b"", path)


def test_of_a_parsed_instance() -> None:  # MET-016
    value = b"ab" * 1000
    inner = element(0x54001010, "OB", value)
    data = part10(element(0x00080016, "UI", "1.2") + sequence(0x54000100, [inner]) + element(0x00420011, "OB", value))
    packed = pack_bulkdata(parse_instance(data).bulkdata)
    for path in ("54000100.1.54001010", "00420011"):
        found = find_bulkdata(packed, path)
        assert data[found.offset : found.offset + found.length] == value
