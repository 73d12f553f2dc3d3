"""What clients are told when the archive itself fails (PS3.18 8.5, Table I.2-2), and what a broken-off answer looks like."""

import socket
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.conformance.corpus import Corpus
from tests.conformance.encoder import RLE, Fragments, attributes
from tests.conformance.instances import MULTIFRAME_BYTE_SC, Maker
from tests.support.http import DICOM_MULTIPART, JSON, Peer
from tests.support.postgres import Template, run_in_thread
from tests.support.server import Server, running_server

pytestmark = pytest.mark.needs("settings")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with running_server(tmp_path / "data") as server:
        yield server


@pytest.fixture
def own(server: Server) -> Iterator[Peer]:
    peer = Peer(server.base_url)
    yield peer
    peer.close()


@pytest.mark.proves("COM-029", "COM-024")
def test_database_that_is_gone(tmp_path: Path, postgres_template: Template, corpus: Corpus) -> None:
    """Reading and storing end in 503, which says when to try again."""
    url = run_in_thread(postgres_template.create())
    with running_server(tmp_path / "data", database_url=url) as server:
        peer = Peer(server.base_url)
        assert peer.get("/studies", JSON).status_code == 200
        run_in_thread(postgres_template.drop(url))
        search, store = peer.get("/studies", JSON), peer.store([corpus["gray"].data])
        peer.close()
    for response in (search, store):
        assert response.status_code == 503
        assert int(response.headers["retry-after"]) > 0
        assert "temporary" in response.text


@pytest.mark.proves("STO-018", "STO-005")
def test_failure_of_the_archive_itself(server: Server, own: Peer, maker: Maker) -> None:
    """The database refuses the rows for no reason of the instance's: 0110H, and nothing is half stored."""
    item = maker.single("unlucky", maker.image(2, 2))
    with closing(sqlite3.connect(server.data_dir / "gantry.sqlite")) as database:
        database.execute("CREATE TRIGGER broken BEFORE INSERT ON instances BEGIN SELECT RAISE(ABORT, 'broken'); END")
        refused = own.store([item.data])
        database.execute("DROP TRIGGER broken")
    assert refused.status_code == 409
    answer = refused.json()
    (failed,) = answer["00081198"]["Value"]
    assert failed["00081197"]["Value"] == [0x0110]
    assert failed["00081155"]["Value"] == [item.instance]
    assert "00081199" not in answer
    assert own.get(item.path + "/metadata", JSON).status_code == 404
    assert own.search("/studies") == []
    assert own.store([item.data]).status_code == 200
    assert own.get(item.path, "application/dicom; transfer-syntax=*").content == item.data


@pytest.mark.proves("RET-047")
def test_first_bytes_come_before_the_last_instance_is_read(server: Server, own: Peer, maker: Maker) -> None:
    """While the client holds the stream, the file of the last instance goes: an answer that had been read before would end
    well. It also must not: a closing delimiter without the last part would be a lie (8.6.1.2)."""
    study, series = maker.uids.new(), maker.uids.new()
    image = maker.image(2048, 2048, bits=16)
    items = [
        maker.item(f"large{number}", maker.dataset("large", study, series, InstanceNumber=str(number)) | image)
        for number in range(1, 6)
    ]
    for item in items:
        assert own.store([item.data]).status_code == 200
    address = urlsplit(own.base_url)
    request = (
        f"GET {address.path}/studies/{study} HTTP/1.1\r\nHost: {address.netloc}\r\n"
        f"Accept: {DICOM_MULTIPART}; transfer-syntax=*\r\nConnection: close\r\n\r\n"
    )
    with socket.socket() as connection:
        connection.settimeout(60)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        connection.connect((address.hostname, address.port))
        connection.sendall(request.encode())
        received = connection.recv(65536)
        assert b" 200 " in received.partition(b"\r\n")[0]
        order = [one["00080018"]["Value"][0] for one in own.metadata(f"/studies/{study}")]
        (last,) = (server.data_dir / "blobs").rglob(f"{order[-1]}-*.dcm")
        last.unlink()
        total = len(received)
        end = received
        while chunk := _received(connection):
            total += len(chunk)
            end = (end + chunk)[-200:]
    assert total > 3 * len(items[0].data)
    assert total < sum(len(item.data) for item in items)
    assert not end.rstrip(b"\r\n").endswith(b"--")


def _received(connection: socket.socket) -> bytes:
    """More of the stream; b"" at its end, however it ends."""
    try:
        return connection.recv(1 << 20)
    except ConnectionError:
        return b""


@pytest.mark.proves("NEG-039")
def test_pixel_data_too_long_for_explicit_little_endian(own: Peer, maker: Maker) -> None:
    """17 frames of 256 MiB are more than 2^32 - 2 bytes: nothing is decoded to find that out.

    Who names Explicit VR Little Endian gets 406 (8.7.8); who names nothing may get it as stored (8.7.3.4), and nothing else.
    """
    frames = Fragments(tuple(bytes([number]) * 64 for number in range(17)))
    module = maker.image(16384, 16384, pixels=frames) | attributes(NumberOfFrames="17")
    item = maker.single("gigantic", module, RLE, SOPClassUID=MULTIFRAME_BYTE_SC)
    assert own.store([item.data]).status_code == 200
    for accept in (DICOM_MULTIPART, "application/dicom"):
        response = own.get(item.path, f"{accept}; transfer-syntax=1.2.840.10008.1.2.1")
        assert response.status_code == 406
        assert len(response.text) > 20
    default = own.get(item.path, "application/dicom")
    assert default.status_code == 406 or default.content == item.data
    whole = own.get(item.path, "application/dicom; transfer-syntax=*")
    assert whole.status_code == 200
    assert whole.content == item.data
