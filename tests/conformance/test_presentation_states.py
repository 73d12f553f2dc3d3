"""Presentation states as rendered resources: their references, as they say (PS3.18 8.3.5.1.6, PS3.4 Annex N)."""

from typing import Any

import numpy as np
import pytest

from tests.conformance.corpus import Corpus
from tests.conformance.displayed import close, decoded, grey_item, linear, png, ramp, stored
from tests.conformance.encoder import attributes
from tests.conformance.instances import Item, Maker
from tests.support.http import Peer

GRAYSCALE = "1.2.840.10008.5.1.4.1.1.11.1"
BLENDING = "1.2.840.10008.5.1.4.1.1.11.4"
PNG_PARTS = 'multipart/related; type="image/png"'
VALUES = ramp(20, 30, 0, 2000, "<u2")


def presentation_state(
    maker: Maker, name: str, images: list[Item], *, sop_class: str = GRAYSCALE, frames: str = "", **by_keyword: Any
) -> Item:
    """Of images of one series, in the study of the first: window 1000/500, turned into its negative."""
    references = []
    for image in images:
        named: dict[str, Any] = {"ReferencedSOPClassUID": image.sop_class, "ReferencedSOPInstanceUID": image.instance}
        references.append(attributes(**named, **({"ReferencedFrameNumber": frames} if frames else {})))
    series = attributes(SeriesInstanceUID=images[0].series, ReferencedImageSequence=references)
    keywords: dict[str, Any] = {
        "SOPClassUID": sop_class,
        "Modality": "PR",
        "ReferencedSeriesSequence": [series],
        "SoftcopyVOILUTSequence": [attributes(WindowCenter="1000", WindowWidth="500")],
        "PresentationLUTShape": "INVERSE",
        **by_keyword,
    }
    dataset = maker.dataset(
        name, images[0].study, maker.uids.new(), **{k: keywords[k] for k in ("SOPClassUID", "Modality")}
    )
    return maker.item(name, dataset | attributes(**keywords))


def in_series(maker: Maker, first: Item, name: str, number: int, position: float) -> Item:
    """Another image of the same series."""
    changed = attributes(
        SOPInstanceUID=maker.uids.new(),
        StudyInstanceUID=first.study,
        SeriesInstanceUID=first.series,
        InstanceNumber=str(number),
        ImagePositionPatient=f"0\\0\\{position}",
        ImageOrientationPatient="1\\0\\0\\0\\1\\0",
    )
    return maker.item(name, {**first.dataset, **changed})


@pytest.fixture(scope="module")
def image(peer: Peer, corpus: Corpus) -> Item:
    return stored(peer, grey_item(corpus.maker, "presented", VALUES))


@pytest.fixture(scope="module")
def state(peer: Peer, corpus: Corpus, image: Item) -> Item:
    return stored(peer, presentation_state(corpus.maker, "state", [image]))


@pytest.mark.proves("REN-028")
def test_its_image_is_rendered(peer: Peer, image: Item, state: Item) -> None:
    response = peer.get(f"{state.path}/rendered", "image/png")
    assert response.status_code == 200
    assert response.headers["content-location"] == f"{peer.base_url}{image.path}"
    assert close(decoded(response.content), 255 - linear(VALUES, 1000, 500))
    assert not np.array_equal(decoded(response.content), png(peer, f"{image.path}/rendered"))
    (part,) = peer.parts(f"{state.path}/rendered", PNG_PARTS)
    assert part.location == f"{peer.base_url}{image.path}"
    assert part.body == response.content
    assert peer.get(f"{state.path}/rendered").headers["content-type"] == "image/jpeg"


@pytest.mark.proves("REN-028")
def test_all_its_images_in_the_order_of_space(peer: Peer, corpus: Corpus) -> None:
    maker = corpus.maker
    first = grey_item(maker, "stack-1", VALUES)
    images = [in_series(maker, first, f"stack-{n}", n, z) for n, z in ((2, 30.0), (3, 10.0), (4, 20.0))]
    for item in images:
        stored(peer, item)
    several = stored(peer, presentation_state(maker, "several", images))
    parts = peer.parts(f"{several.path}/rendered", PNG_PARTS)
    assert [part.location for part in parts] == [f"{peer.base_url}{images[n].path}" for n in (1, 2, 0)]
    assert peer.get(f"{several.path}/rendered", "image/png").status_code == 406


