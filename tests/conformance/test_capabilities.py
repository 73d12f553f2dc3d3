"""Retrieve Capabilities (PS3.18 8.9, Annex H)."""

import csv
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.conformance.corpus import Corpus
from tests.support.http import Peer, media_type

WADL = "application/vnd.sun.wadl+xml"
NAMESPACE = "{http://wadl.dev.java.net/2009/02}"

INSTANCE = "/studies/{}/series/{}/instances/{}"
LEVELS = ("/studies/{}", "/studies/{}/series/{}", INSTANCE)

# PS3.18 Table H-1, as far as Table 10.3-2 makes it mandatory for a server of retrieve, store and search.
REQUIRED = {
    "/studies": {"GET", "POST"},
    "/studies/{}": {"GET", "POST"},
    "/studies/{}/series": {"GET"},
    "/studies/{}/instances": {"GET"},
    "/studies/{}/series/{}": {"GET"},
    "/studies/{}/series/{}/instances": {"GET"},
    INSTANCE: {"GET"},
    f"{INSTANCE}/frames/{{}}": {"GET"},
    f"{INSTANCE}/frames/{{}}/rendered": {"GET"},
    "/series": {"GET"},
    "/instances": {"GET"},
    **{f"{level}/{below}": {"GET"} for level in LEVELS for below in ("metadata", "rendered")},
}
# What is optional there, by the feature of the server that has it.
OPTIONAL = {
    "thumbnails": [*(f"{level}/thumbnail" for level in LEVELS), f"{INSTANCE}/frames/{{}}/thumbnail"],
    "bulk-resources": [f"{level}/{below}" for level in LEVELS for below in ("bulkdata", "pixeldata")],
}
Names = dict[str, list[str]]


def application(peer: Peer) -> ElementTree.Element:
    response = peer.request("OPTIONS", "/", accept=WADL)
    assert response.status_code == 200
    assert response.headers["content-type"].startswith(WADL)
    return ElementTree.fromstring(response.content)  # noqa: S314 - our own server's answer


def resources(parent: ElementTree.Element, path: str = "") -> dict[str, ElementTree.Element]:
    found = {}
    for resource in parent.findall(f"{NAMESPACE}resource"):
        below = f"{path}/{resource.get('path', '').strip('/')}".rstrip("/")
        found[re.sub(r"\{[^}]*\}", "{}", below) or "/"] = resource
        found |= resources(resource, below)
    return found


@pytest.mark.proves("COM-001", "COM-003")
def test_wadl_of_the_service(peer: Peer) -> None:
    root = application(peer)
    assert root.tag == f"{NAMESPACE}application"
    (listed,) = root.findall(f"{NAMESPACE}resources")
    assert listed.get("base", "").rstrip("/") == peer.base_url


@pytest.mark.proves("COM-004")
def test_every_resource_with_its_methods(peer: Peer, features: set[str]) -> None:
    (listed,) = application(peer).findall(f"{NAMESPACE}resources")
    found = resources(listed)
    optional = {path: {"GET"} for feature in features & OPTIONAL.keys() for path in OPTIONAL[feature]}
    for path, methods in (REQUIRED | optional).items():
        assert path in found, path
        named = {method.get("name") for method in found[path].findall(f"{NAMESPACE}method")}
        assert methods <= named, path


def parameters(resource: ElementTree.Element) -> Names:
    """Options of each parameter of the resource's own GET, by the parameter's name."""
    return {
        param.get("name", ""): [option.get("value", "") for option in param.findall(f"{NAMESPACE}option")]
        for method in resource.findall(f"{NAMESPACE}method")
        if method.get("name") == "GET"
        for param in method.iter(f"{NAMESPACE}param")
    }


@pytest.mark.proves("COM-004", "COM-039", "SVC-018")
def test_character_sets_are_told_and_can_be_had(peer: Peer, corpus: Corpus) -> None:
    """8.8: the capabilities of a RESTful service document all supported character sets."""
    (listed,) = application(peer).findall(f"{NAMESPACE}resources")
    named = parameters(resources(listed)[f"{INSTANCE}/rendered"])
    names = named["charset"]
    assert "UTF-8" in names
    assert named.get("Accept-Charset", names) == names
    path = f"{corpus['reportsi.dcm'].path}/rendered"
    for name in names:
        response = peer.get(path, "text/plain", f"charset={name}")
        assert response.status_code in (200, 406)  # what cannot be written in it
        if response.status_code == 200:
            assert media_type(response.headers["content-type"])[1]["charset"] == name
    for name in ("KOI8-R", "UTF-16", "windows-1252"):
        if name not in names:
            response = peer.get(path, "text/plain", f"charset={name}")
            assert media_type(response.headers["content-type"])[1]["charset"] == "UTF-8"


@pytest.mark.proves("COM-004")
def test_rendering_is_described(peer: Peer) -> None:
    """8.3.5.1.2: what a quality means stands in the capabilities. All parameters that 8.3.5.1 makes mandatory are there."""
    (listed,) = application(peer).findall(f"{NAMESPACE}resources")
    found = resources(listed)
    for level in (*LEVELS, f"{INSTANCE}/frames/{{}}"):
        rendered = found[f"{level}/rendered"]
        assert parameters(rendered).keys() >= {"accept", "annotation", "quality", "viewport", "window"}
        (quality,) = [one for one in rendered.iter(f"{NAMESPACE}param") if one.get("name") == "quality"]
        assert any(doc.get("title") or doc.text for doc in quality.iter(f"{NAMESPACE}doc"))


@pytest.mark.proves("COM-004")
def test_search_names_its_keys_in_both_forms(peer: Peer) -> None:
    (listed,) = application(peer).findall(f"{NAMESPACE}resources")
    studies = resources(listed)["/studies"]
    names = {param.get("name") for param in studies.iter(f"{NAMESPACE}param")}
    assert {"PatientID", "00100020", "StudyDate", "00080020", "limit", "offset", "includefield"} <= names


@pytest.mark.proves("COM-002")
def test_json_of_the_service(peer: Peer) -> None:
    response = peer.request("OPTIONS", "/", accept="application/json")
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("application/json")
    assert response.json()["application"]["resources"]["base"].rstrip("/") == peer.base_url


@pytest.mark.proves("COM-005")
def test_unchanged_capabilities_are_not_sent_again(peer: Peer) -> None:
    first = peer.request("OPTIONS", "/", accept=WADL)
    again = peer.request("OPTIONS", "/", accept=WADL, headers={"If-None-Match": first.headers["etag"]})
    assert again.status_code == 304
    assert again.content == b""


@pytest.mark.proves("SEC-001")
@pytest.mark.needs("cors")
def test_preflight_is_no_request_for_capabilities(peer: Peer) -> None:
    headers = {"Origin": "https://viewer.example", "Access-Control-Request-Method": "GET"}
    response = peer.request("OPTIONS", "/", headers=headers)
    assert response.status_code in (200, 204)
    assert b"wadl" not in response.content
    assert "access-control-allow-origin" in response.headers


def test_ids_of_the_area_are_known() -> None:
    with (Path(__file__).parent / "acceptance_ids.csv").open(newline="") as file:
        ids = {row["id"] for row in csv.DictReader(file)}
    assert {f"COM-00{number}" for number in range(1, 6)} <= ids
