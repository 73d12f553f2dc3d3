"""Matching rules by hand: what is stored, what is asked, whether it is found. Run on data sets and through SQL alike."""

from dataclasses import dataclass, field
from typing import Any

from app.dicom.attributes import standard_path
from app.dicom.matching import (
    AllOfValues,
    AnyOfValues,
    DateTimeRange,
    EmptyValue,
    ListOfUid,
    Range,
    Rule,
    SingleValue,
    Universal,
    Wildcard,
)
from tests.support.archive import dataset


@dataclass(frozen=True)
class Case:
    stored: dict[str, Any]
    keys: tuple[tuple[str, Rule], ...]
    found: bool = field(default=True)

    def __str__(self) -> str:
        keys = "&".join(f"{keyword}={rule}" for keyword, rule in self.keys)
        return f"{self.stored}-{keys}-{self.found}"


def is_value(text: str) -> SingleValue:
    return SingleValue(text)


def like(pattern: str) -> Wildcard:
    return Wildcard(pattern)


def between(first: str | None, last: str | None) -> Range:
    return Range(first, last)


def empty() -> EmptyValue:
    return EmptyValue()


def uids(*values: str) -> ListOfUid:
    return ListOfUid(values)


def any_of(*texts: str) -> AnyOfValues:
    return AnyOfValues(tuple(map(_single, texts)))


def all_of(*texts: str) -> AllOfValues:
    """PS3.4 C.2.2.2.8."""
    return AllOfValues(tuple(map(_single, texts)))


def _single(text: str) -> SingleValue | Wildcard:
    return Wildcard(text) if "*" in text or "?" in text else SingleValue(text)


def date_times_between(time: str, first: str | None, last: str | None) -> DateTimeRange:
    return DateTimeRange(standard_path(time), first, last)


def _cases(keyword: str, stored: Any, *rules: tuple[Rule, bool]) -> list[Case]:
    return [Case({keyword: stored}, ((keyword, rule),), found) for rule, found in rules]


def _text_cases(keyword: str) -> list[Case]:
    """For an attribute of VR LO or SH, wherever it is kept."""
    return [
        *_cases(
            keyword,
            "Ab%_[c]\\1",
            (is_value("Ab%_[c]\\1"), True),
            (is_value("ab%_[c]\\1"), False),
            (is_value("Ab%_[c]\\"), False),
            (is_value(" Ab%_[c]\\1 "), True),
            (like("Ab*"), True),
            (like("ab*"), False),
            (like("*1"), True),
            (like("*%_*"), True),
            (like("*%%*"), False),
            (like("Ab?_[c]\\?"), True),
            (like("Ab?"), False),
            (like("A_%*"), False),
            (like("[A-Z]*"), False),
            (like("*[c]*"), True),
            (like("*\\*"), True),
            (like("*!*"), False),
            (like("*"), True),
            (Universal(), True),
            (empty(), False),
            (any_of("x", "Ab*"), True),
            (any_of("x", "y*"), False),
            (any_of("x", "*"), True),
        ),
        *_cases(
            keyword,
            None,
            (empty(), True),
            (is_value("x"), False),
            (is_value(" "), False),
            (like("?*"), False),
            (like("**"), True),
            (Universal(), True),
            (any_of("", "x"), False),
        ),
        *_cases(keyword, "Grün 東京", (like("Gr?n 東*"), True), (like("GR?N*"), False), (is_value("Grün 東京"), True)),
        *_cases(
            keyword, "' OR 1=1 --", (is_value("' OR 1=1 --"), True), (like("' OR*--"), True), (is_value("x"), False)
        ),
        *_cases(keyword, "x", (is_value("' OR '1'='1"), False), (like("' OR '1'='1*"), False), (is_value("x\0"), True)),
    ]


