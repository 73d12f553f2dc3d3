"""Bulkdata as a service: what is stored in another character set, or in fragments, has one length and one content."""

from dataclasses import replace

import pytest

from app.dicom.instance import FRAGMENT, FRAGMENTS
from app.dicom.references import InstanceRef
from app.dicom.transfer_syntaxes import EXPLICIT_VR_BIG_ENDIAN, EXPLICIT_VR_LITTLE_ENDIAN
from app.services.archive import Archive
from app.services.bulkdata import BulkdataDelivery, list_bulkdata, open_bulkdata, read_bulkdata, retrieve_bulkdata
from tests.services.uploads import upload
from tests.support.dicom_bytes import (
    UNDEFINED,
    element_header,
    encapsulated,
    make_instance,
    new_uid,
    pixel_data,
    sequence,
)

JPEG_LS = "1.2.840.10008.1.2.4.80"


async def stored(archive: Archive, data: bytes) -> InstanceRef:
    (result,) = await upload(archive, [data])
    assert result.ref is not None
    return result.ref


async def read(archive: Archive, delivery: BulkdataDelivery, *part: int) -> bytes:
    value = await open_bulkdata(archive, delivery)
    content = b"".join([chunk async for chunk in read_bulkdata(archive, value, *part)])
    assert part or len(content) == value.size
    return content


@pytest.mark.parametrize("syntax", [EXPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_BIG_ENDIAN, "1.2.840.10008.1.2.1.99"])
async def test_texts_are_utf_8(archive: Archive, syntax: str) -> None:
    text = "Größe" * 20_000
    data = make_instance(rows=0, transfer_syntax=syntax, SpecificCharacterSet="ISO_IR 100", TextValue=text)
    delivery = await retrieve_bulkdata(archive, await stored(archive, data), "0040A160")
    whole = text.encode("utf-8")
    assert await read(archive, delivery) == whole
    assert await read(archive, delivery, 0) == whole
    assert await read(archive, delivery, 70_001, 9) == whole[70_001:70_010]
    assert await read(archive, delivery, len(whole) - 3) == whole[-3:]
    # A row of before it was known which character set a text is in.
    older = replace(delivery, item=replace(delivery.item, coding=""))
    assert await read(archive, older) == text.encode("latin-1")


async def test_character_sets_of_items(archive: Archive) -> None:
    """An item may have one of its own (PS3.3 C.12.1.1.2)."""
    item = {"SpecificCharacterSet": "ISO_IR 144", "TextValue": "Описание" * 10_000}
    data = make_instance(rows=0, SpecificCharacterSet="ISO_IR 100", ContentSequence=[item], TextValue="é" * 70_000)
    found = await list_bulkdata(archive, await stored(archive, data), pixel_data_only=False)
    texts = {one.item.path: (await read(archive, one)).decode("utf-8") for one in found}
    assert texts == {"0040A160": "é" * 70_000, "0040A730.1.0040A160": item["TextValue"]}


@pytest.mark.parametrize(
    ("fragments", "coding"),
    [([b"ab" * 3000], FRAGMENT), ([b"ab" * 3000, b"cd" * 50_000, b"", b"ef"], FRAGMENTS), ([], FRAGMENTS)],
)
async def test_fragments_are_joined(archive: Archive, fragments: list[bytes], coding: str) -> None:
    icon = element_header(0x7FE00010, "OB", UNDEFINED) + encapsulated(fragments)
    before, pixels, behind = make_instance(transfer_syntax=JPEG_LS, sop=new_uid()).partition(
        element_header(0x7FE00010, "OB", UNDEFINED)
    )
    ref = await stored(archive, before + sequence(0x00880200, [icon]) + pixels + behind)
    delivery = await retrieve_bulkdata(archive, ref, "00880200.1.7FE00010")
    assert (delivery.item.coding, delivery.transfer_syntax_uid) == (coding, JPEG_LS)
    joined = b"".join(fragments)
    assert await read(archive, delivery) == joined
    assert await read(archive, delivery, 5990, 40) == joined[5990:6030]


async def test_icons_of_native_images_are_native(archive: Archive) -> None:
    before, pixels, behind = make_instance(rows=40, columns=40).partition(element_header(0x7FE00010, "OB", 1600))
    ref = await stored(archive, before + sequence(0x00880200, [pixel_data(b"i" * 2000)]) + pixels + behind)
    delivery = await retrieve_bulkdata(archive, ref, "00880200.1.7FE00010")
    assert (delivery.item.coding, delivery.transfer_syntax_uid) == ("", EXPLICIT_VR_LITTLE_ENDIAN)
    assert await read(archive, delivery) == b"i" * 2000
