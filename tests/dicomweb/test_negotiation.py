"""negotiation: acceptance rows NEG-*, COM-006, and the Accept headers of known clients."""

import time
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.dicom.transfer_syntaxes import AS_STORED, TRANSFER_SYNTAXES
from app.dicomweb import negotiation
from app.dicomweb.negotiation import Representation, negotiate
from app.dicomweb.resources import COMPRESSED, OFFERS, Resource
from app.errors import InvalidParameter, NotAcceptable

ELE = "1.2.840.10008.1.2.1"
JPEG, JPEG_LOSSLESS = "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.70"
JLS, J2K, J2K_LOSSY, HTJ2K = (f"1.2.840.10008.1.2.4.{n}" for n in (80, 90, 91, 201))
MPEG4 = "1.2.840.10008.1.2.4.102"

DICOM = "application/dicom"
OCTETS = "application/octet-stream"
JSON = "application/dicom+json"
XML = "application/dicom+xml"


def related(media_type: str, rest: str = "") -> str:
    return f'multipart/related; type="{media_type}"{rest}'


def served(
    representations: Sequence[Representation], stored: str, convertible: set[str] | None = None
) -> Representation:
    """What a service does with the list: the first that passes on `stored` or that it can convert it to.

    convertible  what `stored` can be converted to; everything but video by default
    """
    is_video = TRANSFER_SYNTAXES[stored].is_video
    if convertible is None:
        convertible = set() if is_video else {uid for uid, syntax in TRANSFER_SYNTAXES.items() if not syntax.is_video}
    for item in representations:
        if not item.transfer_syntaxes or {stored, AS_STORED} & set(item.transfer_syntaxes):
            return item
        if item.converts and convertible & set(item.transfer_syntaxes):
            return item
    raise NotAcceptable("nothing")


def chosen(resource: Resource, accept: str | None, stored: str = ELE, count: int | None = 1) -> tuple[str, bool, str]:
    """Media type, multipart, and the transfer syntax of the answer."""
    item = served(negotiate(resource, accept, item_count=count), stored)
    uids = item.transfer_syntaxes
    return item.media_type, item.multipart, stored if {stored, AS_STORED} & set(uids) else (*uids, "")[0]


DEFAULTS = [
    (Resource.INSTANCES, (DICOM, True, ELE)),
    (Resource.INSTANCE, (DICOM, True, ELE)),
    (Resource.METADATA, (JSON, False, "")),
    (Resource.SEARCH, (JSON, False, "")),
    (Resource.STORE_RESPONSE, (JSON, False, "")),
    (Resource.BULKDATA_ITEM, (OCTETS, False, ELE)),
    (Resource.BULKDATA_COLLECTION, (OCTETS, True, ELE)),
    (Resource.FRAMES, (OCTETS, True, ELE)),
]


@pytest.mark.parametrize(("resource", "expected"), DEFAULTS)
@pytest.mark.parametrize("accept", ["*/*", None, "", "  ", "text/html, image/avif, image/webp, */*;q=0.8", "*; q=.2"])
def test_wildcard_is_the_default(resource: Resource, expected: tuple[str, bool, str], accept: str | None) -> None:
    for stored in (ELE, J2K, JPEG_LOSSLESS):  # NEG-004, NEG-016: never as stored just because nothing was said
        assert chosen(resource, accept, stored) == expected


@pytest.mark.parametrize("resource", Resource)
def test_strict_needs_an_accept_header(resource: Resource) -> None:
    with pytest.raises(NotAcceptable):  # COM-006
        negotiate(resource, None, strict=True)
    assert negotiate(resource, "*/*", strict=True)


