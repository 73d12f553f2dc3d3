"""ICC profiles: which one an output has, and the transformation into the one asked for (PS3.18 8.3.5.1.5)."""

from functools import lru_cache

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from app.dicom.rendering.attribute_reader import AttributeReader
from app.dicom.rendering.parameters import IccProfileChoice
from app.dicom.rendering.presentation_state import PresentationState
from app.dicom.rendering.source import RenderingSource
from app.errors import CodecError

MAX_PROFILE_BYTES = 1 << 22
_ICC_PROFILE, _OPTICAL_PATH_SEQUENCE = "00282000", "00480105"
_COLOR_SPACE = "00282002"
_HEADER_BYTES = 128
# Primaries and white point of ISO 22028-2 (ROMM RGB), as x and y.
_ROMM_PRIMARIES = (0.7347, 0.2653, 1.0, 0.1596, 0.8404, 1.0, 0.0366, 0.0001, 1.0)
_ROMM_WHITE = (0.3457, 0.3585, 1.0)
_ROMM_GAMMA = 1.8

Pixels = NDArray[np.uint8]


@lru_cache(maxsize=4)
def well_known_profile(choice: IccProfileChoice) -> bytes:
    """The profile of sRGB, Adobe RGB or ROMM RGB (PS3.3 C.11.15.1.2)."""
    if choice is IccProfileChoice.ADOBERGB:
        return bytes(imagecodecs.cms_profile("adobergb"))
    if choice is IccProfileChoice.ROMMRGB:
        return bytes(
            imagecodecs.cms_profile("rgb", whitepoint=_ROMM_WHITE, primaries=_ROMM_PRIMARIES, gamma=_ROMM_GAMMA)
        )
    return bytes(imagecodecs.cms_profile("srgb"))


def apply_icc_profile(
    pixels: Pixels,
    source: RenderingSource,
    choice: IccProfileChoice | None,
    presentation: PresentationState | None = None,
) -> tuple[Pixels, bytes | None]:
    """The pixels in the colour space asked for, and the profile to embed; None = none.

    `yes` embeds the profile that describes the pixels as they are: the presentation state's, the image's, else sRGB. Grey
    becomes RGB with it, as profiles of colour spaces describe three samples. Raises CodecError when the image's own profile
    cannot be used for a transformation.
    """
    own = None if presentation is None else _usable(presentation.attributes.binary(_ICC_PROFILE))
    if choice is IccProfileChoice.NO or (choice is None and own is None):
        return pixels, None
    rgb = np.repeat(pixels[..., None], 3, axis=-1) if pixels.ndim == 2 else pixels
    described = own or _image_profile(source.reader) or b""
    if choice is None or choice is IccProfileChoice.YES:
        return rgb, described or well_known_profile(IccProfileChoice.SRGB)
    wanted = well_known_profile(choice)
    described = described or well_known_profile(IccProfileChoice.SRGB)
    if described == wanted:
        return rgb, wanted
    return _transformed(np.ascontiguousarray(rgb), described, wanted), wanted


def _transformed(rgb: Pixels, described: bytes, wanted: bytes) -> Pixels:
    try:
        result = imagecodecs.cms_transform(rgb, described, wanted, colorspace="rgb", outcolorspace="rgb", outdtype="u1")
    except (RuntimeError, ValueError, TypeError) as error:
        raise CodecError("the ICC profile of the image cannot be used") from error
    return np.asarray(result, np.uint8)


def _image_profile(attributes: AttributeReader) -> bytes | None:
    """ICC Profile of the image, else of its first optical path, else of the well-known space that it names."""
    profile = _usable(attributes.binary(_ICC_PROFILE))
    path = attributes.item(_OPTICAL_PATH_SEQUENCE)
    if profile is None and path is not None:
        profile = _usable(path.binary(_ICC_PROFILE))
    name = attributes.text(_COLOR_SPACE).replace(" ", "").lower()
    if profile is None and name in ("srgb", "adobergb", "rommrgb"):
        return well_known_profile(IccProfileChoice(name))
    return profile


def _usable(profile: bytes | None) -> bytes | None:
    """A profile of RGB that is whole: its length and signature are right (ICC.1, 7.2)."""
    if profile is None or not _HEADER_BYTES < len(profile) <= MAX_PROFILE_BYTES:
        return None
    length = int.from_bytes(profile[:4], "big")
    if not _HEADER_BYTES < length <= len(profile) or profile[36:40] != b"acsp" or profile[16:20] != b"RGB ":
        return None
    return profile[:length]
