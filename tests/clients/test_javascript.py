"""dicomweb-client of dcmjs-org, the client inside OHIF, on Node.js against a running Gantry."""

import fcntl
import hashlib
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.corpus import Corpus
from tests.conformance.instances import Item
from tests.support.server import Server

FOLDER = Path(__file__).parent / "js"
CT = ("ct1", "ct2", "ct3", "sr1", "ct-second")


@pytest.fixture(scope="session")
def modules() -> None:
    """What package-lock.json names, installed once; workers of one run wait for each other."""
    installed, lock = FOLDER / "node_modules" / ".package-lock.json", FOLDER / "package-lock.json"
    with (FOLDER / "package.json").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        if installed.exists() and installed.stat().st_mtime >= lock.stat().st_mtime:
            return
        finished = subprocess.run(
            ["npm", "ci", "--silent", "--no-audit", "--no-fund"],
            cwd=FOLDER,
            capture_output=True,
            text=True,
            check=False,
        )
        if finished.returncode:
            pytest.fail(f"npm ci in {FOLDER} failed: {finished.stderr.strip()[-300:]}", pytrace=False)


def run(server: Server, *calls: tuple[str, dict[str, Any]], **options: Any) -> list[Any]:
    """The results of calls of the client, one after the other."""
    node = shutil.which("node")
    assert node is not None
    finished = subprocess.run(
        [node, "client.mjs"],
        cwd=FOLDER,
        input=json.dumps({"url": server.base_url, "calls": calls, **options}),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    results = json.loads(finished.stdout)
    assert isinstance(results, list)
    return results


def seen(data: bytes) -> dict[str, Any]:
    return {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}


def named(item: Item, **more: Any) -> dict[str, Any]:
    return {
        "studyInstanceUID": item.study,
        "seriesInstanceUID": item.series,
        "sopInstanceUID": item.instance,
        **more,
    }


@pytest.fixture
def stored(server: Server, corpus: Corpus, tmp_path: Path, modules: None) -> Corpus:
    """A corpus, some of it sent by the client."""
    files = []
    for name in (*CT, "frames", "MR_small_jp2klossless.dcm", "MR_small_RLE.dcm", "JPEG-lossy.dcm", "rich"):
        file = tmp_path / name
        file.write_bytes(corpus[name].data)
        files.append(str(file))
    (answer,) = run(server, ("storeInstances", {"files": files}))
    assert "error" not in answer, answer
    assert len(answer["00081199"]["Value"]) == len(files)
    assert "00081198" not in answer
    return corpus


def test_store_into_a_study(server: Server, corpus: Corpus, tmp_path: Path, modules: None) -> None:
    item = corpus["gray"]
    file = tmp_path / "gray"
    file.write_bytes(item.data)
    call = ("storeInstances", {"files": [str(file)], "studyInstanceUID": item.study})
    wrong = ("storeInstances", {"files": [str(file)], "studyInstanceUID": "2.25.1"})
    answer, refused = run(server, call, wrong)
    assert answer["00081190"]["Value"] == [server.base_url + item.study_path]
    assert refused["status"] == 409


def test_search(server: Server, stored: Corpus) -> None:
    item = stored["ct1"]
    studies, wildcard, series, instances, nothing, fields = run(
        server,
        ("searchForStudies", {"queryParams": {"PatientID": item.patient_id}}),
        ("searchForStudies", {"queryParams": {"PatientName": "Doe^J*", "StudyInstanceUID": item.study}}),
        ("searchForSeries", {"studyInstanceUID": item.study}),
        ("searchForInstances", {"studyInstanceUID": item.study, "seriesInstanceUID": item.series}),
        ("searchForStudies", {"queryParams": {"PatientID": stored.token + "-nobody"}}),
        (
            "searchForStudies",
            {
                "queryParams": {
                    "StudyInstanceUID": item.study,
                    "includefield": "00081030,00080060",
                    "limit": 101,
                    "offset": 0,
                }
            },
        ),
    )
    assert [study["0020000D"]["Value"] for study in studies] == [[item.study]]
    assert studies[0]["00201208"]["Value"] == [5]
    assert wildcard == studies
    assert len(series) == 3
    assert len(instances) == 3
    assert nothing == []
    assert fields[0]["00081030"]["Value"] == [f"{stored.token} Thorax"]


def test_metadata(server: Server, stored: Corpus) -> None:
    item = stored["ct1"]
    study, series, instance = run(
        server,
        ("retrieveStudyMetadata", {"studyInstanceUID": item.study}),
        ("retrieveSeriesMetadata", {"studyInstanceUID": item.study, "seriesInstanceUID": item.series}),
        ("retrieveInstanceMetadata", named(item)),
    )
    assert (len(study), len(series)) == (5, 3)
    found = instance[0] if isinstance(instance, list) else instance
    assert found["00080018"]["Value"] == [item.instance]
    assert found["7FE00010"]["BulkDataURI"].startswith(server.base_url)


def test_instances(server: Server, stored: Corpus) -> None:
    """As this client asks by default; with media types of its own choice it refuses by itself (0.11.3)."""
    item = stored["ct1"]
    one, series, study = run(
        server,
        ("retrieveInstance", named(item)),
        ("retrieveSeries", {"studyInstanceUID": item.study, "seriesInstanceUID": item.series}),
        ("retrieveStudy", {"studyInstanceUID": item.study}),
    )
    assert one == seen(item.data)
    key = json.dumps
    assert sorted(map(key, series)) == sorted(key(seen(stored[name].data)) for name in ("ct1", "ct2", "ct3"))
    assert sorted(map(key, study)) == sorted(key(seen(stored[name].data)) for name in CT)


def test_default_instance_is_decoded(server: Server, stored: Corpus) -> None:
    (instance,) = run(server, ("retrieveInstance", named(stored["MR_small_RLE.dcm"])))
    assert instance["size"] > len(stored.mr_pixels)


def test_native_frames(server: Server, stored: Corpus) -> None:
    item = stored["frames"]
    expected = [seen(item.pixels[start : start + 15]) for start in (0, 30, 60)]
    for media_types in (
        None,
        [{"mediaType": "application/octet-stream"}],
        [{"mediaType": "application/octet-stream", "transferSyntaxUID": "1.2.840.10008.1.2.1"}],
        [{"mediaType": "application/octet-stream", "transferSyntaxUID": "*"}],
    ):
        options = {"mediaTypes": media_types} if media_types else {}
        (frames,) = run(server, ("retrieveInstanceFrames", named(item, frameNumbers=[1, 3, 5], **options)))
        assert frames == expected


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("MR_small_jp2klossless.dcm", "image/jp2"),
        ("JPEG-lossy.dcm", "image/jpeg"),
        ("MR_small_RLE.dcm", "image/x-dicom-rle"),
    ],
)
def test_compressed_frames(server: Server, stored: Corpus, name: str, kind: str) -> None:
    item = stored[name]
    by_type, by_star, octets, viewer = run(
        server,
        (
            "retrieveInstanceFrames",
            named(item, frameNumbers=[1], mediaTypes=[{"mediaType": kind, "transferSyntaxUID": item.syntax}]),
        ),
        (
            "retrieveInstanceFrames",
            named(item, frameNumbers=[1], mediaTypes=[{"mediaType": "image/*", "transferSyntaxUID": "*"}]),
        ),
        (
            "retrieveInstanceFrames",
            named(
                item, frameNumbers=[1], mediaTypes=[{"mediaType": "application/octet-stream", "transferSyntaxUID": "*"}]
            ),
        ),
        (
            "retrieveInstanceFrames",
            named(
                item,
                frameNumbers=[1],
                mediaTypes=[
                    {"mediaType": kind, "transferSyntaxUID": item.syntax},
                    {"mediaType": "application/octet-stream", "transferSyntaxUID": "1.2.840.10008.1.2.1"},
                ],
            ),
        ),
    )
    assert by_type == by_star == octets, (by_type, by_star, octets)
    if name.startswith("MR_small_jp2k"):
        assert octets == [seen(stored.mr_codestream)]
    assert "error" not in viewer


