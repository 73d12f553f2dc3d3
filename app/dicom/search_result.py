"""A result of a search as text, into which a Retrieve URL (0008,1190) can be put: it depends on who asks, all else does not."""

from collections.abc import Sequence
from typing import NamedTuple

import orjson

from app.dicom.instance import DicomJson
from app.dicom.references import is_uid

RETRIEVE_URL = "00081190"
_UIDS = ("0020000D", "0020000E", "00080018")


class SearchResult(NamedTuple):
    """Given to everyone who asks for the same row.

    before, behind  the elements before and behind the Retrieve URL: members of a DICOM JSON object, keys ascending (PS3.18 F.2.2)
    uids            of its study, series and instance: None where it holds none, "" where it holds what is no UID
    """

    before: bytes
    behind: bytes
    uids: tuple[str | None, ...]

    def with_member(self, member: bytes) -> bytes:
        """The object with the member of the Retrieve URL; without one where that is empty."""
        return b"{%b}" % b",".join(filter(None, (self.before, member, self.behind)))

    @property
    def dataset(self) -> DicomJson:
        """Without Retrieve URL."""
        found: DicomJson = orjson.loads(self.with_member(b""))
        return found


def result_of(dataset: DicomJson) -> SearchResult:
    """Of a data set whose keys ascend. What it holds as Retrieve URL is left out."""
    before = {tag: element for tag, element in dataset.items() if tag < RETRIEVE_URL}
    behind = {tag: element for tag, element in dataset.items() if tag > RETRIEVE_URL}
    uids = tuple(_uid(dataset.get(tag, {}).get("Value")) for tag in _UIDS)
    return SearchResult(orjson.dumps(before)[1:-1], orjson.dumps(behind)[1:-1], uids)


def _uid(values: Sequence[object] | None) -> str | None:
    if not values or not values[0]:
        return None
    uid = str(values[0])
    return uid if is_uid(uid) else ""