ACCEPTED = [
    # resource, Accept, stored, items, expected
    (Resource.INSTANCE, DICOM, ELE, 1, (DICOM, False, ELE)),  # NEG-029
    (Resource.INSTANCE, related(DICOM), J2K, 1, (DICOM, True, ELE)),  # NEG-016
    (Resource.INSTANCE, related(DICOM, "; transfer-syntax=*"), J2K, 1, (DICOM, True, J2K)),  # NEG-015
    (Resource.INSTANCE, related(DICOM, f"; transfer-syntax={J2K}"), ELE, 1, (DICOM, True, J2K)),  # NEG-018
    (Resource.INSTANCE, related(DICOM), MPEG4, 1, (DICOM, True, MPEG4)),  # NEG-017, 8.7.3.4
    (Resource.INSTANCE, f"{DICOM}; transfer-syntax=1.2.840.10008.1.2", "1.2.840.10008.1.2", 1, (DICOM, False, "1.2.840.10008.1.2")),
    (Resource.INSTANCES, "multipart/related", ELE, None, (DICOM, True, ELE)),
    (Resource.INSTANCES, "multipart/*", ELE, None, (DICOM, True, ELE)),
    (Resource.INSTANCES, related(OCTETS), ELE, None, (OCTETS, True, ELE)),  # NEG-030
    (Resource.INSTANCES, f"{DICOM}, {related(DICOM)}", ELE, None, (DICOM, True, ELE)),
    (Resource.INSTANCES, "multipart/related;type=application/dicom;transfer-syntax=*", JLS, None, (DICOM, True, JLS)),  # NEG-012
    (Resource.INSTANCES, 'Multipart/Related; Type="Application/DICOM"', ELE, None, (DICOM, True, ELE)),  # NEG-013
    (Resource.INSTANCES, related(DICOM, "; transfer-syntax=*;q=0.5") + ", " + related(DICOM), JLS, None, (DICOM, True, ELE)),
    (Resource.INSTANCES, related(DICOM, f"; transfer-syntax={JPEG};q=0.5") + ", " + related(DICOM, "; transfer-syntax=*;q=0.1"),
     JPEG, None, (DICOM, True, JPEG)),
    # NEG-020
    (Resource.INSTANCES,
     related(DICOM, f"; transfer-syntax={JPEG};q=0.5") + ", " + related(DICOM, f"; transfer-syntax={J2K};q=0.9"),
     JPEG, None, (DICOM, True, J2K)),
    # JavaScript and Python clients, OHIF
    (Resource.FRAMES, 'multipart/related; type="*/*"', J2K, 3, (OCTETS, True, ELE)),
    (Resource.FRAMES, "multipart/related; type=application/octet-stream; transfer-syntax=*", J2K, 1, (OCTETS, True, J2K)),
    (Resource.FRAMES, related(OCTETS, f"; transfer-syntax={J2K}"), J2K, 1, (OCTETS, True, J2K)),
    (Resource.FRAMES, related("image/*"), J2K_LOSSY, 1, ("image/jp2", True, J2K_LOSSY)),
    (Resource.FRAMES, related("image/*"), ELE, 1, ("image/jpeg", True, JPEG_LOSSLESS)),
    (Resource.FRAMES, related("image/jpeg; transfer-syntax=" + JPEG), JPEG, 1, ("image/jpeg", True, JPEG)),
    (Resource.FRAMES, related("image/jls", "; transfer-syntax=*"), "1.2.840.10008.1.2.4.81", 1,
     ("image/jls", True, "1.2.840.10008.1.2.4.81")),
    (Resource.FRAMES, related("image/jls", "; transfer-syntax=*"), ELE, 1, ("image/jls", True, JLS)),
    (Resource.FRAMES, "*/*; transfer-syntax=*", J2K, 1, ("image/jp2", True, J2K)),
    (Resource.FRAMES, related("image/x-jls"), ELE, 1, ("image/jls", True, JLS)),  # NEG-026
    (Resource.FRAMES, OCTETS, J2K, 1, (OCTETS, False, ELE)),
    (Resource.FRAMES, "image/jp2", J2K, 1, ("image/jp2", False, J2K)),
    (Resource.FRAMES, "image/*", HTJ2K, 1, ("image/jphc", False, HTJ2K)),
    (Resource.FRAMES, "*/*", MPEG4, 1, ("video/mp4", True, MPEG4)),
    (Resource.FRAMES, related(OCTETS), MPEG4, 1, (OCTETS, True, MPEG4)),
    # A list without q: what is stored is passed on, whatever the order.
    (Resource.FRAMES, ", ".join(related(t, "; transfer-syntax=*") for t in ("image/jpeg", "image/jls", "image/jp2")),
     J2K, 1, ("image/jp2", True, J2K)),
    (Resource.FRAMES, related("image/jpeg", f"; transfer-syntax={JPEG}") + ", " + related(OCTETS), J2K, 1, (OCTETS, True, ELE)),
    (Resource.BULKDATA_ITEM, "*/*", MPEG4, 1, ("video/mp4", False, MPEG4)),
    (Resource.BULKDATA_ITEM, "video/*", "1.2.840.10008.1.2.4.103", 1, ("video/mp4", False, "1.2.840.10008.1.2.4.103")),
    (Resource.BULKDATA_ITEM, related("video/mp4"), f"{MPEG4}.1", 1, ("video/mp4", True, f"{MPEG4}.1")),
    (Resource.BULKDATA_ITEM, related("video/H265"), "1.2.840.10008.1.2.4.107", 1, ("video/H265", True, "1.2.840.10008.1.2.4.107")),
    (Resource.BULKDATA_ITEM, "application/pdf", ELE, 1, ("application/pdf", False, "")),
    (Resource.BULKDATA_ITEM, related(OCTETS), ELE, 1, (OCTETS, True, ELE)),
    (Resource.METADATA, related(XML), ELE, 1, (XML, True, "")),
    (Resource.METADATA, f"foo/bar, {JSON}", ELE, 1, (JSON, False, "")),  # NEG-003
    (Resource.METADATA, f"{JSON};q=0.1, {related(XML)}", ELE, 1, (XML, True, "")),  # NEG-005
    (Resource.METADATA, f"*/*;q=0.9, {JSON};q=0.1", ELE, 1, (XML, True, "")),  # NEG-006
    (Resource.METADATA, f"application/*;q=0.2, {related(XML)};q=0.1", ELE, 1, (JSON, False, "")),
    (Resource.METADATA, "application/json, text/plain, */*", ELE, 1, (JSON, False, "")),  # NEG-027, axios
    (Resource.METADATA, "application/json", ELE, 1, ("application/json", False, "")),
    (Resource.METADATA, f"application/json, {JSON};q=0.1", ELE, 1, (JSON, False, "")),
    (Resource.SEARCH, "application/dicom+json; charset=utf-8", ELE, 1, (JSON, False, "")),
    (Resource.SEARCH, f"{related(XML)}, {JSON}", ELE, 1, (JSON, False, "")),
    (Resource.STORE_RESPONSE, XML, ELE, 1, (XML, False, "")),  # STO-029
    (Resource.STORE_RESPONSE, related(XML), ELE, 1, (XML, True, "")),
]  # fmt: skip


