"""Small images that stand for something larger (PS3.18 8.3.5.2): what they show and how large they are."""

from app.dicom.rendering.parameters import Viewport
from app.errors import InvalidParameter

THUMBNAIL_EDGE = 200


def thumbnail_viewport(viewport: Viewport | None) -> Viewport:
    """The size to render a thumbnail in. Raises InvalidParameter when more than a size is asked for."""
    if viewport is None:
        return Viewport(THUMBNAIL_EDGE, THUMBNAIL_EDGE)
    if viewport.selects_region:
        raise InvalidParameter("the viewport of a thumbnail is width and height")
    return viewport


def representative_frame(number_of_frames: int) -> int:
    """The middle one: the first is often empty."""
    return max(1, number_of_frames) // 2 + 1 if number_of_frames > 1 else 1
