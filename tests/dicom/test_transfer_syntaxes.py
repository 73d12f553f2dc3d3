"""The table of transfer syntaxes against pydicom's, and what goes on the wire (PS3.18 8.7.3)."""

import pydicom.uid
import pytest

from app.dicom.transfer_syntaxes import (
    EXPLICIT_VR_BIG_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    TRANSFER_SYNTAXES,
    Family,
    transfer_syntax,
    wire_syntax,
)
from app.errors import UnsupportedTransferSyntax

JPIP_DEFLATED = ("1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.205")


@pytest.mark.parametrize("uid", TRANSFER_SYNTAXES)
def test_as_registered(uid: str) -> None:
    ours = transfer_syntax(uid)
    theirs = pydicom.uid.UID(uid)
    assert ours.uid == uid
    if theirs.is_transfer_syntax:
        assert ours.implicit_vr == theirs.is_implicit_VR
        assert ours.big_endian == (not theirs.is_little_endian)
        assert ours.encapsulated == theirs.is_encapsulated
        assert ours.deflated == (theirs.is_deflated or uid in JPIP_DEFLATED)


def test_families() -> None:
    video = [uid for uid, syntax in TRANSFER_SYNTAXES.items() if syntax.is_video]
    assert len(video) == 16
    jpip = [syntax for syntax in TRANSFER_SYNTAXES.values() if syntax.family is Family.JPIP]
    assert {syntax.uid for syntax in jpip if syntax.deflated} == set(JPIP_DEFLATED)
    assert len(jpip) == 4
    assert all(syntax.lossless for syntax in TRANSFER_SYNTAXES.values() if syntax.family is Family.NATIVE)


@pytest.mark.parametrize("uid", ["", "1.2", "1.2.840.113619.5.2", "1.2.840.10008.1.2.7.1", "x" * 500])
def test_unknown(uid: str) -> None:
    with pytest.raises(UnsupportedTransferSyntax) as refused:
        transfer_syntax(uid)
    assert len(str(refused.value)) < 150


def test_wire() -> None:
    assert wire_syntax(IMPLICIT_VR_LITTLE_ENDIAN) == EXPLICIT_VR_LITTLE_ENDIAN
    assert wire_syntax(EXPLICIT_VR_BIG_ENDIAN) == EXPLICIT_VR_LITTLE_ENDIAN
    for uid in set(TRANSFER_SYNTAXES) - {IMPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_BIG_ENDIAN}:
        assert wire_syntax(uid) == uid
