"""The Python dicomweb-client (github.com/ImagingDataCommons/dicomweb-client) against a running Gantry."""

from collections.abc import Iterator
from io import BytesIO

import pydicom
import pytest
from dicomweb_client.api import DICOMwebClient
from requests import HTTPError

from tests.conformance.corpus import Corpus
from tests.conformance.packaged import read
from tests.support.server import Server

NAMES = (
    "ct1",
    "ct2",
    "ct3",
    "sr1",
    "ct-second",
    "frames",
    "gray",
    "MR_small_jp2klossless.dcm",
    "MR_small_RLE.dcm",
    "rich",
)
CT = ("ct1", "ct2", "ct3", "sr1", "ct-second")


@pytest.fixture
def client(server: Server, corpus: Corpus) -> Iterator[DICOMwebClient]:
    client = DICOMwebClient(server.base_url)
    client.set_http_retry_params(retry=False)
    answer = client.store_instances([read(corpus[name].data) for name in NAMES if name != "rich"])
    assert len(answer.ReferencedSOPSequence) == len(NAMES) - 1
    assert "FailedSOPSequence" not in answer
    yield client
    client._session.close()


def written(dataset: pydicom.Dataset) -> bytes:
    buffer = BytesIO()
    dataset.save_as(buffer)
    return buffer.getvalue()


def test_store_of_one_study(server: Server, corpus: Corpus) -> None:
    client = DICOMwebClient(server.base_url)
    item = corpus["gray"]
    answer = client.store_instances([read(item.data)], study_instance_uid=item.study)
    assert answer.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == item.instance
    assert answer.RetrieveURL == f"{server.base_url}{item.study_path}"
    client._session.close()


def test_searches(client: DICOMwebClient, corpus: Corpus) -> None:
    item = corpus["ct1"]
    (study,) = client.search_for_studies(search_filters={"PatientID": item.patient_id})
    assert study["0020000D"]["Value"] == [item.study]
    found = client.search_for_studies(search_filters={"StudyInstanceUID": item.study, "PatientName": "Doe^J*"})
    assert len(found) == 1
    assert client.search_for_studies(search_filters={"PatientID": corpus.token + "-nobody"}) == []
    assert len(client.search_for_studies(fuzzymatching=True, search_filters={"PatientID": item.patient_id})) == 1
    (study,) = client.search_for_studies(fields=["StudyDescription"], search_filters={"StudyInstanceUID": item.study})
    assert study["00081030"]["Value"] == [f"{corpus.token} Thorax"]
    assert len(client.search_for_series(item.study)) == 3
    assert len(client.search_for_series(search_filters={"StudyInstanceUID": item.study, "Modality": "CT"})) == 2
    several = {"SeriesInstanceUID": [item.series, corpus["sr1"].series]}  # given once for each, as wsidicom does
    assert len(client.search_for_series(item.study, search_filters=several)) == 2
    assert len(client.search_for_instances(item.study)) == 5
    assert len(client.search_for_instances(item.study, item.series, limit=2)) == 2
    assert len(client.search_for_instances(item.study, item.series, limit=2, offset=2)) == 1
    paged = client.search_for_instances(item.study, limit=2, get_remaining=True)
    assert len({one["00080018"]["Value"][0] for one in paged}) == len(paged) == 5


@pytest.mark.parametrize("transfer_syntaxes", [None, "*"])
def test_retrieves(client: DICOMwebClient, corpus: Corpus, transfer_syntaxes: str | None) -> None:
    item = corpus["ct1"]
    media_types = (("application/dicom", transfer_syntaxes),) if transfer_syntaxes else None
    study = client.retrieve_study(item.study, media_types=media_types)
    assert {dataset.SOPInstanceUID for dataset in study} == {corpus[name].instance for name in CT}
    series = client.retrieve_series(item.study, item.series, media_types=media_types)
    assert len(series) == 3
    by_uid = {str(dataset.SOPInstanceUID): dataset for dataset in [*study, *series]}
    for name in CT:
        assert by_uid[corpus[name].instance] == read(corpus[name].data)
    assert len(list(client.iter_study(item.study, media_types=media_types))) == 5
    assert len(list(client.iter_series(item.study, item.series, media_types=media_types))) == 3


