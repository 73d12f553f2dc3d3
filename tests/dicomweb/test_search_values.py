"""What values of matching keys mean, alone and together: search_values."""

import pytest

from app.dicom.matching import AllOfValues, AnyOfValues, Level, Rule, SingleValue, Universal, Wildcard
from app.dicomweb.search_query import parse_search_query
from app.errors import InvalidQuery
from tests.support.matching_cases import all_of, any_of, is_value, like


def rules(text: str) -> dict[str, Rule]:
    """By the tags of the paths, of a query that gave no warning."""
    parsed = parse_search_query(text, level=Level.INSTANCE)
    assert parsed.warnings == ()
    return {match.path.dotted: match.rule for match in parsed.query.matches}


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