@pytest.mark.parametrize(("resource", "accept", "stored", "count", "expected"), ACCEPTED)
def test_accepted(
    resource: Resource, accept: str, stored: str, count: int | None, expected: tuple[str, bool, str]
) -> None:
    assert chosen(resource, accept, stored, count) == expected


REFUSED = [
    (Resource.INSTANCES, DICOM, None),  # NEG-028
    (Resource.INSTANCES, DICOM, 1),
    (Resource.INSTANCE, OCTETS, 1),
    (Resource.METADATA, "image/tiff", 1),  # NEG-002
    (Resource.METADATA, f"{JSON};q=0", 1),  # NEG-007
    (Resource.METADATA, XML, 1),
    (Resource.METADATA, "*/*;q=0", 1),
    (Resource.METADATA, f"*/*;q=0, {JSON};q=0", 1),
    (Resource.METADATA, "garbage", 1),
    (Resource.METADATA, "multipart/form-data", 1),
    (Resource.SEARCH, DICOM, 1),
    (Resource.FRAMES, OCTETS, 2),
    (Resource.FRAMES, OCTETS, None),
    (Resource.FRAMES, "image/*", 2),
    (Resource.FRAMES, related("image/png"), 1),
    (Resource.FRAMES, related("image/jpeg", f"; transfer-syntax={J2K}"), 1),
    (Resource.FRAMES, related(OCTETS, "; transfer-syntax=1.2.3.4"), 1),
    (Resource.FRAMES, related(OCTETS, "; transfer-syntax=implicit"), 1),
    (Resource.FRAMES, related(OCTETS, f"; transfer-syntax={ELE}; transfer-syntax={ELE}"), 1),  # NEG-021
    (Resource.BULKDATA_COLLECTION, OCTETS, 1),
]


@pytest.mark.parametrize(("resource", "accept", "count"), REFUSED)
def test_not_acceptable(resource: Resource, accept: str, count: int | None) -> None:
    with pytest.raises(NotAcceptable):
        negotiate(resource, accept, item_count=count)