def _name_cases(keyword: str) -> list[Case]:
    both = "Müller^Jörg=山田^太郎=やまだ^たろう"
    return [
        *_cases(
            keyword,
            both,
            (is_value("müller^jörg"), True),
            (is_value("MULLER^JORG^^"), True),
            (is_value("MULLER"), False),
            (is_value("jorg"), False),
            (is_value("山田^太郎"), True),
            (is_value("やまだ^たろう"), True),
            (is_value("Müller^Jörg=山田^太郎"), True),
            (is_value("=山田^太郎="), True),
            (is_value("=Müller^Jörg"), False),
            (is_value("Müller^Jörg=鈴木"), False),
            (is_value("==やまだ^たろう"), True),
            (like("mul*"), True),
            (like("*jor*"), True),
            (like("m?ller^*"), True),
            (like("山*"), True),
            (like("mul*=山田*"), True),
            (like("mul*=鈴*"), False),
            (like("=山*"), True),
            (like("=mul*"), False),
            (like("mu_ler*"), False),
            (like("m%"), False),
            (any_of("Doe", "Mul*"), True),
            (any_of("Doe", "Roe*"), False),
            (empty(), False),
        ),
        *_cases(keyword, "Doe", (is_value("Doe^^^^"), True), (like("Doe^*"), True), (like("doe?"), False)),
        *_cases(keyword, "Doe^John", (like("Doe^*"), True), (is_value("Doe"), False), (like("?oe^john"), True)),
        *_cases(keyword, "=山田", (is_value("山田"), True), (empty(), False), (like("?*"), True), (like("*"), True)),
        *_cases(keyword, None, (empty(), True), (is_value("Doe"), False), (like("?*"), False), (like("*^*"), False)),
        *_cases(keyword, "ΠΑΠΑΔΟΠΟΥΛΟΣ", (is_value("Παπαδόπουλος"), True)),
        *_cases(keyword, "Doe^*", (is_value("doe^john"), False)),
        # A pattern that every name fits asks for nothing; a blank between two asterisks asks for a blank.
        *_cases(keyword, "Roe", (like("* *"), False), (like("*^"), True), (like("*^*"), True), (like("=**^"), True)),
        *_cases(keyword, "Van Dam^Jo", (like("* *"), True), (like(" * "), True), (like("* *=*^*"), True)),
        *_cases(
            keyword, "^Jo", (is_value("^"), False), (like("^*"), True), (like("=^*"), False), (like("J*=^"), False)
        ),
        *_cases(keyword, None, (like("* *"), False), (like("=**^"), False), (is_value("^"), False)),
        # Implementation-defined (PS3.4 C.2.2.2.4): what folds to two letters is two.
        *_cases(keyword, "Straße", (like("stra??e"), True), (like("Stra?e"), False), (like("STRASSE*"), True)),
    ]


def _date_cases(keyword: str) -> list[Case]:
    return [
        *_cases(
            keyword,
            "20240131",
            (is_value("20240131"), True),
            (is_value("20240130"), False),
            (between("20240131", "20240131"), True),
            (between("20240101", "20240130"), False),
            (between("20240131", None), True),
            (between(None, "20240131"), True),
            (between("20240201", None), False),
            (between(None, "20240130"), False),
            (any_of("20240101", "20240131"), True),
            (is_value("nonsense"), False),
            (empty(), False),
        ),
        *_cases(keyword, "2024.01.31", (is_value("20240131"), True)),
        *[
            case
            for garbage in ("2024", "unknown", "20240231", "\u0662\u0660\u0662\u0664")
            for case in _cases(
                keyword,
                garbage,
                (is_value(garbage), False),
                (between("19000101", None), False),
                (between(None, "99991231"), False),
                (empty(), False),
            )
        ],
        *_cases(keyword, None, (between(None, "99991231"), False), (between("00010101", None), False), (empty(), True)),
    ]


