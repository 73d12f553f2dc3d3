"""The rules of PS3.4 C.2.2.2 on data sets. tests/db/test_search_rules.py has the same tables run through SQL."""

import base64
from typing import Any

import pytest

from app.dicom.attributes import standard_path
from app.dicom.matching import AttributeMatch, AttributePath, Level, Rule, SingleValue, Wildcard
from app.dicom.matching_values import dataset_matches, documents_match, fuzzy_words, name_keys, partner_tag
from app.dicomweb.search_query import parse_search_query
from tests.support.archive import dataset
from tests.support.matching_cases import (
    CASES,
    DATE_TIME_CASES,
    FUZZY_CASES,
    SEQUENCE_CASES,
    ZONE_CASES,
    Case,
    any_of,
    between,
    date_times_between,
    empty,
    is_value,
    like,
    uids,
)


def _matches(data: dict[str, Any], *keys: tuple[str, Rule], fuzzy: bool = False, timezone: str | None = None) -> bool:
    matches = [AttributeMatch(standard_path(path), rule) for path, rule in keys]
    return dataset_matches(data, matches, fuzzy=fuzzy, timezone=timezone)


@pytest.mark.parametrize("case", CASES + DATE_TIME_CASES + SEQUENCE_CASES, ids=str)
def test_rules(case: Case) -> None:
    assert _matches(dataset(**case.stored), *case.keys) is case.found


@pytest.mark.parametrize("case", FUZZY_CASES, ids=str)
def test_fuzzy_matching_of_names(case: Case) -> None:
    assert _matches(dataset(**case.stored), *case.keys, fuzzy=True) is case.found


@pytest.mark.parametrize(("timezone", "case"), ZONE_CASES, ids=str)
def test_dates_in_the_zone_of_the_query(timezone: str, case: Case) -> None:
    assert _matches(dataset(**case.stored), *case.keys, timezone=timezone) is case.found


@pytest.mark.parametrize(
    ("stored", "rule", "found"),
    [
        ("20240131103000", is_value("20240131"), True),
        ("20240131103000", is_value("2024"), True),
        ("20240131103000", is_value("20240131103000"), True),
        ("20240131103000", is_value("20240131103001"), False),
        ("2024", is_value("20240101"), True),  # counts as its beginning
        ("20240131103000", between("20240131103000", None), True),
        ("20240131103000", between("20240131", "20240131"), True),
        ("20240131103000", between("20240131103001", None), False),
        ("20240131103000", between(None, "202401"), True),
        ("20240131103000", between(None, "2023"), False),
        ("20240131103000+0100", is_value("20240131093000+0000"), True),
        ("20240131103000+0100", is_value("20240131103000+0000"), False),
        ("20240131103000+0100", is_value("20240131103000"), True),  # no zone asked: as it is written
        ("20240101003000+0100", between("20231231230000+0000", "20231231235959+0000"), True),
        ("garbage", between("2000", None), False),
        ("20240131", is_value("garbage"), False),
        ("20240131", like("2024*"), False),
    ],
)
def test_date_times(stored: str, rule: Rule, found: bool) -> None:
    assert _matches(dataset(AcquisitionDateTime=stored), ("AcquisitionDateTime", rule)) is found


@pytest.mark.parametrize(
    ("zone", "timezone", "rule", "found"),
    [
        ("+0100", "+0000", is_value("20240131093000"), True),
        ("+0100", "+0000", is_value("20240131103000"), False),
        (None, "+0000", is_value("20240131103000"), True),
        ("+0100", None, is_value("20240131093000+0000"), True),
    ],
)
def test_date_times_take_the_zone_of_the_object(
    zone: str | None, timezone: str | None, rule: Rule, found: bool
) -> None:
    data = dataset(AcquisitionDateTime="20240131103000", TimezoneOffsetFromUTC=zone)
    assert _matches(data, ("AcquisitionDateTime", rule), timezone=timezone) is found


def test_date_and_time_of_any_pair_are_one_interval() -> None:
    data = dataset(ContentDate="20240102", ContentTime="0500")
    keys = ("ContentDate", date_times_between("ContentTime", "20240101180000.000000", "20240102060000.999999"))
    assert _matches(data, keys)
    assert not _matches(dataset(ContentDate="20240102", ContentTime="0700"), keys)
    assert not _matches(dataset(ContentTime="0500"), keys)


@pytest.mark.parametrize(
    ("tag", "partner"),
    [
        ("00080020", "00080030"),
        ("00080030", "00080020"),
        ("00400244", "00400245"),
        ("00100030", "00100032"),
        ("00100020", None),
        ("00091001", None),
    ],
)
def test_partner_of_a_date(tag: str, partner: str | None) -> None:
    assert partner_tag(tag) == partner


def test_private_attributes_by_their_creator() -> None:
    data = {
        "00090010": {"vr": "LO", "Value": ["OTHER"]},
        "00090011": {"vr": "LO", "Value": ["ACME"]},
        "00091001": {"vr": "LO", "Value": ["no"]},
        "00091101": {"vr": "LO", "Value": ["yes"]},
    }
    path = AttributePath(("00090001",), "LO", ("ACME",))
    assert dataset_matches(data, [AttributeMatch(path, is_value("yes"))])
    assert not dataset_matches(data, [AttributeMatch(path, is_value("no"))])
    assert not dataset_matches(data, [AttributeMatch(path, empty())])
    nobody = AttributePath(("00090001",), "LO", ("NOBODY",))
    assert dataset_matches(data, [AttributeMatch(nobody, empty())])
    assert not dataset_matches(data, [AttributeMatch(nobody, is_value("yes"))])


