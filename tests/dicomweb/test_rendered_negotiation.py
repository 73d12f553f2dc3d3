"""Which rendered media types a client gets, by category and number of images (PS3.18 8.7.4, 8.7.5, 8.7.8)."""

import pytest

from app.dicomweb.negotiation import Resource, negotiate
from app.dicomweb.resources import DICOM_TYPES, OFFERS, RENDERED_RESOURCES, RENDERED_TYPES
from app.errors import InvalidParameter, NotAcceptable

BROWSER = "text/html,application/xhtml+xml,image/avif,image/webp,*/*;q=0.8"
IMAGE_TAG = "image/avif,image/webp,image/apng,image/*,*/*;q=0.8"


def parts(media_type: str) -> str:
    return f'multipart/related; type="{media_type}"'


CHOSEN = [
    # resource, items, Accept, media type, multipart
    (Resource.RENDERED_SINGLE_FRAME, 1, "*/*", "image/jpeg", False),
    (Resource.RENDERED_SINGLE_FRAME, 1, "image/*", "image/jpeg", False),
    (Resource.RENDERED_SINGLE_FRAME, 1, BROWSER, "image/jpeg", False),
    (Resource.RENDERED_SINGLE_FRAME, 1, "image/gif, image/png;q=0.9", "image/gif", False),
    (Resource.RENDERED_SINGLE_FRAME, 1, "image/jpeg;q=0, image/*", "image/png", False),
    (Resource.RENDERED_SINGLE_FRAME, 1, parts("image/png"), "image/png", True),
    (Resource.RENDERED_SINGLE_FRAME, 1, "image/png; transfer-syntax=1.2.840.10008.1.2.4.70", "image/png", False),
    (Resource.RENDERED_SINGLE_FRAME, 2, "*/*", "image/jpeg", True),
    (Resource.RENDERED_SINGLE_FRAME, None, parts("*/*"), "image/jpeg", True),
    (Resource.RENDERED_MULTI_FRAME, 1, "*/*", "image/jpeg", True),
    (Resource.RENDERED_MULTI_FRAME, 1, "image/gif", "image/gif", False),
    (Resource.RENDERED_MULTI_FRAME, 1, IMAGE_TAG, "image/gif", False),
    (Resource.RENDERED_MULTI_FRAME, None, parts("image/png"), "image/png", True),
    (Resource.RENDERED_VIDEO, 1, "video/*", "video/mp4", False),
    (Resource.RENDERED_TEXT, 1, BROWSER, "text/html", False),
    (Resource.RENDERED_TEXT, 1, "text/xml, text/plain;q=0.1", "text/xml", False),
    (Resource.RENDERED_TEXT, None, "*/*", "text/html", True),
    (Resource.RENDERED_DOCUMENT, 1, "application/pdf", "application/pdf", False),
    (Resource.THUMBNAIL, None, IMAGE_TAG, "image/jpeg", False),
    (Resource.URI_IMAGE, None, BROWSER, "image/jpeg", False),
    (Resource.URI_IMAGE, None, "application/dicom", "application/dicom", False),
    (Resource.URI_TEXT, None, "*/*", "text/html", False),
    (Resource.URI_OTHER, None, "*/*", "application/dicom", False),
]


@pytest.mark.parametrize(("resource", "items", "accept", "media_type", "multipart"), CHOSEN)
def test_first_choice(resource: Resource, items: int | None, accept: str, media_type: str, multipart: bool) -> None:
    best = negotiate(resource, accept, item_count=items)[0]
    assert (best.media_type, best.multipart) == (media_type, multipart)


@pytest.mark.parametrize(
    ("resource", "items", "accept"),
    [
        (Resource.RENDERED_SINGLE_FRAME, 2, "image/jpeg"),
        (Resource.RENDERED_SINGLE_FRAME, 1, "text/html"),
        (Resource.RENDERED_SINGLE_FRAME, 1, "image/svg+xml"),
        (Resource.RENDERED_MULTI_FRAME, 1, "image/jpeg"),
        (Resource.RENDERED_TEXT, 1, "image/*"),
        (Resource.THUMBNAIL, None, parts("image/jpeg")),
        (Resource.URI_OTHER, None, "image/jpeg"),
        (Resource.RENDERED_SINGLE_FRAME, 1, "application/dicom"),
    ],
)
def test_nothing_fits(resource: Resource, items: int | None, accept: str) -> None:
    with pytest.raises(NotAcceptable):
        negotiate(resource, accept, item_count=items)


@pytest.mark.parametrize("resource", sorted(RENDERED_RESOURCES, key=lambda one: one.name))
@pytest.mark.parametrize("dicom", sorted(DICOM_TYPES))
def test_mixtures(resource: Resource, dicom: str) -> None:
    for rendered in ("image/png", "image/jpeg", "text/html", "video/mp4", parts("image/jpeg")):
        for mixture in (f"{dicom}, {rendered}", f"{rendered};q=0.1, {parts(dicom)}"):
            with pytest.raises(InvalidParameter):
                negotiate(resource, mixture)
        with pytest.raises(InvalidParameter):
            negotiate(resource, "*/*", f"{dicom}, {rendered}")


def test_what_is_rendered_is_of_a_rendered_type() -> None:
    for resource in RENDERED_RESOURCES:
        for offer in OFFERS[resource]:
            assert offer.media_type in RENDERED_TYPES or offer.media_type == "application/dicom"
            assert (offer.media_type in RENDERED_TYPES) == (not offer.transfer_syntaxes)
