"""The query of the URI service (PS3.18 chapter 9) as values: which instance, as what, and how it is to be rendered."""

from collections.abc import Iterable
from dataclasses import dataclass

from app.dicom.references import InstanceRef, is_uid, validate_uid
from app.dicom.rendering import RenderingParameters, Viewport, VoiFunction, Window
from app.dicom.rendering.parameters import MAX_OUTPUT_EDGE, MAX_OUTPUT_PIXELS
from app.dicomweb.media_types import parse_media_type, split_list
from app.dicomweb.rendering_parameters import (
    RenderingQuery,
    annotations,
    decimal,
    positive_integer,
    quality,
    single_values,
)
from app.dicomweb.resources import DICOM
from app.errors import InvalidMediaType, InvalidParameter, InvalidUid

_MANDATORY = ("requestType", "studyUID", "seriesUID", "objectUID")
_OPTIONAL = (
    "charset", "anonymize", "annotation", "imageAnnotation", "rows", "columns", "region", "windowCenter", "windowWidth",
    "frameNumber", "imageQuality", "presentationUID", "presentationSeriesUID", "transferSyntax",
)  # fmt: skip
_MAX_CONTENT_TYPES = 4_096

Region = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class UriQuery:
    """content_type     media types that contentType lists, as they stand there; None where it is absent
    anonymizes       anonymize=yes
    transfer_syntax  for application/dicom
    rendering        annotation, quality, window, and the size as a viewport
    region           left, top, right, bottom as fractions of the image (9.5.2.4)
    presentation     the presentation state to render through
    """

    ref: InstanceRef
    content_type: str | None
    anonymizes: bool
    transfer_syntax: str | None
    rendering: RenderingQuery
    region: Region | None
    frame_number: int | None
    presentation: InstanceRef | None

    @property
    def names_dicom(self) -> bool:
        """Whether contentType asks for the instance itself."""
        return any(parse_media_type(entry).essence == DICOM for entry in split_list(self.content_type or ""))


def parse_uri_query(query: Iterable[tuple[str, str]]) -> UriQuery:
    """`query` holds decoded names and values in their order; names of others are passed over, names are case-sensitive.

    Raises InvalidParameter, InvalidUid.
    """
    pairs = list(query)
    given = single_values(pairs, (*_MANDATORY, *_OPTIONAL))
    for name in _MANDATORY:
        if not given.get(name):
            raise InvalidParameter(f"the URI service needs the parameter {name} (PS3.18 9.1.2.1)")
    if given["requestType"] != "WADO":
        raise InvalidParameter("requestType is WADO (PS3.18 9.1.2.1.1)")
    ref = InstanceRef(*(validate_uid(given[name]) for name in _MANDATORY[1:]))
    presentation = _presentation(given, ref.study_instance_uid)
    window = _window(given)
    frame_number = positive_integer(given["frameNumber"], "frameNumber") if "frameNumber" in given else None
    if presentation is not None and (window is not None or frame_number is not None):
        raise InvalidParameter("with a presentation state there is neither a window nor a frame number (PS3.18 9.5.1)")
    if given.get("anonymize", "yes") != "yes":
        raise InvalidParameter("anonymize is yes, or is not there (PS3.18 9.4.2.3)")
    return UriQuery(
        ref=ref,
        content_type=_content_type([value for name, value in pairs if name == "contentType"]),
        anonymizes="anonymize" in given,
        transfer_syntax=_transfer_syntax(given),
        rendering=_rendering(given, window),
        region=_region(given["region"]) if "region" in given else None,
        frame_number=frame_number,
        presentation=presentation,
    )


