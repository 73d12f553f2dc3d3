"""Attribute values as the text by which searches compare them: the same for what is stored and for what is asked."""

import math

from app.dicom.date_times import normalise_date, normalise_time
from app.dicom.person_names import fold_name
from app.dicom.plain_text import clean_text

# Longer values are compared by their beginning. Four bytes a character at most, so that an index row of PostgreSQL
# (limit about 2,700 bytes) always holds one. Only the VRs of unlimited text are affected, see INDEXABLE_VRS.
MAX_COMPARABLE = 256
_MAX_NUMBER = 64

NUMBER_VRS = frozenset({"IS", "DS", "US", "SS", "UL", "SL", "UV", "SV", "FL", "FD"})
# VRs with values that fit; LT, ST, UT, UC and UR may be long, DT needs the offset of its object, the rest is binary.
INDEXABLE_VRS = frozenset({"AE", "AS", "AT", "CS", "DA", "LO", "PN", "SH", "TM", "UI"}) | NUMBER_VRS


def bounded(text: str) -> str:
    """`clean_text`, at most MAX_COMPARABLE characters."""
    return clean_text(clean_text(text[: 2 * MAX_COMPARABLE])[:MAX_COMPARABLE])


def number_text(text: str) -> str:
    """One text per number: `1`, `01`, `+1.0` and `1e0` are all `1`. What is no number stays as it is."""
    text = clean_text(text[:_MAX_NUMBER])
    if not text.isascii() or "_" in text:
        return text
    try:
        return str(int(text))
    except ValueError:
        pass
    try:
        number = float(text)
    except ValueError:
        return text
    if not math.isfinite(number):
        return text
    return str(int(number)) if number.is_integer() and abs(number) < 2**63 else repr(number)


def whole_number(text: str) -> int | None:
    """The number of an IS value as a 64-bit integer; None where it is empty, none or out of range."""
    try:
        number = int(number_text(text))
    except ValueError:
        return None
    return number if -(2**63) <= number < 2**63 else None


def comparable(vr: str, text: str) -> str:
    """The comparable form of one value of the VR: of a person name, `text` is one component group."""
    if vr == "PN":
        return fold_name(text)
    if vr == "DA":
        return normalise_date(text)
    if vr == "TM":
        return normalise_time(text)
    if vr in NUMBER_VRS:
        return number_text(text)
    return bounded(text)
