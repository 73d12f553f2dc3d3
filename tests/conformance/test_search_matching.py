"""Attribute matching (PS3.18 8.3.4.1, PS3.4 C.2.2.2): every required key, every kind of matching."""

from urllib.parse import quote

import pytest

from tests.conformance.corpus import PRIVATE_CREATOR, Corpus
from tests.support.http import JSON, Peer, first, values

FUZZY_WARNING = "The fuzzymatching parameter is not supported. Only literal matching has been performed."
EMPTY_WARNING = "The emptyvaluematching parameter is not supported. Empty Value Matching has not been performed."
MULTIPLE_WARNING = (
    "The multiplevaluematching parameter is not supported. Multiple Value Matching has not been performed."
)


def found(peer: Peer, corpus: Corpus, query: str) -> set[str]:
    """Names of the items (the first of each study) whose studies a search finds among those of the corpus."""
    names: dict[str, str] = {}
    for item in corpus.items.values():
        names.setdefault(item.study, item.name)
    mine = "" if query.startswith("PatientID=") else f"{corpus.mine}&"
    studies = {first(result, "0020000D") for result in peer.search("/studies", mine + query)}
    return {name for study, name in names.items() if study in studies}


@pytest.mark.proves("QID-017")
@pytest.mark.parametrize(
    "query",
    [
        "StudyDate=20240101",
        "StudyTime=1000",
        "AccessionNumber={token}A",
        "ModalitiesInStudy=SR",
        "ReferringPhysicianName=Smith%5EAnna%5E%5EDr",
        "PatientName=Doe%5EJohn",
        "PatientID={token}-alpha",
        "StudyInstanceUID={study}",
        "StudyID=ALPHA",
    ],
)
def test_each_study_key(peer: Peer, corpus: Corpus, query: str) -> None:
    names = found(peer, corpus, query.format(token=corpus.token, study=corpus["ct1"].study))
    assert "ct1" in names
    assert names <= {"ct1", "zeta"}  # of that day and time too
    key = query.partition("=")[0]
    assert (
        found(peer, corpus, f"{key}={'19000101' if 'Date' in key else '0101' if 'Time' in key else '1.2.3'}") == set()
    )


@pytest.mark.proves("QID-018")
@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("Modality=CT", 2),
        ("Modality=SR", 1),
        ("Modality=MR", 0),
        ("SeriesInstanceUID={series}", 1),
        ("SeriesNumber=7", 1),
        ("SeriesNumber=07", 1),
        ("SeriesNumber=8", 0),
        ("PerformedProcedureStepStartDate=20240101", 1),
        ("PerformedProcedureStepStartDate=20240102-", 0),
        ("PerformedProcedureStepStartTime=101530", 1),
        ("PerformedProcedureStepStartTime=1000-1100", 1),
        ("PerformedProcedureStepStartDate=20231231-20240102&PerformedProcedureStepStartTime=1000-1100", 1),
        ("RequestAttributesSequence.ScheduledProcedureStepID=SPS-1", 1),
        ("RequestAttributesSequence.ScheduledProcedureStepID=SPS-2", 0),
        ("00400275.00401001=RP-*", 1),
        ("RequestAttributesSequence.RequestedProcedureID=RP-1&Modality=SR", 0),
    ],
)
def test_each_series_key(peer: Peer, corpus: Corpus, query: str, count: int) -> None:
    item = corpus["ct1"]
    query = query.format(series=item.series)
    assert len(peer.search(item.study_path + "/series", query)) == count
    assert len(peer.search("/series", f"StudyInstanceUID={item.study}&{query}")) == count


