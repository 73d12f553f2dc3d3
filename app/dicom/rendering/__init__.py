"""Rendered images: a native frame and its attributes in, a displayable image and its bytes out (PS3.18 8.3.5, 8.7.4).

    source = RenderingSource(image, attributes, bulk)             bulk: the values that needed_bulkdata names
    pixels = render_frame(frame, source, 1, parameters, state)    8 bits, grey or RGB
    pixels, icc = apply_icc_profile(pixels, source, parameters.iccprofile, state)
    body = encode_image(pixels, "image/jpeg", quality=parameters.quality, icc=icc)
    pieces = encode_animation(frames, "image/gif", frame_time(attributes))
    page = sr_to_html(attributes, bulk)                           bulk: the values that sr_bulkdata names

`category_of` says which of these an instance takes, `stock_thumbnail` draws what stands for one without pixels.

Pure: no I/O. Blocking and thread safe. What cannot be shown raises CodecError or NotAcceptable, what was asked wrongly
InvalidParameter; nothing else, whatever the attributes say.

What works on pixels is imported when it is first asked for, as an attribute of this package: numpy, Pillow and the codecs are
0.3 s and 25 MB of a process that never draws.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from app.dicom.rendering.documents import (
    Category,
    EncapsulatedDocument,
    category_of,
    encapsulated_document,
    is_presentation_state,
    stock_label,
    video_media_type,
)
from app.dicom.rendering.media_types import (
    ANIMATION_MEDIA_TYPES,
    ICC_MEDIA_TYPES,
    IMAGE_MEDIA_TYPES,
    LOSSY_MEDIA_TYPES,
)
from app.dicom.rendering.parameters import (
    SUPPORTED_ANNOTATIONS,
    IccProfileChoice,
    RenderingParameters,
    Viewport,
    VoiFunction,
    Window,
)
from app.dicom.rendering.source import RenderingSource, needed_bulkdata
from app.dicom.rendering.sr_content import sr_bulkdata
from app.dicom.rendering.sr_text import sr_to_html, sr_to_text
from app.dicom.rendering.thumbnail import representative_frame, thumbnail_viewport

if TYPE_CHECKING:
    from app.dicom.rendering.animation import encode_animation, frame_time
    from app.dicom.rendering.annotation import annotate, is_illegible
    from app.dicom.rendering.encode import encode_image
    from app.dicom.rendering.frames import render_frame
    from app.dicom.rendering.icc import apply_icc_profile
    from app.dicom.rendering.presentation_state import (
        PresentationState,
        ReferencedImage,
        display_order,
        read_presentation_state,
    )
    from app.dicom.rendering.region import plan_region, resample
    from app.dicom.rendering.stock import stock_thumbnail

_LATER = {
    "PresentationState": "presentation_state",
    "ReferencedImage": "presentation_state",
    "annotate": "annotation",
    "apply_icc_profile": "icc",
    "display_order": "presentation_state",
    "encode_animation": "animation",
    "encode_image": "encode",
    "frame_time": "animation",
    "is_illegible": "annotation",
    "plan_region": "region",
    "read_presentation_state": "presentation_state",
    "render_frame": "frames",
    "resample": "region",
    "stock_thumbnail": "stock",
}


def __getattr__(name: str) -> Any:
    """PEP 562. Threads may ask at the same time: importing has its own locks."""
    module = _LATER.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{module}"), name)


__all__ = [
    "ANIMATION_MEDIA_TYPES",
    "ICC_MEDIA_TYPES",
    "IMAGE_MEDIA_TYPES",
    "LOSSY_MEDIA_TYPES",
    "SUPPORTED_ANNOTATIONS",
    "Category",
    "EncapsulatedDocument",
    "IccProfileChoice",
    "PresentationState",
    "ReferencedImage",
    "RenderingParameters",
    "RenderingSource",
    "Viewport",
    "VoiFunction",
    "Window",
    "annotate",
    "apply_icc_profile",
    "category_of",
    "display_order",
    "encapsulated_document",
    "encode_animation",
    "encode_image",
    "frame_time",
    "is_illegible",
    "is_presentation_state",
    "needed_bulkdata",
    "plan_region",
    "read_presentation_state",
    "render_frame",
    "representative_frame",
    "resample",
    "sr_bulkdata",
    "sr_to_html",
    "sr_to_text",
    "stock_label",
    "stock_thumbnail",
    "thumbnail_viewport",
    "video_media_type",
]