def _time_cases(keyword: str) -> list[Case]:
    return [
        *_cases(
            keyword,
            "103015.5",
            (is_value("10"), True),
            (is_value("1030"), True),
            (is_value("103015"), True),
            (is_value("103015.5"), True),
            (is_value("103015.50"), True),
            (is_value("103015.51"), False),
            (is_value("1031"), False),
            (between("1000", "1030"), True),
            (between("1031", None), False),
            (between(None, "10"), True),
            (between(None, "103015"), True),
            (between(None, "103014"), False),
            (between("103015.500001", None), False),
            (any_of("09", "1030"), True),
            (is_value("noon"), False),
        ),
        *_cases(keyword, "10", (is_value("10"), True), (is_value("1000"), True), (is_value("1001"), False)),
        *_cases(keyword, "10:30:15", (is_value("1030"), True)),
        *_cases(keyword, "25", (between("00", None), False), (is_value("25"), False), (empty(), False)),
        *_cases(keyword, None, (between("00", None), False), (between(None, "2359"), False), (empty(), True)),
    ]


def _multiple_value_cases(keyword: str) -> list[Case]:
    """QID-060: for an attribute of several values, of VR LO or PN, wherever it is kept."""
    return [
        *_cases(
            keyword,
            ["Ab", "Cd", "Ef"],
            (all_of("Ab", "Cd"), True),
            (all_of("Ef", "Ab"), True),
            (all_of("Cd", "Ab", "Ef"), True),
            (all_of("Ab", "Xy"), False),
            (all_of("Ab", "C?"), True),
            (all_of("A*", "X*"), False),
            (all_of("Ab", "*"), True),
            (all_of("Xy", "*"), False),
            (all_of("*", "**"), True),
            (any_of("Ab", "Xy"), True),
        ),
        *_cases(keyword, ["Ab"], (all_of("Ab", "Cd"), False), (all_of("Ab", "A*"), True)),
        *_cases(keyword, None, (all_of("Ab", "Cd"), False), (all_of("*", "**"), True)),
    ]


def _number_cases(keyword: str) -> list[Case]:
    return [
        *_cases(
            keyword,
            7,
            (is_value("7"), True),
            (is_value("007"), True),
            (is_value("7.0"), True),
            (is_value("8"), False),
            (is_value("x"), False),
            (is_value("99999999999999999999"), False),
            (like("7*"), False),
            (any_of("1", "7"), True),
            (empty(), False),
        ),
        *_cases(keyword, None, (is_value("0"), False), (empty(), True)),
        *_cases(keyword, "-3", (is_value("-3"), True)),
    ]


# At study level: columns, attribute_values, and what only the prepared JSON has.
CASES: list[Case] = [
    *(
        case
        for keyword in ("PatientID", "StudyID", "StudyDescription", "AdditionalPatientHistory")
        for case in _text_cases(keyword)
    ),
    *(
        case
        for keyword in ("PatientName", "ReferringPhysicianName", "PhysiciansOfRecord", "PatientBirthName")
        for case in _name_cases(keyword)
    ),
    *(case for keyword in ("StudyDate", "PatientBirthDate", "LastMenstrualDate") for case in _date_cases(keyword)),
    *(case for keyword in ("StudyTime", "PatientBirthTime") for case in _time_cases(keyword)),
    *_number_cases("OtherStudyNumbers"),
    *_cases("PatientWeight", 71.5, (is_value("71.50"), True), (is_value("71"), False)),
    *_cases("OtherPatientIDs", ["A", "B"], (is_value("B"), True), (is_value("A\\B"), False), (like("?"), True)),
    *_cases("MedicalAlerts", ["A", None, "B"], (is_value("B"), True), (empty(), False)),
    *(
        case
        for keyword in ("OtherPatientIDs", "MedicalAlerts", "PhysiciansOfRecord")
        for case in _multiple_value_cases(keyword)
    ),
    *_cases("PatientSex", "M", (is_value("M"), True), (is_value("m"), False), (any_of("F", "M"), True)),
    *_cases("PatientAge", "030Y", (is_value("030Y"), True), (like("0*"), False)),
]

