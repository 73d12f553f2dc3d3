"""Which syntax is chosen for what is stored and what is accepted."""

from dataclasses import replace

import pytest

from app.dicom.instance import PixelData
from app.dicom.layout import ImagePixel, InstanceLayout
from app.dicom.transfer_syntaxes import AS_STORED, EXPLICIT_VR_LITTLE_ENDIAN
from app.services.syntaxes import Alternative, Stored, choose, deliverable, refusal

P = "1.2.840.10008.1.2."
IMPLICIT, BIG_ENDIAN, DEFLATED = "1.2.840.10008.1.2", P + "2", P + "1.99"
BASELINE, LOSSLESS, J2K, J2K_ANY, RLE, JXL_JPEG = (P + s for s in ("4.50", "4.70", "4.90", "4.91", "5", "4.111"))
VIDEO, JPIP = P + "4.102", P + "4.94"
GRAY = ImagePixel(4, 4, 1, "MONOCHROME2", 0, 8, 8, 7, 0, 1)


def stored(uid: str, image: ImagePixel | None = GRAY, keyword: str = "PixelData", *, frames: bool = False) -> Stored:
    pixels = PixelData(keyword, "OB", 1000, 16, 1016) if keyword else None
    return Stored(uid, InstanceLayout(200, pixels, image).to_json(), only_frames=frames)


@pytest.mark.parametrize(
    ("uid", "alternative", "expected"),
    [
        (RLE, Alternative((EXPLICIT_VR_LITTLE_ENDIAN, RLE)), RLE),
        (RLE, Alternative((AS_STORED,)), RLE),
        (IMPLICIT, Alternative((AS_STORED,)), EXPLICIT_VR_LITTLE_ENDIAN),
        (BIG_ENDIAN, Alternative((AS_STORED,), converts=False), EXPLICIT_VR_LITTLE_ENDIAN),
        (RLE, Alternative((J2K,), converts=False), None),
        (RLE, Alternative((J2K, AS_STORED), converts=False), RLE),
        (RLE, Alternative((LOSSLESS, J2K)), LOSSLESS),
        (RLE, Alternative((BASELINE, J2K)), J2K),  # nothing is lost for one who did not ask for it
        (RLE, Alternative((BASELINE, J2K), allows_loss=True), BASELINE),
        (RLE, Alternative((BASELINE,)), None),
        (J2K, Alternative((J2K_ANY,)), J2K_ANY),  # the same codestream
        (BASELINE, Alternative((LOSSLESS, JXL_JPEG)), JXL_JPEG),  # rather than decoded
        (RLE, Alternative((JXL_JPEG,), allows_loss=True), None),
        (VIDEO, Alternative((EXPLICIT_VR_LITTLE_ENDIAN,)), None),
        (VIDEO, Alternative((AS_STORED,), fallback=True), VIDEO),
        (RLE, Alternative((AS_STORED,), fallback=True), EXPLICIT_VR_LITTLE_ENDIAN),
        (RLE, Alternative((J2K,), fallback=True), None),
        (JPIP, Alternative((EXPLICIT_VR_LITTLE_ENDIAN, DEFLATED, J2K), allows_loss=True), None),
        (RLE, Alternative((VIDEO, "1.2.3", "nonsense"), allows_loss=True), None),
        (RLE, Alternative((DEFLATED,)), DEFLATED),
        ("1.2.3", Alternative((EXPLICIT_VR_LITTLE_ENDIAN,)), None),
        ("1.2.3", Alternative((AS_STORED,)), "1.2.3"),
    ],
)
def test_one_instance(uid: str, alternative: Alternative, expected: str | None) -> None:
    assert deliverable(stored(uid), alternative) == expected


def test_the_image_decides() -> None:
    wide = replace(GRAY, bits_allocated=16, bits_stored=12, high_bit=11)
    jpeg = Alternative((BASELINE,), allows_loss=True)
    assert deliverable(stored(RLE), jpeg) == BASELINE
    assert deliverable(stored(RLE, wide), jpeg) is None
    assert "16 bits allocated" in (refusal(stored(RLE, wide), BASELINE) or "")
    assert "no frames" in (refusal(stored(EXPLICIT_VR_LITTLE_ENDIAN, GRAY, ""), J2K) or "")
    assert "floating point" in (refusal(stored(EXPLICIT_VR_LITTLE_ENDIAN, GRAY, "FloatPixelData"), J2K) or "")
    assert refusal(stored(EXPLICIT_VR_LITTLE_ENDIAN, None), J2K) is not None


def test_a_report_is_text_in_every_encoding() -> None:
    report = stored(EXPLICIT_VR_LITTLE_ENDIAN, None, "")
    assert deliverable(report, Alternative((DEFLATED,))) == DEFLATED
    assert (
        deliverable(stored(IMPLICIT, None, ""), Alternative((EXPLICIT_VR_LITTLE_ENDIAN,))) == EXPLICIT_VR_LITTLE_ENDIAN
    )
    # Said to be compressed, though there is nothing to compress: such files exist.
    assert deliverable(stored(RLE, None, ""), Alternative((EXPLICIT_VR_LITTLE_ENDIAN,))) == EXPLICIT_VR_LITTLE_ENDIAN


def test_a_deflated_data_set_has_no_deflated_frames() -> None:
    assert refusal(stored(RLE), DEFLATED) is None
    assert refusal(stored(RLE, frames=True), DEFLATED) is not None


def test_more_than_a_length_field_can_say() -> None:
    """PS3.18 8.7.8: as stored, if that is acceptable; its frames can be had all the same."""
    huge = replace(GRAY, rows=10_000, columns=10_000, number_of_frames=43)
    assert "too long" in (refusal(stored(RLE, huge), EXPLICIT_VR_LITTLE_ENDIAN) or "")
    assert refusal(stored(RLE, huge, frames=True), EXPLICIT_VR_LITTLE_ENDIAN) is None
    assert deliverable(stored(RLE, huge), Alternative((AS_STORED,), fallback=True)) == RLE
    assert refusal(stored(RLE, replace(huge, number_of_frames=42)), EXPLICIT_VR_LITTLE_ENDIAN) is None


def test_each_instance_on_its_own() -> None:
    both = [stored(EXPLICIT_VR_LITTLE_ENDIAN, None, ""), stored(RLE)]
    wishes = [Alternative((J2K,)), Alternative((EXPLICIT_VR_LITTLE_ENDIAN,))]
    assert choose(both, wishes) == (1, [EXPLICIT_VR_LITTLE_ENDIAN, J2K])
    assert choose(both[::-1], wishes) == (0, [J2K, EXPLICIT_VR_LITTLE_ENDIAN])
    assert choose(both, wishes[:1]) is None
    assert choose(both, []) is None
    assert choose([], wishes) is None
