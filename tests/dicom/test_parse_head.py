"""The first bytes of a file say the same as all of it, or that they are not enough."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.dicom.header import QUICK_BYTES, QUICK_FRAGMENTS, NotQuick, parse_head, parse_instance
from app.dicom.instance import ParsedInstance
from app.dicom.known_headers import KnownHeaders
from app.errors import DicomError
from tests.dicom.test_header_properties import CHANGES, SMALL, changed
from tests.dicom.test_known_headers import files_of_package
from tests.support.dicom_bytes import element, element_header, encapsulated, make_instance, part10, pixel_data, sequence

IMAGE = make_instance(rows=300, columns=200, BitsAllocated=8, BitsStored=8, HighBit=7, pixel_bytes=bytes(60_000))


def fields(parsed: ParsedInstance) -> Any:
    return list(parsed.dataset), {n: getattr(parsed, n) for n in ParsedInstance.__slots__ if n != "dataset"}


def says_the_same(data: bytes, length: int, known: KnownHeaders | None = None) -> bool:
    """Whether so many bytes were enough."""
    try:
        parsed = parse_head(data[:length], len(data), known_headers=known)
    except NotQuick:
        return False
    assert fields(parsed) == fields(parse_instance(data))
    return True


def test_every_real_file() -> None:
    known = KnownHeaders()
    enough = [says_the_same(data, 64 * 1024, known) for data in files_of_package()]
    assert sum(enough) > len(enough) / 3


def test_native_pixel_data_need_not_be_there() -> None:
    data = IMAGE
    assert says_the_same(data, len(data) - 60_000)
    assert says_the_same(data, len(data) - 1)
    assert not says_the_same(data, len(data) - 60_001)  # within the head of the element


@pytest.mark.parametrize("behind", [b"\xfc\xff\xfc\xffOB\0\0\2\0\0\0\0\0", b"\0" * 12, b"rubbish"])
def test_what_follows_the_pixel_data_is_read(behind: bytes) -> None:
    data = IMAGE + behind
    for length in (4096, len(IMAGE), len(data) - 1):
        assert not says_the_same(data, length)
    assert parse_instance(data).pixel_data == parse_instance(IMAGE).pixel_data


@pytest.mark.parametrize("undefined", [False, True])
@pytest.mark.parametrize("behind", [False, True], ids=["before", "behind"])
def test_long_headers_are_not_read_at_once(undefined: bool, behind: bool) -> None:
    """Whatever they consist of, and how large it is: what is read on an event loop must be done soon."""
    group = 0x7FF10000 if behind else 0x00430000
    code = element(0x00080100, "SH", "x")

    def texts(count: int) -> bytes:
        return b"".join(element(group + 0x1000 + number, "SH", "x") for number in range(count))

    def items(count: int) -> bytes:
        return sequence(group + 0x1000, [code] * count, undefined=undefined)

    pixels = pixel_data([b"\xff\xd8" + bytes(2 * QUICK_BYTES) + b"\xff\xd9"])
    for make in (texts, items):
        for count in (50, QUICK_BYTES // 8):
            part = make(count)
            dataset = element(0x00080018, "UI", "1.2") + (pixels + part if behind else part + pixels)
            data = part10(dataset, "1.2.840.10008.1.2.4.50")
            if count == 50:
                assert fields(parse_instance(data, quick=True)) == fields(parse_instance(data))
                continue
            assert len(parse_instance(data).dataset) > 2
            with pytest.raises(NotQuick):
                parse_instance(data, quick=True)


@pytest.mark.parametrize("tag", [0x7FE00010, 0x00431001], ids=["pixel data", "a private element"])
def test_very_many_fragments_are_not_read_at_once(tag: int) -> None:
    """Of no bytes each: a hundred thousand fit into a megabyte, and each takes as long as one of a whole frame."""
    for count in (QUICK_FRAGMENTS // 2, QUICK_FRAGMENTS + 1):
        fragments = element_header(tag, "OB", 0xFFFFFFFF) + encapsulated([b""] * count)
        data = part10(element(0x00080018, "UI", "1.2") + fragments, "1.2.840.10008.1.2.4.50")
        if count < QUICK_FRAGMENTS:
            assert fields(parse_instance(data, quick=True)) == fields(parse_instance(data))
            continue
        assert f"{tag:08X}" in parse_instance(data).dataset
        with pytest.raises(NotQuick):
            parse_instance(data, quick=True)


def test_pixel_data_that_is_cut_off_is_not_believed() -> None:
    with pytest.raises(NotQuick):
        parse_head(IMAGE[:4096], len(IMAGE) - 10)


@settings(max_examples=300, deadline=None)
@given(data=st.sampled_from(SMALL), changes=CHANGES, part=st.floats(0, 1))
def test_any_bytes(data: bytes, changes: Any, part: float) -> None:
    """Never anything but the same or NotQuick: `parse_instance` itself may then refuse the file."""
    data = changed(data, changes)
    try:
        says_the_same(data, int(len(data) * part))
    except DicomError as error:
        pytest.fail(f"the whole file is refused where its head was taken: {error}")