@pytest.mark.proves("REN-028")
def test_the_frames_it_names(peer: Peer, corpus: Corpus) -> None:
    item = stored(peer, grey_item(corpus.maker, "presented-frames", np.stack([VALUES, VALUES // 2, VALUES // 4])))
    named = stored(peer, presentation_state(corpus.maker, "named-frames", [item], frames="1\\3"))
    parts = peer.parts(f"{named.path}/rendered", PNG_PARTS)
    assert [part.location for part in parts] == [f"{peer.base_url}{item.path}/frames/{n}" for n in (1, 3)]
    assert close(decoded(parts[1].body), 255 - linear(VALUES // 4, 1000, 500))


@pytest.mark.proves("REN-029")
def test_it_has_its_own_window(peer: Peer, state: Item) -> None:
    assert peer.get(f"{state.path}/rendered", "*/*", "window=40,400,linear").status_code == 400


@pytest.mark.proves("REN-030")
def test_only_its_size_can_be_chosen(peer: Peer, state: Item) -> None:
    for viewport in ("10,10,0,0,5,5", "10,10,0", "10,10,,,-5", "10,10,0,0"):
        assert peer.get(f"{state.path}/rendered", "*/*", f"viewport={viewport}").status_code == 400
    for viewport, shape in (("15,15", (10, 15)), ("60,60", (40, 60))):
        assert png(peer, f"{state.path}/rendered", f"viewport={viewport}").shape == shape


def test_displayed_area_and_rotation(peer: Peer, corpus: Corpus, image: Item) -> None:
    area = attributes(
        DisplayedAreaTopLeftHandCorner=(11, 6),
        DisplayedAreaBottomRightHandCorner=(20, 15),
        PresentationSizeMode="SCALE TO FIT",
    )
    turned = stored(
        peer,
        presentation_state(
            corpus.maker,
            "turned",
            [image],
            DisplayedAreaSelectionSequence=[area],
            ImageRotation=(90,),
            ImageHorizontalFlip="N",
        ),
    )
    shown = png(peer, f"{turned.path}/rendered")
    expected = (255 - linear(VALUES, 1000, 500))[5:15, 10:20]
    assert close(shown, np.rot90(expected, -1))


def test_what_it_depends_on_changes_its_tag(peer: Peer, image: Item, state: Item) -> None:
    tag = peer.get(f"{state.path}/rendered", "image/png").headers["etag"]
    assert tag != peer.get(f"{image.path}/rendered", "image/png").headers["etag"]
    assert peer.get(f"{state.path}/rendered", "image/png", If_None_Match=tag).status_code == 304


def test_what_cannot_be_rendered_is_said(peer: Peer, corpus: Corpus, image: Item) -> None:
    gone = grey_item(corpus.maker, "never-stored", VALUES)
    orphan = stored(peer, presentation_state(corpus.maker, "orphan", [gone]))
    blending = stored(peer, presentation_state(corpus.maker, "blending", [image], sop_class=BLENDING))
    empty = stored(peer, presentation_state(corpus.maker, "no-references", [image], ReferencedSeriesSequence=[]))
    beyond = stored(peer, presentation_state(corpus.maker, "beyond", [image], frames="7"))
    for item in (orphan, blending, empty, beyond):
        response = peer.get(f"{item.path}/rendered")
        assert response.status_code == 406
        assert "presentation state" in response.text
        assert peer.get(f"{item.path}/thumbnail").status_code == 200


def test_among_the_images_of_its_study(peer: Peer, corpus: Corpus, image: Item, state: Item) -> None:
    every = {(part.location, part.body) for part in peer.parts(f"{image.study_path}/rendered", PNG_PARTS)}
    shown = peer.get(f"{state.path}/rendered", "image/png").content
    plain = peer.get(f"{image.path}/rendered", "image/png").content
    assert {(f"{peer.base_url}{image.path}", body) for body in (shown, plain)} <= every
    # A window is for images: what has its own is left out.
    windowed = peer.parts(f"{image.study_path}/rendered", PNG_PARTS, "window=500,500,linear")
    assert shown not in [part.body for part in windowed]
    assert len(windowed) < len(every)