DATE_TIME_CASES: list[Case] = [
    Case(
        {"StudyDate": date, "StudyTime": time},
        (("StudyDate", date_times_between("StudyTime", first, last)),),
        found,
    )
    for date, time, first, last, found in [
        ("20060705", "1000", "20060705100000.000000", "20060707180000.999999", True),
        ("20060705", "0959", "20060705100000.000000", "20060707180000.999999", False),
        ("20060706", "0300", "20060705100000.000000", "20060707180000.999999", True),
        ("20060707", "180000.5", "20060705100000.000000", "20060707180000.999999", True),
        ("20060707", "1801", "20060705100000.000000", "20060707180000.999999", False),
        ("20060708", "0000", "20060705100000.000000", "20060707180000.999999", False),
        ("20060705", None, "20060705100000.000000", "20060707180000.999999", True),
        ("20060707", "?", "20060705100000.000000", "20060707180000.999999", True),
        ("20060704", None, "20060705100000.000000", "20060707180000.999999", False),
        ("20060706", "1200", None, "20060706115959.999999", False),
        ("20060706", "1200", "20060706120000.000000", None, True),
        (None, "1200", "20060706120000.000000", None, False),
        (None, "1200", None, "20060706120000.000000", False),
        ("garbage", "1200", None, "20060706120000.000000", False),
        ("garbage", "1200", "20060706120000.000000", None, False),
    ]
]

_ITEMS = [dataset(CodeValue="A", CodeMeaning="one"), dataset(CodeValue="B", CodeMeaning="two"), dataset(CodeValue=None)]

SEQUENCE_CASES: list[Case] = [
    Case({"ProcedureCodeSequence": items}, keys, found)
    for items, keys, found in [
        (_ITEMS, (("ProcedureCodeSequence.CodeValue", is_value("B")),), True),
        (_ITEMS, (("ProcedureCodeSequence.CodeValue", like("?")),), True),
        (_ITEMS, (("ProcedureCodeSequence.CodeValue", is_value("C")),), False),
        (
            _ITEMS,
            (
                ("ProcedureCodeSequence.CodeValue", is_value("B")),
                ("ProcedureCodeSequence.CodeMeaning", is_value("two")),
            ),
            True,
        ),
        (
            _ITEMS,
            (
                ("ProcedureCodeSequence.CodeValue", is_value("A")),
                ("ProcedureCodeSequence.CodeMeaning", is_value("two")),
            ),
            False,
        ),
        (_ITEMS, (("ProcedureCodeSequence.CodeValue", empty()),), False),
        (_ITEMS[2:], (("ProcedureCodeSequence.CodeValue", empty()),), True),
        ([], (("ProcedureCodeSequence.CodeValue", empty()),), True),
        ([], (("ProcedureCodeSequence", empty()),), True),
        (_ITEMS, (("ProcedureCodeSequence.CodingSchemeVersion", empty()),), True),
        (_ITEMS, (("ProcedureCodeSequence.CodingSchemeVersion", is_value("A")),), False),
    ]
] + [
    Case(
        {"OtherPatientIDsSequence": [dataset(IssuerOfPatientIDQualifiersSequence=[dataset(UniversalEntityID=entity)])]},
        (("OtherPatientIDsSequence.IssuerOfPatientIDQualifiersSequence.UniversalEntityID", is_value("1.2")),),
        found,
    )
    for entity, found in [("1.2", True), ("1.3", False)]
]

# QID-060 with PS3.4 C.2.2.2.6: the values are looked for in one item.
_NUMBERS = "ReferringPhysicianIdentificationSequence.PersonTelephoneNumbers"
SEQUENCE_CASES += [
    Case(
        {_NUMBERS.partition(".")[0]: [dataset(PersonTelephoneNumbers=list(numbers)) for numbers in items]},
        ((_NUMBERS, rule),),
        found,
    )
    for items, rule, found in [
        (("12", "3"), all_of("1", "2"), True),
        (("12", "3"), all_of("1", "3"), False),
        (("1", "2"), all_of("1", "2"), False),
        (("1", "2"), any_of("2", "9"), True),
    ]
]

