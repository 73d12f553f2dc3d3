"""Which items of its sequences a search returns: those that match its keys (PS3.4 C.2.2.2.6)."""

from dataclasses import dataclass

from app.dicom.instance import DicomJson
from app.dicom.matching import AttributeMatch
from app.dicom.matching_values import Zones, item_matches, zones_of


@dataclass(frozen=True, slots=True)
class ItemKeys:
    """The keys of a search that lead into sequences and ask for a value; for the rest see SearchQuery."""

    matches: tuple[AttributeMatch, ...]
    fuzzy: bool
    timezone: str | None

    def of(self, dataset: DicomJson) -> "ItemFilter":
        """What they ask of a data set of the level that the attributes belong to."""
        return ItemFilter(tuple((0, match) for match in self.matches), zones_of(dataset, self.timezone), self.fuzzy)


@dataclass(frozen=True, slots=True)
class ItemFilter:
    """What is asked of an item. Each key comes with the depth of its path at which the item is."""

    keys: tuple[tuple[int, AttributeMatch], ...]
    zones: Zones
    fuzzy: bool

    def within(self, tag: str) -> "ItemFilter | None":
        """What is asked of the items of a sequence of the item; None if nothing is."""
        inner = [(depth + 1, match) for depth, match in self.keys if match.path.tags[depth] == tag]
        return ItemFilter(tuple(inner), self.zones, self.fuzzy) if inner else None

    def lets_pass(self, item: DicomJson) -> bool:
        return item_matches(item, self.keys, self.zones, self.fuzzy)