def test_retrieve_instance_decoded_and_as_stored(client: DICOMwebClient, corpus: Corpus) -> None:
    for name in ("MR_small_jp2klossless.dcm", "MR_small_RLE.dcm"):
        item = corpus[name]
        explicit = (("application/dicom", "1.2.840.10008.1.2.1"),)
        decoded = client.retrieve_instance(item.study, item.series, item.instance, media_types=explicit)
        assert decoded.PixelData == corpus.mr_pixels
        assert client.retrieve_instance(item.study, item.series, item.instance) == read(item.data)  # it asks for `*`
        stored = client.retrieve_instance(
            item.study, item.series, item.instance, media_types=(("application/dicom", "*"),)
        )
        assert stored == read(item.data)
        assert stored.file_meta.TransferSyntaxUID == item.syntax


def test_metadata(client: DICOMwebClient, corpus: Corpus) -> None:
    item = corpus["ct1"]
    assert len(client.retrieve_study_metadata(item.study)) == 5
    assert len(client.retrieve_series_metadata(item.study, item.series)) == 3
    metadata = client.retrieve_instance_metadata(item.study, item.series, item.instance)
    dataset = pydicom.Dataset.from_json(metadata, bulk_data_uri_handler=lambda tag, vr, uri: b"")
    stored = read(item.data)
    for element in stored:
        if element.tag != 0x7FE00010:
            assert dataset[element.tag].value == element.value


@pytest.mark.parametrize(
    "media_types", [None, ("application/octet-stream",), (("application/octet-stream", "*"),), ("*/*",)]
)
def test_native_frames(client: DICOMwebClient, corpus: Corpus, media_types: tuple[str, ...] | None) -> None:
    item = corpus["frames"]
    frames = client.retrieve_instance_frames(item.study, item.series, item.instance, [1, 3, 5], media_types=media_types)
    assert frames == [item.pixels[start : start + 15] for start in (0, 30, 60)]
    iterated = client.iter_instance_frames(item.study, item.series, item.instance, [2], media_types=media_types)
    assert list(iterated) == [item.pixels[15:30]]


@pytest.mark.parametrize(
    "media_types",
    [
        (("image/jp2", "1.2.840.10008.1.2.4.90"),),
        ("image/jp2",),
        (("image/jls", "1.2.840.10008.1.2.4.80"), ("image/jp2", "1.2.840.10008.1.2.4.90")),
        (("image/jp2", "*"),),
        (("application/octet-stream", "*"),),
    ],
)
def test_compressed_frames(client: DICOMwebClient, corpus: Corpus, media_types: tuple[str, ...]) -> None:
    item = corpus["MR_small_jp2klossless.dcm"]
    (frame,) = client.retrieve_instance_frames(item.study, item.series, item.instance, [1], media_types=media_types)
    assert frame.rstrip(b"\0") == corpus.mr_codestream.rstrip(b"\0")


def test_bulkdata(client: DICOMwebClient, corpus: Corpus, server: Server) -> None:
    item = corpus["ct1"]
    metadata = client.retrieve_instance_metadata(item.study, item.series, item.instance)
    uri = metadata["7FE00010"]["BulkDataURI"]
    # This client sends Host without the port, and follows the URI as it came.
    assert uri.startswith(server.base_url)
    for media_types in (None, ("application/octet-stream",), (("application/octet-stream", "*"),)):
        (value,) = client.retrieve_bulkdata(uri, media_types=media_types)
        assert value == item.pixels
    byte_range = client.retrieve_bulkdata(uri, media_types=("application/octet-stream",), byte_range=(0, 9))
    assert byte_range[0][:10] == item.pixels[:10]


def test_bytes_are_identical(client: DICOMwebClient, corpus: Corpus) -> None:
    for name in NAMES[:-1]:
        item = corpus[name]
        stored = client.retrieve_instance(
            item.study, item.series, item.instance, media_types=(("application/dicom", "*"),)
        )
        assert written(stored) == written(read(item.data))


def test_delete(client: DICOMwebClient, corpus: Corpus) -> None:
    item = corpus["ct1"]
    client.delete_instance(item.study, item.series, item.instance)
    with pytest.raises(HTTPError, match="410"):
        client.retrieve_instance_metadata(item.study, item.series, item.instance)
    assert len(client.search_for_instances(item.study, item.series)) == 2
    client.delete_series(item.study, item.series)
    assert len(client.search_for_series(item.study)) == 2
    client.delete_study(item.study)
    assert client.search_for_studies(search_filters={"StudyInstanceUID": item.study}) == []


def test_errors_reach_the_caller(client: DICOMwebClient) -> None:
    with pytest.raises(HTTPError, match="404"):
        client.retrieve_study("2.25.1")
    with pytest.raises(HTTPError, match="404"):
        client.retrieve_study_metadata("2.25.1")
