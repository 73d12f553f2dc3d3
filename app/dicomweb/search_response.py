"""Search results as messages (PS3.18 10.6.3.3, 10.6.4): one DICOM JSON array, or one Native XML document per result."""

from collections.abc import Iterable, Iterator
from typing import Any

import orjson

from app.dicom.instance import DicomJson
from app.dicom.matching import Level
from app.dicom.references import is_uid
from app.dicom.xml_model import to_native_xml

RETRIEVE_URL = "00081190"
_LEVELS = (Level.STUDY, Level.SERIES, Level.INSTANCE)
# Of a resource's path, and where a result has the UID that belongs there.
_SEGMENTS = (("/studies/", "0020000D"), ("/series/", "0020000E"), ("/instances/", "00080018"))
_UNKNOWN: dict[str, Any] = {}


def search_to_json(
    results: Iterable[DicomJson],
    base_url: str,
    *,
    level: Level,
    study_instance_uid: str | None = None,
    series_instance_uid: str | None = None,
) -> bytes:
    """The array of the results, UTF-8; `[]` when there is none. For the arguments see `complete`."""
    return orjson.dumps(
        [complete(result, base_url, level, study_instance_uid, series_instance_uid) for result in results]
    )


def search_to_xml_parts(
    results: Iterable[DicomJson],
    base_url: str,
    *,
    level: Level,
    study_instance_uid: str | None = None,
    series_instance_uid: str | None = None,
) -> Iterator[bytes]:
    """One document per result, for the parts of a multipart answer; they need no Content-Location (8.6.1.2)."""
    for result in results:
        yield to_native_xml(complete(result, base_url, level, study_instance_uid, series_instance_uid))


def complete(
    result: DicomJson,
    base_url: str,
    level: Level,
    study_instance_uid: str | None = None,
    series_instance_uid: str | None = None,
) -> dict[str, Any]:
    """A result with its Retrieve URL (0008,1190), keys ascending (F.2.2).

    level  of the results; the UIDs of levels above that the result does not hold are those of the request's path
    Where a UID is missing or none, the URL is left out: the attribute is there only if the object can be retrieved.
    """
    above = (study_instance_uid, series_instance_uid, None)
    path = ""
    completed = dict(result)
    completed.pop(RETRIEVE_URL, None)
    for (segment, tag), given in zip(_SEGMENTS[: _LEVELS.index(level) + 1], above, strict=False):
        values = result.get(tag, _UNKNOWN).get("Value") or (given,)
        uid = str(values[0] or given or "")
        if not is_uid(uid):
            return dict(sorted(completed.items()))
        path += f"{segment}{uid}"
    completed[RETRIEVE_URL] = {"vr": "UR", "Value": [base_url + path]}
    return dict(sorted(completed.items()))
