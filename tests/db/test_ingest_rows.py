"""The parts of ingest that need no database."""

from dataclasses import replace

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from app.db.ingest_rows import (
    encode_attributes,
    is_empty,
    merge_attributes,
    prepare,
)
from app.db.ingest_verdicts import DuplicatePolicy, Outcome, StoredInstance, judge
from app.db.prepared_json import attributes_from_row, unpacked
from app.dicom.attributes import standard_path
from app.dicom.layout import InstanceLayout
from app.dicom.references import InstanceRef
from tests.support.records import make_record

elements = st.one_of(
    st.just({"vr": "LO"}),
    st.builds(lambda text: {"vr": "LO", "Value": [text]}, st.sampled_from(["", "a", "b"])),
    st.builds(lambda name: {"vr": "PN", "Value": [{"Alphabetic": name}]}, st.sampled_from(["", "x"])),
    st.just({"vr": "LO", "Value": [None]}),
    st.just({"vr": "OB", "InlineBinary": "AA=="}),
)
data_sets = st.dictionaries(st.sampled_from(["00100010", "00100020", "00080050"]), elements)


@given(data_sets, st.lists(data_sets, max_size=4))
def test_merging_never_erases_and_the_latest_value_wins(known: dict, later: list[dict]) -> None:
    merged = merge_attributes(known, later)
    every = [known, *later]
    assert list(merged) == sorted(set().union(*every))
    for tag, element in merged.items():
        values = [one[tag] for one in every if tag in one and not is_empty(one[tag])]
        assert element == values[-1] if values else is_empty(element)


@given(st.lists(data_sets, max_size=4))
def test_merging_again_changes_nothing(later: list[dict]) -> None:
    merged = merge_attributes({}, later)
    assert merge_attributes(merged, later[-1:]) == merged
    assert attributes_from_row(encode_attributes(merged)) == merged


def test_a_prepared_record_has_a_value_for_every_column() -> None:
    record = make_record("1.2", "1.2.3", "1.2.3.4", frames=3, ContentDate="20240101")
    (prepared,) = prepare([record], (standard_path("ContentDate"),))
    columns = prepared.columns
    assert unpacked(columns["metadata"]) == record.parsed.json
    assert zstandard.frame_content_size(columns["metadata"]) == len(record.parsed.json)
    layout = InstanceLayout.from_json(columns["layout"])
    assert layout.image is not None
    assert layout.image.number_of_frames == 3
    assert (columns["sop_class_uid"], columns["transfer_syntax_uid"]) == (
        record.sop_class_uid,
        "1.2.840.10008.1.2.1",
    )
    assert prepared.values == (("00080023", "20240101"),)
    assert "00100010" in prepared.study
    assert "0020000E" in prepared.series


CONTENTS = {number: make_record("1.2", "1.2.3", "1.2.3.4", rows=0, InstanceNumber=str(number)) for number in range(3)}
PREPARED = {number: prepare([record], ())[0] for number, record in CONTENTS.items()}
REFS = [InstanceRef("1.2", "1.2.3", f"1.2.3.{number}") for number in range(3)]


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), max_size=12),
    st.dictionaries(st.sampled_from(REFS), st.integers(0, 2)),
    st.sampled_from(DuplicatePolicy),
    st.booleans(),
)
def test_every_blob_is_accounted_for(
    offered: list[tuple[int, int]], before: dict[InstanceRef, int], policy: DuplicatePolicy, restoring: bool
) -> None:
    stored = {ref: StoredInstance(1, f"old/{ref}", 1, CONTENTS[number].digest) for ref, number in before.items()}
    records = [
        replace(PREPARED[content], record=replace(CONTENTS[content], ref=REFS[which], blob_key=f"new/{place}"))
        for place, (which, content) in enumerate(offered)
    ]
    verdicts = judge(records, stored, policy, restoring=restoring)
    live = {ref: (row.digest, row.blob_key) for ref, row in stored.items()}
    dead: list[str] = []
    for record, verdict in zip(records, verdicts.each, strict=True):  # the same, told as a story
        digest, key = live.get(record.ref, ("", ""))
        unused = None if restoring else record.record.blob_key
        if not key:
            assert verdict.outcome is Outcome.CREATED
        elif digest == record.record.digest:
            assert (verdict.outcome, verdict.surplus_blob_key) == (Outcome.UNCHANGED, unused)
            continue
        elif policy is DuplicatePolicy.KEEP:
            assert (verdict.outcome, verdict.surplus_blob_key) == (Outcome.REFUSED, unused)
            continue
        else:
            assert (verdict.outcome, verdict.replaced_blob_key) == (Outcome.REPLACED, key)
            dead.append(key)
        live[record.ref] = (record.record.digest, record.record.blob_key)
    assert [blob.blob_key for blob in verdicts.replaced] == dead
    assert {ref: record.record.blob_key for ref, record in verdicts.written.items()} == {
        ref: key for ref, (_, key) in live.items() if key.startswith("new/")
    }


def test_a_blob_that_is_in_use_is_not_surplus() -> None:
    record = PREPARED[0].record
    stored = {record.ref: StoredInstance(1, record.blob_key, record.size, record.digest)}
    (verdict,) = judge([PREPARED[0]], stored, DuplicatePolicy.REPLACE).each
    assert verdict.surplus_blob_key is None


@pytest.mark.parametrize("policy", DuplicatePolicy)
def test_a_lost_blob_is_replaced_by_the_same_bytes(policy: DuplicatePolicy) -> None:
    record = PREPARED[0].record
    stored = {record.ref: StoredInstance(1, "lost", record.size, record.digest)}
    sent = replace(PREPARED[0], record=replace(record, blob_key="new", lost_blob="lost"))
    again = replace(PREPARED[0], record=replace(record, blob_key="newer", lost_blob="lost"))
    verdicts = judge([sent, again], stored, policy)
    assert [verdict.outcome for verdict in verdicts.each] == [Outcome.REPLACED, Outcome.UNCHANGED]
    assert [verdict.surplus_blob_key for verdict in verdicts.each] == [None, "newer"], "the first has mended it"
    assert verdicts.written == {record.ref: sent}