@pytest.mark.proves("QID-019")
@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("SOPClassUID=1.2.840.10008.5.1.4.1.1.2", 3),
        ("SOPClassUID=1.2.840.10008.5.1.4.1.1.4", 0),
        ("SOPInstanceUID={instance}", 1),
        ("InstanceNumber=2", 1),
        ("InstanceNumber=9", 0),
        ("Rows=4", 3),
        ("Rows=4&Columns=7", 0),
        ("00280100=16", 3),
    ],
)
def test_each_instance_key(peer: Peer, corpus: Corpus, query: str, count: int) -> None:
    item = corpus["ct1"]
    query = query.format(instance=item.instance)
    assert len(peer.search(item.series_path + "/instances", query)) == count
    assert len(peer.search("/instances", f"SeriesInstanceUID={item.series}&{query}")) == count


@pytest.mark.proves("QID-031")
def test_keys_of_higher_levels_in_relational_search(peer: Peer, corpus: Corpus) -> None:
    query = f"PatientID={corpus.token}-alpha"
    assert len(peer.search("/series", f"{query}&Modality=CT")) == 2
    assert len(peer.search("/instances", f"{query}&Modality=CT")) == 4
    assert len(peer.search("/instances", f"{query}&Modality=CT&InstanceNumber=1")) == 2
    assert len(peer.search(corpus["ct1"].study_path + "/instances", "Modality=CT&InstanceNumber=1")) == 2
    assert peer.search("/instances", f"{query}&StudyDate=20240102") == []


@pytest.mark.proves("QID-042")
def test_repeated_attribute(peer: Peer, corpus: Corpus) -> None:
    for query in (
        "PatientID=a&PatientID=b",
        "PatientID=a&00100020=a",
        f"{corpus.mine}&StudyDate=20240101&00080020=20240101",
    ):
        assert peer.get("/studies", JSON, query).status_code == 400


@pytest.mark.proves("QID-043")
@pytest.mark.parametrize("separator", [",", "%2C", "%5C", "\\"])
def test_list_of_uids(peer: Peer, corpus: Corpus, separator: str) -> None:
    uids = separator.join([corpus["beta"].study, corpus["gamma"].study, "2.25.1"])
    response = peer.get("/studies", JSON, f"StudyInstanceUID={uids}")
    if separator in ("%5C", "\\") and response.status_code == 400:
        return  # the backslash is the separator of older editions
    assert found(peer, corpus, f"StudyInstanceUID={uids}") == {"beta", "gamma"}
    instances = separator.join(corpus[name].instance for name in ("ct1", "ct3", "sr1"))
    assert len(peer.search("/instances", f"SOPInstanceUID={instances}")) == 3


@pytest.mark.proves("QID-044")
def test_comma_in_other_attributes(peer: Peer, corpus: Corpus) -> None:
    assert found(peer, corpus, f"PatientID={corpus.token}-one,two") <= {"comma"}
    assert found(peer, corpus, f"PatientID={corpus.token}-one%2Ctwo") == {"comma"}
    response = peer.get("/studies", JSON, f"PatientID={corpus['beta'].patient_id},{corpus['gamma'].patient_id}")
    assert response.status_code in (204, 400) or response.json() == []


@pytest.mark.proves("QID-045", "QID-047")
@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("-case-*", {"lower", "upper"}),
        ("-case-a?c", {"lower"}),
        ("-case-???", {"lower", "upper"}),
        ("-case-??", set()),
        ("-case-????", set()),
        ("-cas*-AB*", {"upper"}),
        ("-1?2", {"underscore", "decoy"}),
        ("-1_2", {"underscore"}),
        ("-1%25", set()),
        ("-100%25", {"percent"}),
        ("-%25", set()),
        ("-10*%25", {"percent"}),
        ("-1__", set()),
        ("-[1]*", set()),
        ("%2Dcase%2D%2A", {"lower", "upper"}),
    ],
)
def test_wildcards(peer: Peer, corpus: Corpus, pattern: str, names: set[str]) -> None:
    assert found(peer, corpus, f"PatientID={corpus.token}{pattern}") == names


