"""Recommended display colours: P-Values and PCS-Values as sRGB (PS3.3 C.10.7.1.1)."""

from app.dicom.rendering.attribute_reader import AttributeReader

Colour = tuple[int, int, int]

# Connection space (D50) to linear sRGB, chromatic adaptation included.
_TO_LINEAR = (
    (3.1338561, -1.6168667, -0.4906146),
    (-0.9787684, 1.9161415, 0.0334540),
    (0.0719453, -0.2289914, 1.4052427),
)
_WHITE = (0.9642, 1.0, 0.8249)


def read_colour(attributes: AttributeReader, cielab_tag: str, grey_tag: str) -> Colour | None:
    """The colour of a CIELab attribute, else the grey of a P-Value attribute (0 to FFFFH); None where there is neither."""
    lab = attributes.numbers(cielab_tag)
    if len(lab) == 3:
        return srgb_of_cielab(*(max(0.0, min(value, 65535.0)) for value in lab))
    grey = attributes.number(grey_tag)
    if grey is None:
        return None
    level = round(max(0.0, min(grey, 65535.0)) * 255 / 65535)
    return (level, level, level)


def srgb_of_cielab(lightness: float, a: float, b: float) -> Colour:
    """Each value scaled to 16 bits: L* of 0 to 100, a* and b* of -128 to 127."""
    fy = (lightness * 100 / 65535 + 16) / 116
    fx, fz = fy + (a * 255 / 65535 - 128) / 500, fy - (b * 255 / 65535 - 128) / 200
    xyz = [white * _inverse(f) for white, f in zip(_WHITE, (fx, fy, fz), strict=True)]
    linear = [sum(weight * value for weight, value in zip(row, xyz, strict=True)) for row in _TO_LINEAR]
    red, green, blue = (round(255 * _companded(max(0.0, min(value, 1.0)))) for value in linear)
    return (red, green, blue)


def _inverse(f: float) -> float:
    return float(f**3) if f > 6 / 29 else 3 * (6 / 29) ** 2 * (f - 4 / 29)


def _companded(value: float) -> float:
    return 12.92 * value if value <= 0.0031308 else float(1.055 * value ** (1 / 2.4) - 0.055)
