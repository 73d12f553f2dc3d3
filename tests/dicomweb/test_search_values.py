"""What values of matching keys mean, alone and together: search_values."""

import pytest

from app.db.matching_sql import matching_of
from app.dicom.attribute_levels import UNMATCHED_KEYWORDS
from app.dicom.attributes import COMPUTED, KEYWORDS, TAGS, level_of, standard_path
from app.dicom.matching import (
    AllOfValues,
    AnyOfValues,
    AttributeMatch,
    ByVr,
    DateTimeRange,
    EmptyValue,
    Level,
    Range,
    Rule,
    SearchQuery,
    SingleValue,
    Universal,
    Wildcard,
)
from app.dicomweb.search_query import parse_search_query
from app.errors import InvalidQuery
from tests.support.matching_cases import all_of, any_of, between, is_value, like, uids


def parsed(text: str, level: Level = Level.INSTANCE) -> SearchQuery:
    """The query, which gave no warning."""
    found = parse_search_query(text, level=level)
    assert found.warnings == ()
    return found.query


def rules(text: str) -> dict[str, Rule]:
    """By the tags of the paths."""
    return {match.path.dotted: match.rule for match in parsed(text).matches}


def rule(text: str) -> Rule:
    [found] = rules(text).values()
    return found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # QID-060, PS3.4 C.2.2.2.8: VR AE, AS, AT, CS, LO, PN, SH or UC, and a Value Multiplicity above 1
        ("ModalitiesInStudy=CT%5CPT", all_of("CT", "PT")),
        ("ImageType=ORIGINAL%5CPRIMARY", all_of("ORIGINAL", "PRIMARY")),
        ("OtherPatientIDs=a%5Cb%5Ca", all_of("a", "b")),
        ("OperatorsName=Doe%5CRoe%5EAnn", all_of("Doe", "Roe^Ann")),
        ("FrameIncrementPointer=00181063%5C0018106a", all_of("00181063", "0018106A")),
        ("ReferringPhysicianIdentificationSequence.PersonTelephoneNumbers=1%5C2", all_of("1", "2")),
        # Key values shall not hold wildcards; those that come are taken at their word.
        ("ModalitiesInStudy=CT%5CP*", all_of("CT", "P*")),
        ("ModalitiesInStudy=CT%5C*", is_value("CT")),
        ("ModalitiesInStudy=*%5C**", Universal()),
        ("ModalitiesInStudy=%5CCT", is_value("CT")),
        ("ModalitiesInStudy=%5CC?", like("C?")),
        # What has one value cannot hold all: any of them will do.
        ("PatientID=a%5Cb*", any_of("a", "b*")),
        ("Modality=CT%5CPT", any_of("CT", "PT")),
        ("RequestAttributesSequence.ScheduledProcedureStepID=1%5C2", any_of("1", "2")),
        # Of another VR, and private ones, whose multiplicity nobody knows
        ("OtherStudyNumbers=1%5C2", any_of("1", "2")),
        ("00230010=Acme&00231001=a%5Cb", any_of("a", "b")),
    ],
)
def test_several_values(text: str, expected: Rule) -> None:
    assert rule(f"{text}&multiplevaluematching=true") == expected


def test_without_negotiation_a_backslash_is_a_character() -> None:
    assert rule("ModalitiesInStudy=CT%5CPT") == SingleValue("CT\\PT")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ModalitiesInStudy=CT%2CMR", any_of("CT", "MR", "CT,MR")),
        ("Modality=CT, M?,CT,", any_of("CT", "M?", "CT, M?,CT,")),
        ("ModalitiesInStudy=CT,*", Universal()),
        ("ModalitiesInStudy=,", is_value(",")),
        ("AccessionNumber=A,B", is_value("A,B")),
        ("PatientName=Doe, John", is_value("Doe, John")),
    ],
)
def test_codes_with_commas_are_any_of_them(text: str, expected: Rule) -> None:
    assert rule(text) == rule(f"{text}&multiplevaluematching=true") == expected


@pytest.mark.parametrize(("key", "kind"), [("AccessionNumber", AnyOfValues), ("OtherPatientIDs", AllOfValues)])
def test_a_list_is_as_long_as_its_number_of_values_allows(key: str, kind: type[AnyOfValues | AllOfValues]) -> None:
    def asked(*values: str) -> Rule:
        return rule(f"{key}={'%5C'.join(values)}&multiplevaluematching=true")

    many = [f"ACC{number:013}" for number in range(1000)]
    found = asked(*many)
    assert isinstance(found, kind)
    assert found.values == tuple(map(SingleValue, many))
    assert asked("x" * 1024, "y*") == kind((SingleValue("x" * 1024), Wildcard("y*")))
    for values in ([*many, "one more"], ["x", "y" * 1025]):
        with pytest.raises(InvalidQuery):
            asked(*values)
    with pytest.raises(InvalidQuery, match="too long"):
        rule(f"{key}={'%5C'.join(many)}")


