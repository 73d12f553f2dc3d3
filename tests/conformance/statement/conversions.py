"""Which transfer syntaxes are made of which, asked of the service itself with the descriptions of typical images."""

from functools import cache

from app.dicom.instance import PixelData
from app.dicom.layout import ImagePixel, InstanceLayout
from app.dicom.transfer_syntaxes import EXPLICIT_VR_LITTLE_ENDIAN, TRANSFER_SYNTAXES
from app.services.syntaxes import Stored, refusal
from tests.conformance.statement.markdown import code, table


def _image(
    allocated: int, stored: int, *, colour: str = "MONOCHROME2", signed: bool = False, samples: int = 1
) -> ImagePixel:
    return ImagePixel(
        rows=64,
        columns=64,
        samples_per_pixel=samples,
        photometric_interpretation=colour,
        planar_configuration=0,
        bits_allocated=allocated,
        bits_stored=stored,
        high_bit=stored - 1,
        pixel_representation=int(signed),
        number_of_frames=1,
    )


KINDS = {
    "grey, 1 bit": _image(1, 1),
    "grey, 8": _image(8, 8),
    "grey, 12 of 16": _image(16, 12),
    "grey, 16": _image(16, 16),
    "grey, 16 signed": _image(16, 16, signed=True),
    "grey, 32": _image(32, 32),
    "palette, 8": _image(8, 8, colour="PALETTE COLOR"),
    "RGB, 8": _image(8, 8, colour="RGB", samples=3),
    "RGB, 16": _image(16, 16, colour="RGB", samples=3),
    "YBR_FULL_422, 8": _image(8, 8, colour="YBR_FULL_422", samples=3),
}


def short(uid: str) -> str:
    """Without the root of the standard's transfer syntaxes."""
    return uid.replace("1.2.840.10008.1.2.", ".")


@cache
def _is_made(stored: str, target: str, kind: str) -> bool:
    encapsulated = TRANSFER_SYNTAXES[stored].encapsulated
    pixel_data = PixelData("PixelData", "OB" if encapsulated else "OW", 1000, 0, encapsulated)
    layout = InstanceLayout(400, pixel_data, KINDS[kind])
    return refusal(Stored(stored, layout.to_json()), target) is None


def is_made(stored: str, target: str) -> bool:
    """Whether some kind of image that is stored in `stored` can be had in `target`, another one."""
    return stored != target and any(_is_made(stored, target, kind) for kind in KINDS)


def conversions() -> str:
    """Stored syntaxes grouped by what they can be had in, their own included."""
    groups: dict[tuple[str, ...], list[str]] = {}
    for stored in TRANSFER_SYNTAXES:
        targets = tuple(short(uid) for uid in TRANSFER_SYNTAXES if uid == stored or is_made(stored, uid))
        groups.setdefault(targets if len(targets) > 1 else (), []).append(short(stored))
    rows = [(code(stored), code(targets) if len(targets) > 1 else "nothing else") for targets, stored in groups.items()]
    return table(("stored in", "delivered in"), rows)


def encodings() -> str:
    """By target and kind of image, what native pixels become."""
    rows = []
    for target, syntax in TRANSFER_SYNTAXES.items():
        made = [kind for kind in KINDS if target != EXPLICIT_VR_LITTLE_ENDIAN and _is_native_made(target, kind)]
        if made:
            rows.append((code([short(target)]), syntax.name, "no" if syntax.lossless else "yes", "; ".join(made)))
    return table(("transfer syntax", "name", "may lose", "native images that it is made of"), rows)


def _is_native_made(target: str, kind: str) -> bool:
    return _is_made(EXPLICIT_VR_LITTLE_ENDIAN, target, kind)
