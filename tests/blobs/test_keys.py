import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.blobs.keys import (
    INSTANCES,
    TOMBSTONES,
    blob_key_of_tombstone,
    digest_in_key,
    instance_key,
    is_key,
    parse_instance_key,
    tombstone_key,
    validate_key,
    validate_prefix,
)

DIGEST = "0123456789abcdef" * 4
uids = st.lists(st.integers(0, 10**9), min_size=1, max_size=5).map(lambda parts: ".".join(map(str, parts)))
digests = st.text("0123456789abcdef", min_size=64, max_size=64)


def test_an_instance_key_looks_as_drawn() -> None:
    key = instance_key("1.2", "1.2.3", "1.2.3.4", DIGEST)
    head, _, random = key.rpartition("-")
    assert head == "instances/1.2/1.2.3/1.2.3.4-0123456789abcdef"
    assert random.removesuffix(".dcm").isalnum()
    assert len(random) == len("0123456789abcdef.dcm")
    assert key.startswith(INSTANCES)


@settings(deadline=None)
@given(uids, uids, uids, digests)
def test_instance_keys_tell_their_uids(study: str, series: str, instance: str, digest: str) -> None:
    key = instance_key(study, series, instance, digest)
    assert parse_instance_key(key) == (study, series, instance)
    assert is_key(key)


def test_keys_with_a_folder_for_each_instance_are_read() -> None:
    key = "instances/1.2/1.2.3/1.2.3.4/0123456789abcdef-0123456789abcdef.dcm"
    assert parse_instance_key(key) == ("1.2", "1.2.3", "1.2.3.4")


def test_no_key_comes_twice() -> None:
    assert len({instance_key("1", "2", "3", DIGEST) for _ in range(1000)}) == 1000


@pytest.mark.parametrize("uid", ["", ".", "..", "1..2", "1/2", "../1", "1.2 ", "1.a", "1\n", "\u0661"])
@pytest.mark.parametrize("position", [0, 1, 2])
def test_nothing_but_uids_gets_into_an_instance_key(uid: str, position: int) -> None:
    parts = ["1", "2", "3"]
    parts[position] = uid
    with pytest.raises(ValueError):
        instance_key(*parts, DIGEST)


@pytest.mark.parametrize("digest", ["", "0123", "0123456789ABCDEF", "0123456789abcde/", "../../../../../.."])
def test_nothing_but_a_digest_gets_into_an_instance_key(digest: str) -> None:
    with pytest.raises(ValueError):
        instance_key("1", "2", "3", digest)


@pytest.mark.parametrize(
    "key",
    [
        "",
        "instances/1/2/3",
        "instances/1/2/3/0123456789abcdef.dcm",
        "instances/1/2/3-0123456789abcdef.dcm",
        "instances/1/2-3/0123456789abcdef-0123456789abcdef.dcm",
        "instances/1/2/3/0123456789abcdef-0123456789abcdef.json",
        "instances/1/2/3/4/0123456789abcdef-0123456789abcdef.dcm",
        "tombstones/instances/1/2/3/0123456789abcdef-0123456789abcdef.dcm",
        "instances/1/2/x/0123456789abcdef-0123456789abcdef.dcm",
        "instances/1/2/3/0123456789abcdef-0123456789abcdef.dcm\n",
        "instances/" + "1" * 600 + "/2/3/0123456789abcdef-0123456789abcdef.dcm",
    ],
)
def test_other_keys_are_not_taken_for_instances(key: str) -> None:
    assert parse_instance_key(key) is None


@settings(deadline=None)
@given(uids, uids, uids, digests)
def test_an_instance_key_tells_the_beginning_of_the_digest(study: str, series: str, instance: str, digest: str) -> None:
    assert digest_in_key(instance_key(study, series, instance, digest)) == digest[:16]
    assert digest_in_key(f"instances/{study}/{series}/{instance}/{digest[:16]}-{digest[16:32]}.dcm") == digest[:16]
    assert digest_in_key(f"tombstones/{study}") == ""


@given(uids, uids, uids, digests)
def test_a_tombstone_leads_back_to_its_blob(study: str, series: str, instance: str, digest: str) -> None:
    key = instance_key(study, series, instance, digest)
    sidecar = tombstone_key(key)
    assert sidecar == f"{TOMBSTONES}{key[:-4]}.json"
    assert blob_key_of_tombstone(sidecar) == key
    assert parse_instance_key(sidecar) is None


def test_a_stray_below_tombstones_speaks_of_no_instance() -> None:
    assert parse_instance_key(blob_key_of_tombstone("tombstones/README.txt")) is None


def test_a_tombstone_needs_a_key() -> None:
    with pytest.raises(ValueError):
        tombstone_key("../etc/passwd")


@settings(deadline=None)
@given(st.text(max_size=30))
def test_a_valid_key_stays_below_its_folder(text: str) -> None:
    if is_key(text):
        assert validate_key(text) == text
        assert all(segment and not segment.startswith(".") for segment in text.split("/"))
        assert text.isascii()
        assert not set(text) & set('\\:*?"<>|\0 \n\t')
    else:
        with pytest.raises(ValueError):
            validate_key(text)


@settings(deadline=None)
@given(uids, uids, uids, digests, st.integers(0, 300))
def test_every_beginning_of_a_key_is_a_prefix(study: str, series: str, instance: str, digest: str, end: int) -> None:
    prefix = instance_key(study, series, instance, digest)[:end]
    assert validate_prefix(prefix) == prefix


@pytest.mark.parametrize("prefix", ["/", "a//", "..", "a/../", "a/.b", "\n", "a\n", "x" * 600])
def test_other_prefixes_are_refused(prefix: str) -> None:
    with pytest.raises(ValueError):
        validate_prefix(prefix)