def test_named_explicit_little_endian_has_no_fallback() -> None:
    representations = negotiate(Resource.INSTANCE, f"{DICOM}; transfer-syntax={ELE}")
    with pytest.raises(NotAcceptable):
        served(representations, MPEG4)


def test_unconvertible_syntax_is_not_acceptable() -> None:
    representations = negotiate(Resource.INSTANCE, f"{DICOM}; transfer-syntax={MPEG4}")  # NEG-019
    with pytest.raises(NotAcceptable):
        served(representations, ELE)


@pytest.mark.parametrize(
    ("accept", "named"),
    [
        (related("image/jpeg", "; transfer-syntax=1.2.840.10008.1.2.4.50"), True),
        (related("image/jpeg", "; transfer-syntax=*"), False),
        (related("image/jpeg"), False),
        (related("image/*"), False),
        ("image/*", False),
        # What is left of a wildcard was not named, even if only one is left.
        (f"{related('image/jls', '; transfer-syntax=*')}, {related('image/jls')}; q=0", False),
    ],
)
def test_loss_is_for_those_who_name_it(accept: str, named: bool) -> None:
    representations = negotiate(Resource.FRAMES, accept, item_count=1)
    assert {item.allows_loss for item in representations} == {named}


def test_fallbacks_are_last_and_flagged() -> None:
    representations = negotiate(Resource.INSTANCE, f"{related(DICOM)}, {related(OCTETS)};q=0.1")
    flags = [item.fallback for item in representations]
    assert flags == sorted(flags)
    assert any(flags)
    assert all(item.transfer_syntaxes == (AS_STORED,) for item in representations if item.fallback)


def test_excluded_as_stored_leaves_no_fallback() -> None:
    accept = f"{DICOM}, {DICOM};transfer-syntax=*;q=0"
    assert [item.transfer_syntaxes for item in negotiate(Resource.INSTANCE, accept)] == [(ELE,)]


def test_excluded_syntax_is_not_among_as_stored() -> None:
    [item] = negotiate(Resource.INSTANCE, f"{DICOM};transfer-syntax=*, {DICOM};transfer-syntax={JPEG};q=0")
    assert item.transfer_syntaxes[0] == ELE
    assert J2K in item.transfer_syntaxes
    assert {JPEG, AS_STORED, "1.2.840.10008.1.2", "1.2.840.10008.1.2.2"}.isdisjoint(item.transfer_syntaxes)


@pytest.mark.parametrize(
    ("media_type", "uid"),
    [
        ("image/jpeg", JPEG_LOSSLESS), ("image/dicom-rle", "1.2.840.10008.1.2.5"), ("image/jls", JLS), ("image/jp2", J2K),
        ("image/jpx", "1.2.840.10008.1.2.4.92"), ("image/jphc", HTJ2K), ("image/jxl", "1.2.840.10008.1.2.4.110"),
    ],
)  # fmt: skip
def test_default_syntax_of_compressed_types(media_type: str, uid: str) -> None:
    representation = negotiate(Resource.FRAMES, related(media_type), item_count=1)[0]  # NEG-024, NEG-025
    assert (representation.media_type, representation.transfer_syntaxes) == (media_type, (uid,))


def test_compressed_types_hold_what_the_table_of_syntaxes_says() -> None:
    assert {uid: name for name, uids in COMPRESSED.items() for uid in uids} == {
        uid: syntax.media_type for uid, syntax in TRANSFER_SYNTAXES.items() if syntax.media_type
    }


@pytest.mark.parametrize(
    ("resource", "accept"),
    [
        (Resource.METADATA, f"{JSON}, image/png"),  # NEG-001
        (Resource.INSTANCE, f"{DICOM}, image/jpeg"),
        (Resource.INSTANCES, f"{related(DICOM)}, text/html"),
        (Resource.FRAMES, f"{related(OCTETS)}, image/png"),
        (Resource.SEARCH, f"{JSON}, text/html, */*"),
    ],
)
def test_mixture_of_dicom_and_rendered_types(resource: Resource, accept: str) -> None:
    with pytest.raises(InvalidParameter):
        negotiate(resource, accept)
    with pytest.raises(InvalidParameter):
        negotiate(resource, "*/*", accept.replace(", */*", ""))


