"""Retrieve Capabilities (PS3.18 8.9, Annex H)."""

import csv
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.support.http import Peer

WADL = "application/vnd.sun.wadl+xml"
NAMESPACE = "{http://wadl.dev.java.net/2009/02}"

# PS3.18 Table 10.3-2: the resources of the Studies Service that a server of retrieve, store and search must have.
REQUIRED = {
    "/studies": {"GET", "POST"},
    "/studies/{}": {"GET", "POST"},
    "/studies/{}/metadata": {"GET"},
    "/studies/{}/series": {"GET"},
    "/studies/{}/instances": {"GET"},
    "/studies/{}/series/{}": {"GET"},
    "/studies/{}/series/{}/metadata": {"GET"},
    "/studies/{}/series/{}/instances": {"GET"},
    "/studies/{}/series/{}/instances/{}": {"GET"},
    "/studies/{}/series/{}/instances/{}/metadata": {"GET"},
    "/studies/{}/series/{}/instances/{}/frames/{}": {"GET"},
    "/series": {"GET"},
    "/instances": {"GET"},
}


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
def test_every_required_resource_with_its_methods(peer: Peer) -> None:
    (listed,) = application(peer).findall(f"{NAMESPACE}resources")
    found = resources(listed)
    for path, methods in REQUIRED.items():
        assert path in found, path
        named = {method.get("name") for method in found[path].findall(f"{NAMESPACE}method")}
        assert methods <= named, path


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