@pytest.mark.parametrize(
    ("value", "otherwise", "expected"),
    [
        ("20240101-20240131", "20240101-20240131", {"DA": between("20240101", "20240131")}),
        ("20240101-", "20240101-", {"DA": between("20240101", None)}),
        ("1000-1030", "1000-1030", {"TM": between("1000", "1030")}),
        ("20240101120000%2B0100", "20240101120000+0100", {}),
        ("1.2,1.3", "1.2,1.3", {"UI": uids("1.2", "1.3")}),
        ("1.2%5C1.3", "1.2\\1.3", {"UI": uids("1.2", "1.3")}),
    ],
)
def test_values_of_an_unknown_vr(value: str, otherwise: str, expected: dict[str, Rule]) -> None:
    found = rule(f"00230010=Acme&00231001={value}")
    if expected:
        assert isinstance(found, ByVr)
        assert found.otherwise == is_value(otherwise)
        assert dict(found.rules).items() >= expected.items()
    else:
        assert found == is_value(otherwise)


@pytest.mark.parametrize("value", ["20240101", "1.2.3", "some text", "x-", "A*"])
def test_what_means_the_same_in_every_vr(value: str) -> None:
    assert not isinstance(rule(f"00230010=Acme&00231001={value}"), ByVr)


PAIRS: list[tuple[str, str | None, str | None]] = [
    # 8.3.4.1.1; the first is the example of the Standard
    ("StudyDate=20060705-20060707&StudyTime=1000-1800", "20060705100000.000000", "20060707180059.999999"),
    ("StudyTime=1800-0600&StudyDate=20240101-20240103", "20240101180000.000000", "20240103060059.999999"),  # QID-053
    ("StudyDate=20240101-20240101&StudyTime=10-10", "20240101100000.000000", "20240101105959.999999"),
    ("StudyDate=20240101-&StudyTime=1000-", "20240101100000.000000", None),
    ("StudyDate=-20240101&StudyTime=-1000", None, "20240101100059.999999"),
    ("StudyDate=2024.01.01-&StudyTime=103000.25-", "20240101103000.250000", None),
]


@pytest.mark.parametrize(("text", "first", "last"), PAIRS)
def test_date_and_time_are_one_interval(text: str, first: str | None, last: str | None) -> None:
    [(path, found)] = rules(text).items()
    assert path == standard_path("StudyDate").dotted
    assert found == DateTimeRange(standard_path("StudyTime"), first, last)


def test_every_pair_of_date_and_time() -> None:
    found = rules(
        "PerformedProcedureStepStartDate=20240101-&PerformedProcedureStepStartTime=10-"
        "&DateOfSecondaryCapture=-20240101&TimeOfSecondaryCapture=-10&SeriesDate=20240101-&StudyTime=10-"
    )
    assert isinstance(found["00400244"], DateTimeRange)
    assert isinstance(found["00181012"], DateTimeRange)
    assert found["00080021"] == Range("20240101", None)
    assert found["00080030"] == Range("10", None)
    assert len(found) == 4


@pytest.mark.parametrize(
    ("date", "time"),
    [
        ("", "10-11"),
        ("20240101-20240102", "*"),
        # PS3.4 C.2.2.2.5.4: both are ranges, of the same form
        ("20240101", "10"),
        ("20240101", "10-11"),
        ("20240101-20240103", "1000"),
        ("20240101-", "-0959"),
        ("-20240101", "10-"),
        ("20240101-", "10-11"),
        ("20240101-20240103", "10-"),
        ("20240101-20240103", "-10"),
    ],
)
def test_keys_that_are_no_pair(date: str, time: str) -> None:
    assert rules(f"StudyDate={date}&StudyTime={time}") == rules(f"StudyDate={date}") | rules(f"StudyTime={time}")


@pytest.mark.parametrize("level", Level)
def test_what_is_never_matched_and_always_returned(level: Level) -> None:
    text = "SpecificCharacterSet=ISO_IR%20100&RequestAttributesSequence.00080005=x&RetrieveURL=&00081190=*"
    for key in text.split("&"):
        assert parsed(key, level) == SearchQuery(level)


def test_every_computed_attribute_can_be_matched_or_is_said_not_to_be() -> None:
    unmatched = {TAGS[keyword] for keyword in UNMATCHED_KEYWORDS}
    for tag in COMPUTED - unmatched:
        level = level_of(tag)
        match = AttributeMatch(standard_path(KEYWORDS[tag]), SingleValue("1"))
        matching = matching_of(SearchQuery(level, matches=(match,)), "sqlite")
        assert matching.conditions, KEYWORDS[tag]
        assert not matching.filter_keys, KEYWORDS[tag]


@pytest.mark.parametrize("value", ["", "*", "%20", "**"])
@pytest.mark.parametrize(
    "path", ["RequestAttributesSequence", "RequestAttributesSequence.RequestedProcedureCodeSequence"]
)
def test_an_empty_key_of_a_sequence_asks_for_it(path: str, value: str) -> None:
    """PS3.4 C.2.2.2.6."""
    assert parsed(f"{path}={value}", Level.SERIES).matches == (AttributeMatch(standard_path(path), Universal()),)
    nothing = parsed(f'{path}=""&emptyvaluematching=true', Level.SERIES).matches
    assert nothing == (AttributeMatch(standard_path(path), EmptyValue()),)