FUZZY_CASES: list[Case] = [
    Case({keyword: stored}, ((keyword, rule),), found)
    for keyword in ("PatientName", "PhysiciansOfRecord", "PatientBirthName")
    for stored, rule, found in [
        ("Müller^Jörg Peter", is_value("peter mul"), True),
        ("Müller^Jörg Peter", is_value("Mueller^Joerg"), True),
        ("Müller^Jörg Peter", is_value("muller hans"), False),
        ("Müller^Jörg Peter", is_value("uller"), False),
        ("Müller^Jörg Peter", like("jo*"), True),
        ("Müller^Jörg Peter", like("*uller*"), True),
        ("Müller^Jörg Peter", like("*ulle"), False),
        ("Meyer^Ann", is_value("Maier"), True),
        ("Smith-Jones^Jon", is_value("john jones"), True),
        ("Doe=山田^太郎", is_value("太郎"), True),
        ("Doe=山田^太郎", is_value("doe 山田"), True),
        ("Doe", any_of("Roe", "Do*"), True),
        ("Doe", any_of("Roe", "Bo*"), False),
        ("Doe", empty(), False),
        (None, empty(), True),
        (None, is_value("Doe"), False),
    ]
]

# All words of a key are of one name.
FUZZY_CASES += [
    Case({"PhysiciansOfRecord": ["Smith^John", "Doe^Mary"]}, (("PhysiciansOfRecord", rule),), found)
    for rule, found in [
        (is_value("mary doe"), True),
        (is_value("doe john"), False),
        (like("jo* doe*"), False),
        (any_of("doe john", "smith john"), True),
        (any_of("doe john", "smith mary"), False),
        (all_of("jon smith", "mary doe"), True),
        (all_of("jon doe", "mary smith"), False),
    ]
]

ZONE_CASES: list[tuple[str, Case]] = [
    (zone, Case({"StudyDate": date, "StudyTime": time, "TimezoneOffsetFromUTC": offset}, (key,), found))
    for zone, date, time, offset, key, found in [
        ("-0500", "20240102", "0200", "+0100", ("StudyDate", is_value("20240101")), True),
        ("-0500", "20240102", "0200", "+0100", ("StudyDate", is_value("20240102")), False),
        ("-0500", "20240102", "0200", None, ("StudyDate", is_value("20240102")), True),
        ("-0500", "20240102", None, "+0100", ("StudyDate", is_value("20240102")), True),
        ("-0500", "20240102", "0200", "-0500", ("StudyDate", is_value("20240102")), True),
        ("+1400", "20240101", "1200", "-1200", ("StudyDate", is_value("20240102")), True),
        ("-1200", "20240103", "0100", "+1400", ("StudyDate", between("20240101", "20240101")), True),
        ("-0500", "20240102", "0200", "+0100", ("StudyTime", is_value("2000")), True),
        ("-0500", "20240102", "0200", "+0100", ("StudyTime", between("0100", "0300")), False),
        ("-0500", None, "0200", "+0100", ("StudyTime", is_value("20")), True),
        ("-0500", "20240102", "0200", "+0100", ("StudyDate", between(None, "20240101")), True),
        ("-0500", "20240102", "0200", "+0100", ("StudyDate", any_of("20240101", "20230101")), True),
        ("-0500", "20240102", "0200", "+0100", ("StudyDate", empty()), False),
        (
            "-0500",
            "20240102",
            "0200",
            "+0100",
            ("StudyDate", date_times_between("StudyTime", "20240101190000.000000", "20240101210000.999999")),
            True,
        ),
        (
            "-0500",
            "20240102",
            "0200",
            "+0100",
            ("StudyDate", date_times_between("StudyTime", "20240102010000.000000", None)),
            False,
        ),
        ("-0500", "garbage", "0200", "+0100", ("StudyDate", between("19000101", None)), False),
        ("-0500", "20240102", "garbage", "+0100", ("StudyDate", is_value("20240102")), True),
    ]
]
