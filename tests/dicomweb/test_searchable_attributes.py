"""GANTRY_SEARCHABLE_ATTRIBUTES: keywords, tags, sequence paths and private attributes with their creators."""

import pytest

from app.dicomweb.searchable_attributes import parse_searchable_attributes


def test_keywords_tags_paths_and_private_attributes() -> None:
    paths = parse_searchable_attributes(
        "PatientComments, 00104000,RequestAttributesSequence.RequestedProcedureID, ACME 1.1|00230001"
    )
    assert [path.tags for path in paths] == [("00104000",), ("00400275", "00401001"), ("00230001",)]
    assert paths[0].vr == "LT"
    assert paths[2].creators == ("ACME 1.1",)


def test_nothing_configured_is_nothing() -> None:
    assert parse_searchable_attributes(" , ") == ()


@pytest.mark.parametrize(
    "entry", ["patientcomments", "RequestAttributesSequence", "00231001", "ACME|00100010", "1.2.3", "|00230001"]
)
def test_what_is_no_searchable_attribute_is_named(entry: str) -> None:
    with pytest.raises(ValueError, match="names no attribute"):
        parse_searchable_attributes(entry)