@pytest.mark.parametrize("singlepart", ["", "bulkdata"])
def test_bulkdata(server: Server, stored: Corpus, singlepart: str) -> None:
    item = stored["rich"]
    (metadata,) = run(server, ("retrieveInstanceMetadata", named(item)))
    dataset = metadata[0] if isinstance(metadata, list) else metadata
    pixels, private, waveform = run(
        server,
        ("retrieveBulkData", {"BulkDataURI": dataset["7FE00010"]["BulkDataURI"]}),
        ("retrieveBulkData", {"BulkDataURI": dataset["00091010"]["BulkDataURI"]}),
        ("retrieveBulkData", {"BulkDataURI": dataset["54000100"]["Value"][0]["54001010"]["BulkDataURI"]}),
        singlepart=singlepart,
    )
    value = item.dataset[0x00091010][1]
    assert isinstance(value, bytes)
    found = [one[0] if isinstance(one, list) else one for one in (pixels, private, waveform)]
    assert found[:2] == [seen(item.pixels), seen(value)]
    assert found[2]["size"] == 4000


def test_errors(server: Server, modules: None) -> None:
    missing, malformed = run(
        server,
        ("retrieveStudyMetadata", {"studyInstanceUID": "2.25.1"}),
        ("searchForStudies", {"queryParams": {"limit": "many"}}),
    )
    assert missing["status"] == 404
    assert malformed["status"] == 400