def _content_type(values: list[str]) -> str | None:
    """9.1.2.2.1: a list of media types that has no wildcards, and no parameters for what has parameters of its own here."""
    if not values:
        return None
    text = ",".join(values)
    entries = split_list(text)
    if not entries or len(text) > _MAX_CONTENT_TYPES:
        raise InvalidParameter("contentType is a list of media types (PS3.18 9.1.2.2.1)")
    for entry in entries:
        try:
            media_type = parse_media_type(entry)
        except InvalidMediaType as error:
            raise InvalidParameter(f"contentType: {error}") from error
        if "*" in media_type.essence:
            raise InvalidParameter("contentType must not hold wildcards (PS3.18 8.3.3.1)")
        for name in ("transfer-syntax", "charset"):
            if media_type.get(name) is not None:
                raise InvalidParameter(f"contentType must not have the parameter {name} (PS3.18 9.1.2.2.1)")
    return text


def _transfer_syntax(given: dict[str, str]) -> str | None:
    if "transferSyntax" not in given:
        return None
    if not is_uid(given["transferSyntax"]):
        raise InvalidParameter("transferSyntax is a UID (PS3.18 9.4.2.4)")
    return given["transferSyntax"]


def _rendering(given: dict[str, str], window: Window | None) -> RenderingQuery:
    """`annotation` is how the syntax of 9.5.1 calls what its table calls `imageAnnotation`: both are taken."""
    if "annotation" in given and "imageAnnotation" in given:
        raise InvalidParameter("annotation and imageAnnotation are the same parameter: give one")
    text = given.get("imageAnnotation", given.get("annotation"))
    supported, others = annotations(text) if text is not None else ((), ())
    parameters = RenderingParameters(
        annotation=supported,
        quality=quality(given["imageQuality"]) if "imageQuality" in given else None,
        viewport=_size(given),
        window=window,
    )
    return RenderingQuery(parameters, others)


def _size(given: dict[str, str]) -> Viewport | None:
    """9.5.2.5: the most rows and columns; one alone leaves the other to the aspect of the image."""
    rows = positive_integer(given["rows"], "rows") if "rows" in given else None
    columns = positive_integer(given["columns"], "columns") if "columns" in given else None
    if rows is None and columns is None:
        return None
    if rows is None and columns is not None:
        rows = max(1, min(MAX_OUTPUT_EDGE, MAX_OUTPUT_PIXELS // columns))
    elif columns is None and rows is not None:
        columns = max(1, min(MAX_OUTPUT_EDGE, MAX_OUTPUT_PIXELS // rows))
    return Viewport(columns or 1, rows or 1)


def _window(given: dict[str, str]) -> Window | None:
    """9.5.1.2.6: center and width together, in the linear function."""
    names = [name for name in ("windowCenter", "windowWidth") if name in given]
    if not names:
        return None
    if len(names) == 1:
        raise InvalidParameter("windowCenter and windowWidth come together (PS3.18 9.5.1.2.6)")
    center, width = (decimal(given[name].strip(), name) for name in names)
    return Window(center, width, VoiFunction.LINEAR)


def _region(text: str) -> Region:
    """9.5.2.4: xmin,ymin,xmax,ymax as fractions from 0 to 1."""
    items = [decimal(item.strip(), "region") for item in text.split(",")[:5]]
    if len(items) != 4:
        raise InvalidParameter("region is xmin,ymin,xmax,ymax (PS3.18 9.5.2.4)")
    left, top, right, bottom = items
    if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
        raise InvalidParameter("region lies between 0 and 1, each minimum below its maximum (PS3.18 9.5.2.4)")
    return left, top, right, bottom


def _presentation(given: dict[str, str], study: str) -> InstanceRef | None:
    names = [name for name in ("presentationSeriesUID", "presentationUID") if name in given]
    if not names:
        return None
    if len(names) == 1:
        raise InvalidParameter("presentationSeriesUID and presentationUID come together (PS3.18 9.5.1)")
    series, instance = (given[name] for name in names)
    if not (is_uid(series) and is_uid(instance)):
        raise InvalidUid("presentationSeriesUID and presentationUID are UIDs")
    return InstanceRef(study, series, instance)