@pytest.mark.parametrize(
    ("raw", "rule", "found"),
    [
        (b"hello ", is_value("hello"), True),
        (b"one\\two", is_value("two"), True),
        ("grün".encode(), like("gr?n"), True),
        (b"\xff\xfe", like("?*"), False),
        (b"x" * 9000, like("x*"), False),
    ],
)
def test_a_private_value_of_unknown_vr_is_looked_at_as_text(raw: bytes, rule: Rule, found: bool) -> None:
    data = {
        "00090010": {"vr": "LO", "Value": ["ACME"]},
        "00091001": {"vr": "UN", "InlineBinary": base64.b64encode(raw).decode()},
    }
    match = AttributeMatch(AttributePath(("00090001",), "", ("ACME",)), rule)
    assert dataset_matches(data, [match]) is found


@pytest.mark.parametrize(
    ("vr", "stored", "value", "found"),
    [
        ("DA", "20240115", "20240101-20240131", True),
        ("DA", "20240115", "20240116-", False),
        ("DA", "20240115", "20240115", True),
        ("TM", "1015", "1000-1030", True),
        ("TM", "1045", "1000-1030", False),
        ("DT", "20240115101500", "20240101-20240131", True),
        ("DT", "20240215101500", "20240101-20240131", False),
        ("UI", "1.2.3", "1.2.3,1.2.4", True),
        ("UI", "1.2.3", "1.2.5\\1.2.4", False),
        ("LO", "20240101-20240131", "20240101-20240131", True),
        ("LO", "20240115", "20240101-20240131", False),
        ("SH", "1.2.3,1.2.4", "1.2.3,1.2.4", True),
    ],
)
def test_what_a_private_value_means_is_said_by_the_stored_vr(vr: str, stored: str, value: str, found: bool) -> None:
    data = {"00090010": {"vr": "LO", "Value": ["ACME"]}, "00091001": {"vr": vr, "Value": [stored]}}
    asked = parse_search_query([("00090010", "ACME"), ("00091001", value)], level=Level.INSTANCE)
    assert dataset_matches(data, asked.query.matches) is found


def test_bulkdata_is_not_empty_and_matches_no_value() -> None:
    data = {"00104000": {"vr": "LT", "BulkDataURI": "x"}, "00091001": {"vr": "UN", "InlineBinary": "!"}}
    assert not _matches(data, ("PatientComments", empty()))
    assert not _matches(data, ("PatientComments", like("*x*")))
    unknown = AttributePath(("00091001",), "", ("",))
    assert not dataset_matches(data, [AttributeMatch(unknown, is_value("!"))])


@pytest.mark.parametrize(
    "element",
    [{}, {"vr": "SQ", "Value": []}, {"vr": "LO"}, *({"vr": "LO", "Value": value} for value in ([], [None], [""], "x"))],
)
def test_what_is_empty(element: dict[str, Any]) -> None:
    assert _matches({"00100021": element}, ("IssuerOfPatientID", empty()))
    assert not _matches({"00100021": element}, ("IssuerOfPatientID", like("*a*")))


def test_a_sequence_with_an_item_is_not_empty() -> None:
    assert not _matches(dataset(ProcedureCodeSequence=[{}]), ("ProcedureCodeSequence", empty()))
    assert _matches(dataset(ProcedureCodeSequence=[{}]), ("ProcedureCodeSequence.CodeValue", empty()))


def test_each_key_looks_at_the_data_set_of_its_level() -> None:
    documents = {
        Level.STUDY: dataset(PatientComments="study"),
        Level.SERIES: dataset(Manufacturer="maker"),
        Level.INSTANCE: dataset(ImageComments="image", PatientComments="other"),
    }
    keys = [
        AttributeMatch(standard_path(keyword), is_value(value))
        for keyword, value in (("PatientComments", "study"), ("Manufacturer", "maker"), ("ImageComments", "image"))
    ]
    assert documents_match(documents, keys)
    assert not documents_match({Level.STUDY: documents[Level.STUDY]}, keys)
    assert documents_match({}, [AttributeMatch(standard_path("PatientComments"), empty())])


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (SingleValue("Doe^John"), ("doe", "john")),
        (SingleValue("Doe=山田"), ("doe", "山田")),
        (Wildcard("Doe*"), ("doe",)),
        (Wildcard("Doe* J*"), ("doe", "j")),
        (Wildcard("*Doe"), ()),
        (Wildcard("D?e"), ()),
        (Wildcard("D*e"), ()),
        (Wildcard("^"), ()),
        (uids("1.2"), ()),
    ],
)
def test_words_of_a_fuzzy_key(rule: Rule, words: tuple[str, ...]) -> None:
    assert fuzzy_words(rule) == words


def test_groups_of_a_name_key() -> None:
    assert name_keys(SingleValue("Doe")) == (("doe",),)
    assert name_keys(SingleValue("Doe=山田")) == (("doe",), ("山田",), ())
    assert name_keys(Wildcard("=山*")) == ((), (name_keys(Wildcard("山*"))[0][0],), ())
    assert any_of("a", "b*").values == (SingleValue("a"), Wildcard("b*"))
