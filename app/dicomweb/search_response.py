"""Search results as messages (PS3.18 10.6.3.3, 10.6.4): one DICOM JSON array, or one Native XML document per result."""

from collections.abc import Iterable, Iterator

import orjson

from app.dicom.matching import Level
from app.dicom.references import is_uid
from app.dicom.search_result import RETRIEVE_URL, SearchResult
from app.dicom.xml_model import to_native_xml

_LEVELS = (Level.STUDY, Level.SERIES, Level.INSTANCE)
_SEGMENTS = ("/studies/", "/series/", "/instances/")
PIECE = 256 * 1024  # bytes: made and sent in one go


def search_to_json(
    results: Iterable[SearchResult],
    base_url: str,
    *,
    level: Level,
    study_instance_uid: str | None = None,
    series_instance_uid: str | None = None,
) -> Iterator[bytes]:
    """The array of the results, UTF-8, in pieces of PIECE bytes and a result; `[]` when there is none. For the arguments see
    `texts_of`."""
    begin, texts, size = b"[", [], 0
    for text in texts_of(results, base_url, level, study_instance_uid, series_instance_uid):
        texts.append(text)
        size += len(text)
        if size > PIECE:
            yield begin + b",".join(texts)
            begin, texts, size = b",", [], 0
    yield (begin if texts or begin == b"[" else b"") + b",".join(texts) + b"]"


def search_to_xml_parts(
    results: Iterable[SearchResult],
    base_url: str,
    *,
    level: Level,
    study_instance_uid: str | None = None,
    series_instance_uid: str | None = None,
) -> Iterator[bytes]:
    """One document per result, for the parts of a multipart answer; they need no Content-Location (8.6.1.2)."""
    for text in texts_of(results, base_url, level, study_instance_uid, series_instance_uid):
        yield to_native_xml(orjson.loads(text))


def texts_of(
    results: Iterable[SearchResult],
    base_url: str,
    level: Level,
    study_instance_uid: str | None = None,
    series_instance_uid: str | None = None,
) -> Iterator[bytes]:
    """Each result as a DICOM JSON object with its Retrieve URL (0008,1190), keys ascending (F.2.2).

    level  of the results; the UIDs of levels above that a result does not hold are those of the request's path
    Where a UID is missing or none, the URL is left out: the attribute is there only if the object can be retrieved.
    """
    steps = _LEVELS.index(level) + 1
    above = [uid if uid and is_uid(uid) else "" for uid in (study_instance_uid, series_instance_uid, None)][:steps]
    begin = b'"%b":{"vr":"UR","Value":[%b' % (RETRIEVE_URL.encode(), orjson.dumps(base_url)[:-1])
    for result in results:
        uids = [given if uid is None else uid for uid, given in zip(result.uids, above, strict=False)]
        path = "".join([segment + uid for segment, uid in zip(_SEGMENTS, uids, strict=False)])
        yield result.with_member(b'%b%b"]}' % (begin, path.encode()) if all(uids) else b"")
