"""Results of searches as text with a place for the Retrieve URL."""

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from app.dicom.search_result import RETRIEVE_URL, SearchResult, result_of

TAGS = st.integers(0, 0xFFFFFFFF).map(lambda tag: f"{tag:08X}") | st.sampled_from(
    ["00081189", RETRIEVE_URL, "00081191"]
)
ELEMENTS = st.fixed_dictionaries(
    {"vr": st.just("LO")}, optional={"Value": st.lists(st.text(max_size=8) | st.integers(-(2**31), 2**31), max_size=3)}
)
DATASETS = st.dictionaries(TAGS, ELEMENTS, max_size=12).map(lambda found: dict(sorted(found.items())))


@settings(deadline=None)
@given(DATASETS)
def test_what_is_held_comes_back_in_order_without_a_retrieve_url(dataset: dict[str, object]) -> None:
    held = {tag: element for tag, element in dataset.items() if tag != RETRIEVE_URL}
    result = result_of(dataset)
    assert result.dataset == held
    assert list(result.dataset) == sorted(held)
    text = result.with_member(b'"%b":{"vr":"UR"}' % RETRIEVE_URL.encode())
    completed = orjson.loads(text)
    assert completed == held | {RETRIEVE_URL: {"vr": "UR"}}
    assert list(completed) == sorted(completed)
    assert text == orjson.dumps(completed), "no text besides that of the elements"


def test_uids() -> None:
    def uids(**elements: object) -> tuple[str | None, ...]:
        return result_of(dict(sorted(elements.items()))).uids

    names = {"study": "0020000D", "series": "0020000E", "instance": "00080018"}
    held = {names[name]: {"vr": "UI", "Value": [f"1.{n}"]} for n, name in enumerate(names)}
    assert uids(**held) == ("1.0", "1.1", "1.2")
    assert uids() == (None, None, None)
    assert uids(**{names["study"]: {"vr": "UI"}, names["series"]: {"vr": "UI", "Value": [None]}}) == (None, None, None)
    assert uids(**held | {names["series"]: {"vr": "UI", "Value": ["1./../2"]}}) == ("1.0", "", "1.2")


def test_results_can_be_compared_and_kept() -> None:
    assert result_of({}) == SearchResult(b"", b"", (None, None, None))
    assert len({result_of({}), result_of({}), result_of({"00100020": {"vr": "LO"}})}) == 2
