"""Our way into pydicom's tables against pydicom's own."""

import random
from collections.abc import Callable
from typing import Any

import pytest
from pydicom import charset, datadict

from app.dicom import character_sets
from app.dicom.dictionary import STANDARD, dictionary_keyword, dictionary_vr, private_dictionary_vr, standard_entry


def or_none(look_up: Callable[..., str], *key: Any) -> str | None:
    try:
        return look_up(*key)
    except KeyError:
        return None


def test_standard_tags_are_those_of_pydicom() -> None:
    assert dict(STANDARD) == datadict.DicomDictionary


def test_every_tag_means_what_it_means_to_pydicom() -> None:
    chosen = random.Random(18)
    repeating = [group << 16 | element for group in range(0x5000, 0x6100) for element in (0, 0x10, 0x22, 0x3000)]
    others = [0x00203100, 0x002031FF, 0x10000010, 0x10000FF5, 0x1010FFFF, 0x7F000010, 0x7F020020]
    for tag in (*repeating, *others, *(chosen.getrandbits(32) for _ in range(10_000))):
        assert or_none(dictionary_vr, tag) == or_none(datadict.dictionary_VR, tag), f"{tag:08X}"
        assert dictionary_keyword(tag) == datadict.keyword_for_tag(tag), f"{tag:08X}"


def test_private_tags_mean_what_they_mean_to_pydicom() -> None:
    for creator, entries in datadict.private_dictionaries.items():
        for key in entries:
            for tag in (int(key.replace("x", "1"), 16), int(key.replace("x", "F"), 16), int(key.replace("x", "0"), 16)):
                assert or_none(private_dictionary_vr, tag, creator) == or_none(
                    datadict.private_dictionary_VR, tag, creator
                ), (key, creator)
    with pytest.raises(KeyError):
        private_dictionary_vr(0x00090010, "nobody at all")


def test_a_tag_that_no_dictionary_has() -> None:
    with pytest.raises(KeyError):
        standard_entry(0x0009_0011)
    assert dictionary_keyword(0x0009_0011) == ""


def test_character_sets_are_those_of_pydicom() -> None:
    # The same codecs under names that CPython finds faster.
    fast = {"iso8859": "latin-1", "UTF8": "utf-8", "iso_ir_58": "gb2312"}
    codecs = {term: fast.get(name, name) for term, name in charset.python_encoding.items()}
    escapes = {escape: fast.get(name, name) for escape, name in charset.CODES_TO_ENCODINGS.items()}
    assert codecs == character_sets._CODECS
    assert escapes == character_sets._ESCAPES
    assert charset.STAND_ALONE_ENCODINGS == character_sets._STAND_ALONE
