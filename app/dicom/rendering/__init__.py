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
"""

from app.dicom.rendering.animation import ANIMATION_MEDIA_TYPES, encode_animation, frame_time
from app.dicom.rendering.annotation import SUPPORTED_ANNOTATIONS
from app.dicom.rendering.documents import (
    Category,
    EncapsulatedDocument,
    category_of,
    encapsulated_document,
    stock_label,
    video_media_type,
)
from app.dicom.rendering.encode import ICC_MEDIA_TYPES, IMAGE_MEDIA_TYPES, LOSSY_MEDIA_TYPES, encode_image
from app.dicom.rendering.frames import render_frame
from app.dicom.rendering.icc import apply_icc_profile
from app.dicom.rendering.parameters import IccProfileChoice, RenderingParameters, Viewport, VoiFunction, Window
from app.dicom.rendering.presentation_state import (
    PresentationState,
    ReferencedImage,
    display_order,
    is_presentation_state,
    read_presentation_state,
)
from app.dicom.rendering.source import RenderingSource, needed_bulkdata
from app.dicom.rendering.sr_content import sr_bulkdata
from app.dicom.rendering.sr_text import sr_to_html, sr_to_text
from app.dicom.rendering.thumbnail import representative_frame, stock_thumbnail, thumbnail_viewport

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
    "apply_icc_profile",
    "category_of",
    "display_order",
    "encapsulated_document",
    "encode_animation",
    "encode_image",
    "frame_time",
    "is_presentation_state",
    "needed_bulkdata",
    "read_presentation_state",
    "render_frame",
    "representative_frame",
    "sr_bulkdata",
    "sr_to_html",
    "sr_to_text",
    "stock_label",
    "stock_thumbnail",
    "thumbnail_viewport",
    "video_media_type",
]
