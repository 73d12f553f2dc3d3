"""Metadata and bulkdata make the file again that they were taken from: hypothesis, and every real file."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings

from app.dicom.assembly import Assembled
from app.dicom.frame_index import frame_count, locate_frames
from app.dicom.header import parse_instance
from app.dicom.instance import ParsedInstance
from app.dicom.stream_headers.description import UnusableStream
from app.dicom.stream_headers.jpeg_2000 import JP2_SIGNATURE, START
from app.dicom.transfer_syntaxes import EXPLICIT_VR_BIG_ENDIAN, TRANSFER_SYNTAXES
from app.errors import DicomError
from tests.dicom.conversion import packaged_files
from tests.dicom.metadata_copies import bulkdata_of, plain_json, rebuilt, through_json, through_xml
from tests.dicom.test_header_properties import datasets, written
from tests.dicom.test_transcode_corpus import additional_files
from tests.support.dicom_bytes import EXPLICIT, element, elements_of, make_instance, part10, sequence

THROUGH = {"json": through_json, "xml": through_xml}
PIXEL_DATA, PHOTOMETRIC, ORIGINALS = "7FE00010", "00280004", "04000561"
LOSSY = {"00282110", "00282112", "00282114"}
# Its SIZ marker segment was overwritten on purpose: the stream says 3,722,445,056 x 1,024 pixels.
UNUSABLE = {"JPEG2000-embedded-sequence-delimiter.dcm"}


@pytest.mark.filterwarnings("ignore:Value exceeds:UserWarning", "ignore:Invalid value:UserWarning")
@pytest.mark.parametrize("through", THROUGH)
@settings(suppress_health_check=[HealthCheck.too_slow], max_examples=60, deadline=None)
@given(values=datasets())
@example(values={"PatientName": " ^"})
def test_every_data_set_comes_back(through: str, values: dict[str, Any]) -> None:
    data = part10(written(values, EXPLICIT, undefined=False))
    parsed = parse_instance(data)
    again, assembled = rebuilt(THROUGH[through](parsed), *bulkdata_of(data, parsed))
    assert assembled.originals is None
    assert assembled.discarded == ()
    before, after = comparable(plain_json(data)), comparable(plain_json(again))
    assert (without_carets(after) == without_carets(before)) if through == "xml" else after == before


def comparable(dataset: Any) -> Any:
    """A data set of ASCII needs no character set."""
    if isinstance(dataset, dict):
        return {key: comparable(value) for key, value in dataset.items() if key != "00080005"}
    if isinstance(dataset, list):
        return [comparable(value) for value in dataset]
    return dataset


def files() -> list[Path]:
    """Every file that may be DICOM; those of the additional folder only where they are not very large."""
    found = [*packaged_files(), *(path for path in additional_files() if path.stat().st_size < 60_000_000)]
    return list({path.name: path for path in reversed(found)}.values())


@pytest.mark.parametrize("path", files(), ids=lambda path: path.name)
def test_every_real_file_comes_back(path: Path) -> None:
    data = path.read_bytes()
    try:
        parsed = parse_instance(data)
    except DicomError:
        return  # never stored, so nobody has its metadata
    if parsed.transfer_syntax_uid == EXPLICIT_VR_BIG_ENDIAN:
        return  # bulkdata is sent in the other byte order: services.bulkdata swaps it
    parts, spool = bulkdata_of(data, parsed)
    for name, through in THROUGH.items():
        if path.name in UNUSABLE:
            with pytest.raises(UnusableStream):
                rebuilt(through(parsed), parts, spool)
            continue
        again, assembled = rebuilt(through(parsed), parts, spool)
        check_pixels(data, parsed, again)
        check_elements(plain_json(data), plain_json(again), assembled, names_lose_carets=name == "xml")


def check_pixels(data: bytes, parsed: ParsedInstance, again: bytes) -> None:
    """The same frames, byte for byte, in the same syntax; fragments are joined."""
    rewritten = parse_instance(again)
    if TRANSFER_SYNTAXES[parsed.transfer_syntax_uid].encapsulated:
        if parsed.pixel_data is not None:
            assert rewritten.transfer_syntax_uid == parsed.transfer_syntax_uid
    else:
        assert rewritten.transfer_syntax_uid == EXPLICIT
    assert frame_count(rewritten.frame_index) == frame_count(parsed.frame_index)
    if not parsed.frame_index or TRANSFER_SYNTAXES[parsed.transfer_syntax_uid].deflated:
        return
    numbers = range(1, frame_count(parsed.frame_index) + 1)
    before = locate_frames(parsed.frame_index, numbers)
    after = locate_frames(rewritten.frame_index, numbers)
    for one, two in zip(before, after, strict=True):
        was = b"".join(data[offset : offset + length] for offset, length in one.runs)
        now = b"".join(again[offset : offset + length] for offset, length in two.runs)
        if was.startswith(JP2_SIGNATURE):
            was = was[was.index(START) :]  # PS3.5 8.2.4: the codestream alone
        assert now.removeprefix(was) in (b"", b"\0")


def check_elements(before: Any, after: Any, assembled: Assembled, *, names_lose_carets: bool) -> None:
    """Everything but what must differ: the VR of pixel data, what bytes prove and the file did not say, forbidden groups."""
    for tag in assembled.discarded:
        assert tag[:4] in ("0001", "7FE0"), "nothing else is discarded in these files"
        before.pop(tag, None)
    if PIXEL_DATA in before:
        assert after[PIXEL_DATA].pop("vr") in ("OB", "OW")
        before[PIXEL_DATA].pop("vr")
    added = set(after) - set(before) - {"00080005"}
    assert added <= {*LOSSY, ORIGINALS}
    if ORIGINALS in added:
        assert before[PHOTOMETRIC]["Value"] == ["RGB"]
        assert after[PHOTOMETRIC]["Value"][0] in ("YBR_RCT", "YBR_ICT")
        del before[PHOTOMETRIC], after[PHOTOMETRIC]
    for tag in added:
        del after[tag]
    if names_lose_carets:
        before, after = without_carets(before), without_carets(after)
    assert comparable(after) == comparable(before)


def without_carets(dataset: Any) -> Any:
    """The components of a name are elements of XML: empty ones at its end are not told apart from none, and without them
    the blanks before are at its end."""
    if isinstance(dataset, list):
        return [without_carets(value) for value in dataset]
    if not isinstance(dataset, dict):
        return dataset
    if dataset.get("vr") == "PN":
        names = [
            {group: text.rstrip("^ ") for group, text in (name or {}).items() if text.rstrip("^ ")} or None
            for name in dataset.get("Value", [])
        ]
        return {"vr": "PN", "Value": names} if names not in ([], [None]) else {"vr": "PN"}
    return {key: without_carets(value) for key, value in dataset.items()}


def test_private_blocks_survive_xml() -> None:
    inner = elements_of({"PatientName": "Doe"}) + element(0x00290010, "LO", "INNER") + element(0x00291001, "DS", "1.5")
    dataset = element(0x00090010, "LO", "FIRST") + element(0x00090011, "LO", "SECOND")
    dataset += (
        element(0x00091001, "US", [7]) + element(0x000911FE, "UN", b"\1\2\3\4") + element(0x00092001, "LO", "orphan")
    )
    dataset += sequence(0x00400275, [inner])
    data = make_instance(rows=0)
    data = data[: data.index(b"\x08\x00\x16\x00UI")] + elements_of({"SOPClassUID": "1.2"}) + dataset
    parsed = parse_instance(data)
    again, assembled = rebuilt(through_xml(parsed), {}, b"")
    assert assembled.discarded == ()
    assert plain_json(again) == plain_json(data)
