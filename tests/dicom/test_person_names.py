import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.dicom.person_names import MAX_FOLDED, fold_name, folded_groups, name_groups, name_words, spelling


@pytest.mark.parametrize(
    ("name", "folded"),
    [
        ("Müller", "muller"),
        ("MULLER", "muller"),
        ("Mu\u0308ller", "muller"),
        ("Straße^Ægir", "strasse^aegir"),
        ("Łódź^Øystein^İ^ı", "lodz^oystein^i^i"),
        ("ΣΊΣΥΦΟΣ", "σισυφοσ"),
        ("Σίσυφος", "σισυφοσ"),
        ("Ёлкин^АЛЁША", "елкин^алеша"),
        ("山田^太郎", "山田^太郎"),
        ("がぎ^パピ", "がぎ^パピ"),
        ("ﾔﾏﾀﾞ", "ヤマダ"),
        ("김^희중", "김^희중"),
        ("Ｄｏｅ^Ｊ", "doe^j"),
        ("  Doe  ^ John   F. ^^^ ", "doe^john f."),
        ("山田\u3000太郎", "山田 太郎"),
        ("^^^", ""),
        ("Doe^^Jane", "doe^^jane"),
        ("", ""),
        ("a\0b", "ab"),
    ],
)
def test_fold_name(name: str, folded: str) -> None:
    assert fold_name(name) == folded


@given(st.text(max_size=400))
def test_folding_is_bounded_and_once_is_enough(name: str) -> None:
    folded = fold_name(name)
    assert len(folded) <= MAX_FOLDED
    assert fold_name(folded) == folded
    assert not folded.endswith(("^", " "))


@given(st.text(alphabet="aäÄbéñ^ ŞşΩωЖж山"))
def test_case_does_not_matter(name: str) -> None:
    assert fold_name(name.upper()) == fold_name(name.lower()) == fold_name(name)


@pytest.mark.parametrize(
    ("value", "groups"),
    [
        ({"Alphabetic": "Doe", "Ideographic": "山田"}, ("Doe", "山田", "")),
        ({"Phonetic": "x", "Other": 3}, ("", "", "x")),
        ("Doe^J=山田=yamada", ("Doe^J", "山田", "yamada")),
        ("=山田", ("", "山田", "")),
        ("a=b=c=d", ("a", "b", "c=d")),
        ("", ("", "", "")),
        (None, ("", "", "")),
        (7, ("", "", "")),
        ({"Alphabetic": 7}, ("", "", "")),
    ],
)
def test_name_groups(value: object, groups: tuple[str, str, str]) -> None:
    assert name_groups(value) == groups


def test_folded_groups() -> None:
    assert folded_groups({"Alphabetic": "DOE^^", "Ideographic": "山田"}) == ("doe", "山田", "")


def test_words_are_taken_from_all_components_once() -> None:
    assert name_words("Van-der-Berg^Jan Jan=山田^太郎") == ("van", "der", "berg", "jan", "山田", "太郎")
    assert name_words("O'Neil, Mary") == ("o", "neil", "mary")
    assert name_words("Doe^J*") == ("doe", "j")
    assert name_words("^ ^") == ()
    assert len(name_words(" ".join(f"w{number}" for number in range(99)))) == 32


@pytest.mark.parametrize(
    "alike",
    [
        ("Meyer", "Maier", "Mayer", "Meier", "Mayr"[:3] + "er"),
        ("John", "Jon"),
        ("Müller", "Mueller", "Muller", "Muler"),
        ("Schmidt", "Schmitt", "Schmit"),
        ("Catherine", "Katherine", "Katerine"),
        ("Philip", "Filip", "Phillip"),
        ("Thomas", "Tomas"),
        ("Becker", "Beker"),
        ("Weiß", "Weiss", "Weis"),
        ("Jakob", "Jacob"),
    ],
)
def test_common_differences_of_spelling(alike: tuple[str, ...]) -> None:
    assert len({spelling(fold_name(name)) for name in alike}) == 1


@pytest.mark.parametrize(
    ("one", "other"), [("smith", "jones"), ("meyer", "mora"), ("jan", "jon"), ("doe", "dao"), ("boe", "bar")]
)
def test_other_names_stay_apart(one: str, other: str) -> None:
    assert spelling(one) != spelling(other)


def test_other_scripts_are_left_alone() -> None:
    assert spelling("山田太郎") == "山田太郎"
    assert spelling("wu") == "wu"


@given(st.text(alphabet="abcdefghijklmnopqrstuvwxyz", max_size=20))
def test_a_word_sounds_like_itself_and_never_vanishes(word: str) -> None:
    assert bool(spelling(word)) == bool(word)
