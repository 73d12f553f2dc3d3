"""includefield on metadata keeps what is named, and what names the instance."""

import orjson
import pytest

from app.dicomweb.metadata_projection import parse_projection
from app.errors import InvalidQuery

DATASET = {
    "00080005": {"vr": "CS", "Value": ["ISO_IR 192"]},
    "00080018": {"vr": "UI", "Value": ["1.2.3"]},
    "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Doe^Jane"}]},
    "00230010": {"vr": "LO", "Value": ["ACME"]},
    "00231001": {"vr": "LO", "Value": ["x"]},
    "00400275": {"vr": "SQ", "Value": [{"00400009": {"vr": "SH", "Value": ["A"]}}]},
}


@pytest.mark.parametrize(
    ("values", "kept"),
    [
        (["PatientName"], {"00100010"}),
        (["00100010,RequestAttributesSequence.ScheduledProcedureStepID"], {"00100010", "00400275"}),
        (["PatientName", "00231001"], {"00100010", "00230010", "00231001"}),
        (["PatientComments"], set()),
    ],
)
def test_keeps_what_is_named(values: list[str], kept: set[str]) -> None:
    projection = parse_projection(values)
    assert projection is not None
    text = projection.apply(orjson.dumps(DATASET))
    assert list(orjson.loads(text)) == sorted(kept | {"00080005", "00080018"})


@pytest.mark.parametrize("values", [[], ["all"], ["PatientName", "all"], [" , "]])
def test_everything(values: list[str]) -> None:
    assert parse_projection(values) is None


@pytest.mark.parametrize("values", [["patientname"], ["1234"], ["PatientName," * 501]])
def test_what_names_nothing_is_refused(values: list[str]) -> None:
    with pytest.raises(InvalidQuery):
        parse_projection(values)


def test_name_is_the_same_for_the_same_fields() -> None:
    one, other = parse_projection(["PatientName,PatientID"]), parse_projection(["00100020", "00100010"])
    assert one is not None
    assert other is not None
    assert one.name == other.name
