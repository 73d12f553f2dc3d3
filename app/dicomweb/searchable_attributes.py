"""The attributes that an operator makes searchable, as a setting names them."""

import re

from app.dicom.matching import AttributePath
from app.dicomweb.attribute_paths import resolve, tags_of
from app.errors import InvalidQuery

# A private attribute: its creator (LO: no backslash), a bar, and its tag with the block number written as 00.
_PRIVATE = re.compile(r"(?P<creator>[^|\\,]{1,64})\|(?P<tag>[0-9A-Fa-f]{3}[13579BDFbdf]00[0-9A-Fa-f]{2})")


def parse_searchable_attributes(text: str) -> tuple[AttributePath, ...]:
    """`PatientComments, RequestAttributesSequence.RequestedProcedureID, ACME 1.1|00230001`: paths in that order, once each.

    Raises ValueError naming the entry that is no searchable attribute.
    """
    paths: dict[str, AttributePath] = {}
    for entry in filter(None, (part.strip() for part in text.split(","))):
        path = _path(entry)
        if path is None:
            raise ValueError(f"{entry!r} names no attribute that can be searched")
        paths.setdefault(f"{path.creators}{path.dotted}", path)
    return tuple(paths.values())


def _path(entry: str) -> AttributePath | None:
    if private := _PRIVATE.fullmatch(entry):
        return AttributePath((private["tag"].upper(),), "", (private["creator"],))
    try:
        tags = tags_of(entry)
        path = resolve(tags, {}) if tags else None
    except InvalidQuery:
        return None
    return path if path is not None and path.vr != "SQ" else None