@pytest.mark.parametrize(
    ("resource", "accept"),
    [
        (Resource.METADATA, f"{JSON}, */*"),
        (Resource.METADATA, "application/json, text/html, */*"),
        (Resource.FRAMES, f"{related(OCTETS)}, {related('image/jpeg')}, image/jp2"),
        (Resource.BULKDATA_ITEM, f"{OCTETS}, application/pdf"),
    ],
)
def test_no_mixture(resource: Resource, accept: str) -> None:
    assert negotiate(resource, accept, item_count=1)


def test_accept_parameter_comes_first() -> None:
    result = negotiate(Resource.METADATA, "*/*", related(XML))  # NEG-008
    assert [item.media_type for item in result] == [XML, JSON]
    assert negotiate(Resource.METADATA, None, related("application/dicom xml"))[0].media_type == XML


def test_accept_parameter_must_be_allowed_by_the_header() -> None:
    result = negotiate(Resource.METADATA, JSON, related(XML))  # NEG-010
    assert [item.media_type for item in result] == [JSON]


def test_accept_parameter_names_a_transfer_syntax() -> None:
    result = negotiate(Resource.INSTANCE, related(DICOM), related(DICOM, "; transfer-syntax=*"))
    assert result[0].transfer_syntaxes == (AS_STORED,)


@pytest.mark.parametrize(
    "parameter",
    [
        "*/*",
        "",
        "garbage",
        "application/*",
        "multipart/related",
        related("*/*"),
        f"{JSON}, garbage",
        f"{DICOM};transfer-syntax=x",
    ],
)
def test_unusable_accept_parameter(parameter: str) -> None:
    with pytest.raises(InvalidParameter):  # NEG-009
        negotiate(Resource.INSTANCE, "*/*", parameter)


def test_charset_is_handed_on() -> None:
    assert negotiate(Resource.SEARCH, f"{JSON}; charset=ISO-8859-1")[0].charset == "ISO-8859-1"
    assert negotiate(Resource.SEARCH, JSON)[0].charset is None


types = st.sampled_from(
    [*{o.media_type for offers in OFFERS.values() for o in offers}, "*/*", "image/*", "application/*", "x"]
)
ranges = st.tuples(
    types,
    st.booleans(),
    st.sampled_from(["", ";q=0", ";q=0.5"]),
    st.sampled_from(["", ";transfer-syntax=*", f";transfer-syntax={J2K}"]),
).map(lambda t: (f'multipart/related;type="{t[0]}"' if t[1] else t[0]) + t[2] + t[3])


@given(
    st.sampled_from(Resource),
    st.lists(ranges, max_size=8).map(", ".join) | st.text(),
    st.none() | ranges,
    st.none() | st.integers(0, 2),
)
def test_any_header_gives_representations_or_a_refusal(
    resource: Resource, accept: str, parameter: str | None, count: int | None
) -> None:
    try:
        result = negotiate(resource, accept, parameter, item_count=count)
    except (NotAcceptable, InvalidParameter):
        return
    assert result
    offers = {(offer.media_type, offer.multipart): offer for offer in OFFERS[resource]}
    for item in result:
        offer = offers[item.media_type, item.multipart]
        assert count == 1 or not offer.one_item
        assert bool(item.transfer_syntaxes) == bool(offer.transfer_syntaxes)
        assert all(uid == AS_STORED or uid in TRANSFER_SYNTAXES for uid in item.transfer_syntaxes)
    assert len(set(result)) == len(result)


def test_long_header_takes_no_long_time() -> None:
    accept = ", ".join(related("image/*", f";q=0.{n:03};transfer-syntax=*") for n in range(1000))
    started = time.perf_counter()
    assert negotiate(Resource.BULKDATA_ITEM, accept, item_count=1)
    assert time.perf_counter() - started < 1


@pytest.mark.parametrize("accept_parameter", [None, JSON])
def test_long_headers_are_not_remembered(accept_parameter: str | None) -> None:
    """They would take as much memory as a stranger likes."""
    negotiate(Resource.METADATA, JSON, accept_parameter)
    before = negotiation._remembered.cache_info().currsize
    for number in range(20):
        header = ", ".join([JSON, *(f"a/b{number}" for _ in range(200))])
        assert negotiate(Resource.METADATA, header, accept_parameter)[0].media_type == JSON
        with pytest.raises(InvalidParameter):
            negotiate(Resource.METADATA, JSON, header + ", */*")
    assert negotiation._remembered.cache_info().currsize == before
