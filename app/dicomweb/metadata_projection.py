"""`includefield` on metadata: our extension to PS3.18 10.4.1.1.2, for clients that need a few attributes of many instances."""

from collections.abc import Iterable
from dataclasses import dataclass

import orjson

from app.dicom.instance import DicomJson
from app.dicomweb.attribute_paths import creator_tags, is_creator, is_private, tags_of
from app.errors import InvalidQuery

MAX_FIELDS = 500
AVAILABLE_TRANSFER_SYNTAX_UID = "00083002"
# What names an instance, and says how its text is written, always comes along.
_ALWAYS = frozenset(("00080005", "00080016", "00080018", "0020000D", "0020000E"))


@dataclass(frozen=True, slots=True)
class Projection:
    """Top-level tags to keep; a path into a sequence keeps the whole sequence."""

    tags: frozenset[str]

    @property
    def wants_syntaxes(self) -> bool:
        """Whether Available Transfer Syntax UID is asked for, which no data set holds."""
        return AVAILABLE_TRANSFER_SYNTAX_UID in self.tags

    def apply(self, text: bytes, transfer_syntax_uid: str = "") -> bytes:
        """The JSON text of one data set with only what is kept, keys ascending.

        transfer_syntax_uid  that it is stored in, for those who ask
        """
        dataset: DicomJson = orjson.loads(text)
        kept = {tag: element for tag, element in dataset.items() if tag in self.tags}
        if self.wants_syntaxes and transfer_syntax_uid:
            kept[AVAILABLE_TRANSFER_SYNTAX_UID] = {"vr": "UI", "Value": [transfer_syntax_uid]}
        return orjson.dumps(kept, option=orjson.OPT_SORT_KEYS)

    @property
    def name(self) -> str:
        """The same for the same tags: part of an entity tag."""
        return ",".join(sorted(self.tags - _ALWAYS))


def parse_projection(values: Iterable[str]) -> Projection | None:
    """The projection that `includefield` values ask for, None for everything (`all`, or none given).

    Raises InvalidQuery for a value that names no attribute, and beyond MAX_FIELDS.
    """
    names = [name for value in values for name in value.replace(" ", "").split(",") if name]
    if not names or "all" in names:
        return None
    if len(names) > MAX_FIELDS:
        raise InvalidQuery(f"includefield names more than {MAX_FIELDS} attributes")
    kept = set(_ALWAYS)
    for name in names:
        tags = tags_of(name)
        if tags is None:
            raise InvalidQuery(f"includefield: {name[:80]!r} is no attribute")
        kept.add(tags[0])
        if is_private(tags[0]) and not is_creator(tags[0]):
            kept.update(creator_tags(tags[:1]))
    return Projection(frozenset(kept))