@pytest.mark.proves("QID-045")
def test_wildcards_on_other_representations(peer: Peer, corpus: Corpus) -> None:
    assert found(peer, corpus, "StudyID=ALP*") == {"ct1"}
    assert found(peer, corpus, f"AccessionNumber={corpus.token}?") == {"ct1"}
    assert found(peer, corpus, "StudyDescription=*%26b*") == {"separators"}
    assert found(peer, corpus, "ModalitiesInStudy=?R&StudyDate=20240101-20240102") == {"ct1", "beta"}
    assert found(peer, corpus, "ModalitiesInStudy=S*&StudyDate=20240101") == {"ct1"}
    available = found(peer, corpus, "InstanceAvailability=ONLINE")
    for pattern in ("ON*", "O?LINE"):
        assert found(peer, corpus, f"InstanceAvailability={pattern}") >= available


@pytest.mark.proves("QID-046")
@pytest.mark.parametrize("value", ["", "*", "**", "%2A"])
def test_universal_matching(peer: Peer, corpus: Corpus, value: str) -> None:
    everything = found(peer, corpus, "")
    assert {"empty", "lacking"} <= everything
    for key in ("StudyDescription", "AccessionNumber", "ReferringPhysicianName", "ModalitiesInStudy"):
        assert found(peer, corpus, f"{key}={value}") == everything
    if not value:
        assert found(peer, corpus, "StudyDate=&StudyTime=&StudyInstanceUID=") == everything


@pytest.mark.proves("QID-048")
def test_case_counts_except_in_names(peer: Peer, corpus: Corpus) -> None:
    assert found(peer, corpus, f"PatientID={corpus.token}-case-abc") == {"lower"}
    assert found(peer, corpus, f"PatientID={corpus.token}-case-ABC") == {"upper"}
    assert found(peer, corpus, f"PatientID={corpus.token}-case-Abc") == set()
    assert found(peer, corpus, "StudyID=alpha") == set()


@pytest.mark.proves("QID-049")
@pytest.mark.parametrize("value", ["doe^john", "DOE^JOHN", "Doe^John", "dOE^jo*", "Doe^Jo?n"])
def test_names(peer: Peer, corpus: Corpus, value: str) -> None:
    assert found(peer, corpus, f"PatientName={quote(value, safe='*?')}") == {"ct1"}
    assert found(peer, corpus, "PatientName=doe*") == {"ct1", "beta"}
    assert found(peer, corpus, "PatientName=oe*") == set()


@pytest.mark.proves("QID-049")
@pytest.mark.parametrize(
    "value", ["Yamada^Tarou", "yamada*", "山田^太郎", "やまだ*", "Yamada^Tarou=山田^太郎=やまだ^たろう"]
)
def test_any_group_of_a_name(peer: Peer, corpus: Corpus, value: str) -> None:
    assert found(peer, corpus, f"PatientName={quote(value, safe='*')}") == {"japanese"}


@pytest.mark.proves("QID-050", "QID-054")
@pytest.mark.parametrize(
    ("value", "names"),
    [
        ("20240102", {"beta"}),
        ("20240102-20240103", {"beta", "gamma", "delta"}),
        ("20240101-20240102", {"ct1", "zeta", "beta"}),
        ("20240605-", {"zone"}),
        ("-20231231", {"epsilon"}),
        ("20240102-20240102", {"beta"}),
        ("20240103-20240102", set()),
        ("20231231-20240101", {"epsilon", "ct1", "zeta"}),
    ],
)
def test_dates(peer: Peer, corpus: Corpus, value: str, names: set[str]) -> None:
    """Days on which other items of the corpus fall do not occur among these."""
    response = peer.get("/studies", JSON, f"{corpus.mine}&StudyDate={value}")
    if response.status_code == 400:
        assert value == "20240103-20240102"  # an interval that runs backwards
        return
    dated = {"ct1", "zeta", "beta", "gamma", "delta", "epsilon", "zone", "empty", "lacking"}
    assert found(peer, corpus, f"StudyDate={value}") & dated == names


