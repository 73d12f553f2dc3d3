"""The query parameters of rendered resources and thumbnails as values (PS3.18 8.3.5.1, 8.3.5.2)."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from app.dicom.rendering import (
    ICC_MEDIA_TYPES,
    SUPPORTED_ANNOTATIONS,
    IccProfileChoice,
    RenderingParameters,
    Viewport,
    VoiFunction,
    Window,
)
from app.errors import InvalidParameter

RENDERING_PARAMETERS = ("annotation", "quality", "viewport", "window", "iccprofile")
Query = Iterable[tuple[str, str]]

_MAX_LENGTH = 1_024
_MAX_ANNOTATIONS = 32
_KEYWORD = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}", re.ASCII)
_INTEGER = re.compile(r"[0-9]{1,9}", re.ASCII)
# A decimal string as PS3.5 6.2 writes it; Window and Viewport refuse what is not finite.
_DECIMAL = re.compile(r"[+-]?(?:[0-9]{1,32}(?:\.[0-9]{0,32})?|\.[0-9]{1,32})(?:[eE][+-]?[0-9]{1,3})?", re.ASCII)


@dataclass(frozen=True, slots=True)
class RenderingQuery:
    """unsupported_annotations  words that are ignored and named in a Warning header (8.3.5.1.1)
    has_source_region        the viewport is more than its width and height, whatever that says (8.3.5.1.3)
    """

    parameters: RenderingParameters
    unsupported_annotations: tuple[str, ...] = ()
    has_source_region: bool = False


def parse_rendering_parameters(query: Query) -> RenderingQuery:
    """Of a rendered resource. `query` holds decoded names and values; other parameters are passed over.

    Raises InvalidParameter for a parameter that is ill-formed, out of range or given twice.
    """
    given = single_values(query, RENDERING_PARAMETERS)
    supported, others = annotations(given["annotation"]) if "annotation" in given else ((), ())
    parameters = RenderingParameters(
        annotation=supported,
        quality=quality(given["quality"]) if "quality" in given else None,
        viewport=viewport(given["viewport"]) if "viewport" in given else None,
        window=_window(given["window"]) if "window" in given else None,
        iccprofile=_icc_profile(given["iccprofile"]) if "iccprofile" in given else None,
    )
    return RenderingQuery(parameters, others, given.get("viewport", "").count(",") > 1)


def parse_thumbnail_viewport(query: Query) -> Viewport | None:
    """Of a thumbnail: `viewport=vw,vh` is all there is (8.3.5.2). Raises InvalidParameter."""
    given = single_values(query, ("viewport",))
    if "viewport" not in given:
        return None
    if given["viewport"].count(",") != 1:
        raise InvalidParameter("the viewport of a thumbnail is width and height (PS3.18 8.3.5.2)")
    return viewport(given["viewport"])


def check_icc_profile(parameters: RenderingParameters, media_type: str) -> None:
    """8.3.5.1.5: a profile asked for in what cannot hold one is 400. Raises InvalidParameter."""
    if parameters.iccprofile not in (None, IccProfileChoice.NO) and media_type not in ICC_MEDIA_TYPES:
        raise InvalidParameter(f"{media_type} cannot hold an ICC profile: iccprofile=no is all that it can have")


def without_unused(parameters: RenderingParameters, *, lossy: bool) -> RenderingParameters:
    """The same without `quality` where the media type knows none, so that equal images have equal names."""
    return parameters if lossy else replace(parameters, quality=None)


def single_values(query: Query, names: Sequence[str]) -> dict[str, str]:
    """Of those named the values, each given once. Raises InvalidParameter."""
    given: dict[str, str] = {}
    for name, value in query:
        if name not in names:
            continue
        if name in given:
            raise InvalidParameter(f"the parameter {name} is given more than once")
        if len(value) > _MAX_LENGTH:
            raise InvalidParameter(f"the parameter {name} has more than {_MAX_LENGTH} characters")
        given[name] = value
    return given


def annotations(text: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Words that are supported, and those that are not (8.3.5.1.1). Raises InvalidParameter for what is no list of words."""
    words = [word.strip() for word in text.split(",")]
    if len(words) > _MAX_ANNOTATIONS or not all(_KEYWORD.fullmatch(word) for word in words):
        raise InvalidParameter("annotation is a list of keywords: patient, technique (PS3.18 8.3.5.1.1)")
    distinct = dict.fromkeys(words)
    supported = tuple(word for word in SUPPORTED_ANNOTATIONS if word in distinct)
    return supported, tuple(word for word in distinct if word not in SUPPORTED_ANNOTATIONS)


def quality(text: str) -> int:
    """8.3.5.1.2. Raises InvalidParameter."""
    if not _INTEGER.fullmatch(text) or not 1 <= int(text) <= 100:
        raise InvalidParameter("quality is an integer from 1 to 100 (PS3.18 8.3.5.1.2)")
    return int(text)


def viewport(text: str) -> Viewport:
    """`vw,vh[,[sx],[sy],[sw],[sh]]`: an item left empty keeps its comma, trailing ones are left out with theirs (8.3.5.1.3).

    Where the source region begins is what the absolute values of sx and sy say; the signs of sw and sh flip.
    Raises InvalidParameter.
    """
    items = [item.strip() for item in text.split(",")]
    if not 2 <= len(items) <= 6 or (len(items) > 2 and not items[-1]):
        raise InvalidParameter("viewport is vw,vh or vw,vh,[sx],[sy],[sw],[sh] (PS3.18 8.3.5.1.3)")
    width, height = (positive_integer(item, "viewport width and height") for item in items[:2])
    x, y, region_width, region_height = (
        decimal(item, "viewport") if item else None for item in (*items[2:], *[""] * (6 - len(items)))
    )
    return Viewport(width, height, abs(x or 0.0), abs(y or 0.0), region_width, region_height)


def positive_integer(text: str, name: str) -> int:
    """Raises InvalidParameter."""
    if not _INTEGER.fullmatch(text) or int(text) < 1:
        raise InvalidParameter(f"{name}: {text[:20]!r} is not a positive integer")
    return int(text)


def decimal(text: str, name: str) -> float:
    """Raises InvalidParameter."""
    if not _DECIMAL.fullmatch(text):
        raise InvalidParameter(f"{name}: {text[:20]!r} is not a number")
    return float(text)


def _window(text: str) -> Window:
    """8.3.5.1.4: all three values are needed."""
    items = [item.strip() for item in text.split(",")]
    if len(items) != 3:
        raise InvalidParameter("window is center,width,function (PS3.18 8.3.5.1.4)")
    try:
        function = VoiFunction(items[2])
    except ValueError:
        raise InvalidParameter(
            f"window: {items[2][:20]!r} is not a function; there are {', '.join(VoiFunction)}"
        ) from None
    return Window(decimal(items[0], "window center"), decimal(items[1], "window width"), function)


def _icc_profile(text: str) -> IccProfileChoice:
    try:
        return IccProfileChoice(text)
    except ValueError:
        raise InvalidParameter(f"iccprofile is one of {', '.join(IccProfileChoice)} (PS3.18 8.3.5.1.5)") from None
