"""Which VR an element has when its bytes do not say: the public dictionary (PS3.6) and the private ones.

Several VRs in the dictionary are settled here for the encodings without VR (PS3.5 Annex A.1): "OB or OW" is OW, "US or SS"
waits for Pixel Representation, "US or OW" for the LUT Descriptor.
"""

from functools import lru_cache

from app.dicom.dictionary import dictionary_vr, private_dictionary_vr

US_OR_SS = "US or SS"
US_OR_OW = "US or OW"
STANDARD_VRS = frozenset(
    ("AE", "AS", "AT", "CS", "DA", "DS", "DT", "FD", "FL", "IS", "LO", "LT", "OB", "OD", "OF", "OL", "OV", "OW",
     "PN", "SH", "SL", "SQ", "SS", "ST", "SV", "TM", "UC", "UI", "UL", "UN", "UR", "US", "UT", "UV")
)  # fmt: skip
# Explicit VR: two reserved bytes and a 32-bit length follow these (PS3.5 Table 7.1-1).
LONG_VRS = frozenset(("OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"))
# First value: a number of entries, unsigned whatever the VR (PS3.3 C.11.1.1.1, C.7.6.3.1.5).
LUT_DESCRIPTORS = frozenset((0x00281101, 0x00281102, 0x00281103, 0x00283002))

_MAX_CREATOR = 64  # LO
_SETTLED = {"OB or OW": "OW", "OB_OW": "OW", "US or SS or OW": "OW", "NONE": "UN"}


def public_vr(tag: int) -> str:
    """VR of a standard tag, repeating groups too; "UN" where the dictionary has none; US_OR_SS and US_OR_OW are possible."""
    try:
        vr = dictionary_vr(tag)
    except KeyError:
        return "UN"
    return _SETTLED.get(vr, vr)


def is_private(tag: int) -> bool:
    return bool(tag >> 16 & 1)


def is_private_creator(tag: int) -> bool:
    """(gggg,0010-00FF) of an odd group (PS3.5 section 7.8.1)."""
    return bool(tag >> 16 & 1) and 0x10 <= tag & 0xFFFF <= 0xFF


@lru_cache(maxsize=8192)
def private_vr(tag: int, creator: str) -> str:
    """VR that a known vendor gives its element, else "UN"."""
    try:
        vr = private_dictionary_vr(tag, creator)
    except KeyError:
        return "UN"
    return _SETTLED.get(vr, vr)


def vr_of_unknown(tag: int, length: int, creator: object) -> str:
    """What the dictionaries make of an element whose VR is UN; `creator` is the private creator's value, if any.

    As pydicom: standard tags up to 65,534 bytes only, longer values are binary in all likelihood.
    """
    if is_private(tag):
        known = isinstance(creator, str) and len(creator) <= _MAX_CREATOR and tag & 0xFF00
        return private_vr(tag, str(creator)) if known else "UN"
    return public_vr(tag) if length < 0xFFFF else "UN"