@pytest.mark.proves("QID-051", "QID-052")
@pytest.mark.parametrize(
    ("date", "value", "names"),
    [
        ("20240101", "1000", {"ct1", "zeta"}),
        ("20240101", "100000", {"ct1", "zeta"}),
        ("20240101", "100000.000000", {"ct1", "zeta"}),
        ("20240101", "1000-1200", {"ct1", "zeta"}),
        ("20240101", "0900-1000", {"ct1", "zeta"}),
        ("20240101", "100001-1200", set()),
        ("20240101", "-095959", set()),
        ("20240102", "180000.5", {"beta"}),
        ("20240102", "180000.500000-180000.500000", {"beta"}),
        ("20240102", "180000.51-", set()),
        ("20240102", "18-", {"beta"}),
        ("20240102", "-1759", set()),
        ("20240103", "055959.999999-060101", {"gamma", "delta"}),
        ("20240103", "0600-", {"delta"}),
        ("20240103", "-0559", {"gamma"}),
    ],
)
def test_times(peer: Peer, corpus: Corpus, date: str, value: str, names: set[str]) -> None:
    assert found(peer, corpus, f"StudyDate={date}&StudyTime={value}") == names


@pytest.mark.proves("QID-053")
@pytest.mark.parametrize(
    ("dates", "times", "names"),
    [
        ("20240101-20240103", "1800-0600", {"beta", "gamma"}),
        ("20240101-20240103", "1000-060101", {"ct1", "zeta", "beta", "gamma", "delta"}),
        ("20240101-20240103", "100001-0559", {"beta", "gamma"}),
        ("20231231-20240102", "235959-1759", {"epsilon", "ct1", "zeta"}),
        ("20240102-", "1801-", {"gamma", "delta"}),
        ("-20240101", "-1000", {"epsilon", "ct1", "zeta"}),
        # Not of the same form, so that each is matched for itself (PS3.4 C.2.2.2.5.4).
        ("20240101-", "-0959", {"gamma", "delta"}),
        ("20240101-20240103", "1000", {"ct1", "zeta"}),
        ("20231231-20240103", "2000-", {"epsilon"}),
    ],
)
def test_combined_date_and_time(peer: Peer, corpus: Corpus, dates: str, times: str, names: set[str]) -> None:
    dated = {"ct1", "zeta", "beta", "gamma", "delta", "epsilon"}
    assert found(peer, corpus, f"StudyDate={dates}&StudyTime={times}") & dated == names


@pytest.mark.proves("QID-055")
def test_timezone_of_the_query(peer: Peer, corpus: Corpus) -> None:
    """Stored 2024-06-05 01:00 at +09:00; the same instant is 2024-06-04 11:00 at -05:00."""
    query = "StudyDate=20240604-20240604&StudyTime=1000-1200"
    assert found(peer, corpus, query) == set()
    for zone in ("TimezoneOffsetFromUTC=-0500", "00080201=-0500"):
        assert found(peer, corpus, f"{query}&{zone}") == {"zone"}
    same = "StudyDate=20240605-20240605&StudyTime=0000-0200"
    assert found(peer, corpus, f"{same}&TimezoneOffsetFromUTC=%2B0900") == {"zone"}
    assert found(peer, corpus, f"{same}&TimezoneOffsetFromUTC=%2B0000") == set()
    assert peer.get("/studies", JSON, f"{query}&TimezoneOffsetFromUTC=nowhere").status_code == 400


@pytest.mark.proves("QID-056", "COM-008")
@pytest.mark.parametrize(
    "query",
    [
        "StudyDate=2024-01-01",
        "StudyDate=20241301",
        "StudyDate=20240230",
        "StudyDate=x",
        "StudyDate=-",
        "StudyDate=20240101-20240102-20240103",
        "StudyTime=2500",
        "StudyTime=100000.1234567",
        "StudyInstanceUID=abc",
        "StudyInstanceUID=1.2.3,x",
        "SeriesNumber=abc",
    ],
)
def test_unusable_values(peer: Peer, query: str) -> None:
    path = "/series" if "Series" in query else "/studies"
    assert peer.get(path, JSON, query).status_code == 400


@pytest.mark.proves("QID-057", "QID-058")
def test_fuzzy_matching(peer: Peer, corpus: Corpus) -> None:
    assert peer.get("/studies", JSON, "fuzzymatching=maybe").status_code == 400
    response = peer.get("/studies", JSON, f"{corpus.mine}&PatientName=jane&fuzzymatching=true")
    assert response.status_code in (200, 204)
    if FUZZY_WARNING in response.headers.get("warning", ""):
        assert response.headers["warning"].startswith("299 ")
    else:
        assert [first(result, "0020000D") for result in response.json()] == [corpus["beta"].study]
    assert found(peer, corpus, "PatientName=jane&fuzzymatching=false") == set()


@pytest.mark.proves("QID-059")
def test_empty_value_matching(peer: Peer, corpus: Corpus) -> None:
    response = peer.get("/studies", JSON, f"{corpus.mine}&StudyDate=%22%22&emptyvaluematching=true")
    assert response.status_code in (200, 204)
    if EMPTY_WARNING in response.headers.get("warning", ""):
        return
    assert {first(result, "0020000D") for result in response.json()} == {corpus["empty"].study, corpus["lacking"].study}
    assert {"empty", "lacking"} & found(peer, corpus, "StudyID=%22%22&emptyvaluematching=true") == {"empty", "lacking"}
    assert found(peer, corpus, "StudyID=%22%22") == set()


@pytest.mark.proves("QID-060")
def test_multiple_value_matching(peer: Peer, corpus: Corpus) -> None:
    """All values are to be found (PS3.4 C.2.2.2.8), in any order and among others."""
    response = peer.get("/studies", JSON, f"{corpus.mine}&ModalitiesInStudy=CT%5CSR&multiplevaluematching=true")
    assert response.status_code in (200, 204)
    if MULTIPLE_WARNING in response.headers.get("warning", ""):
        return
    for key, names in (
        ("ModalitiesInStudy=CT%5CSR", {"ct1"}),
        ("ModalitiesInStudy=SR%5CCT", {"ct1"}),
        ("ModalitiesInStudy=SR%5CMR", set()),
        ("ModalitiesInStudy=CT%5CSR%5CMR", set()),
        ("ModalitiesInStudy=CT%5CSR&StudyDate=20240101", {"ct1"}),
        ("MedicalAlerts=A%5CZ", set()),
    ):
        assert found(peer, corpus, f"{key}&multiplevaluematching=true") == names, key


@pytest.mark.proves("QID-061")
def test_modalities_in_study(peer: Peer, corpus: Corpus) -> None:
    for modality in ("CT", "SR"):
        (result,) = peer.search("/studies", f"PatientID={corpus['ct1'].patient_id}&ModalitiesInStudy={modality}")
        assert sorted(values(result, "00080061")) == ["CT", "SR"]
    assert found(peer, corpus, f"PatientID={corpus['ct1'].patient_id}&ModalitiesInStudy=MR") == set()


@pytest.mark.proves("QID-062")
def test_study_key_below_a_study(peer: Peer, corpus: Corpus) -> None:
    response = peer.get(corpus["ct1"].study_path + "/series", JSON, "PatientID=x")
    assert response.status_code in (200, 204, 400)
    if response.status_code == 200 and response.json():
        assert len(response.json()) == 3  # ignored, and said so
        assert response.headers["warning"].startswith("299 ")


@pytest.mark.proves("QID-063")
def test_private_attribute_with_its_creator(peer: Peer, corpus: Corpus) -> None:
    creator = quote(PRIVATE_CREATOR)
    query = f"{corpus.mine}&00230010={creator}&00231001"
    (result,) = peer.search("/instances", f"{query}=hidden%20value")
    assert first(result, "00080018") == corpus["private"].instance
    assert peer.search("/instances", f"{query}=other") == []
    assert peer.search("/instances", f"{corpus.mine}&00230010=NOBODY&00231001=hidden%20value") == []
