"""Files taken apart into metadata and bulkdata, and put together again, in memory."""

from datetime import UTC, datetime
from typing import Any

import orjson

from app.dicom.assembly import Assembled, assemble
from app.dicom.conversion_plan import Copy, Literal
from app.dicom.deflated import inflate_data_set
from app.dicom.frame_index import frame_count, locate_frames
from app.dicom.header import parse_instance
from app.dicom.instance import INSTANCE_URL_MARK, DicomJson, ParsedInstance
from app.dicom.json_reader import read_json_instances, read_metadata
from app.dicom.metadata_elements import Payload
from app.dicom.transfer_syntaxes import EXPLICIT_VR_BIG_ENDIAN, TRANSFER_SYNTAXES
from app.dicom.xml_model import to_native_xml
from app.dicom.xml_reader import read_native_xml

URL = "http://peer.example/studies/1/series/2/instances/3"
NOW = datetime(2026, 2, 1, 12, 30, tzinfo=UTC)


def json_of(parsed: ParsedInstance) -> list[dict[str, Any]]:
    """The metadata as a client would get it."""
    loaded: dict[str, Any] = orjson.loads(parsed.json.replace(INSTANCE_URL_MARK, URL.encode()))
    return [loaded]


def through_json(parsed: ParsedInstance) -> DicomJson:
    (dataset,) = read_json_instances(orjson.dumps(json_of(parsed)).decode())
    return dataset


def through_xml(parsed: ParsedInstance) -> DicomJson:
    return read_native_xml(to_native_xml(json_of(parsed)[0]))


def bulkdata_of(data: bytes, parsed: ParsedInstance) -> tuple[dict[str, list[Payload]], bytes]:
    """Parts by URI as a WADO-RS server would send them, and the spool that they lie in."""
    syntax = TRANSFER_SYNTAXES[parsed.transfer_syntax_uid]
    spool = inflate_data_set(data[parsed.dataset_offset :]) if syntax.deflated else data
    parts: dict[str, list[Payload]] = {}
    for item in parsed.bulkdata:
        uri = f"{URL}/bulkdata/{item.path}"
        if item.length >= 0:
            assert parsed.transfer_syntax_uid != EXPLICIT_VR_BIG_ENDIAN or item.vr in ("OB", "UN", "UT", "LT")
            parts[uri] = [Payload("application/octet-stream", "", item.offset, item.length)]
            continue
        parts[uri] = []
        for frame in locate_frames(parsed.frame_index, range(1, frame_count(parsed.frame_index) + 1)):
            frame_bytes = b"".join(spool[offset : offset + length] for offset, length in frame.runs)
            kind = syntax.media_type or "application/octet-stream"
            parts[uri].append(Payload(kind, parsed.transfer_syntax_uid, len(spool), len(frame_bytes)))
            spool += frame_bytes
    return parts, spool


def rebuilt(dataset: DicomJson, parts: dict[str, list[Payload]], spool: bytes) -> tuple[bytes, Assembled]:
    """The file that the metadata and the parts make."""
    assembled = assemble(
        read_metadata(dataset), lambda uri: parts.get(uri, ()), memoryview(spool), max_decoded_bytes=1 << 26, now=NOW
    )
    return execute(assembled, spool), assembled


def execute(assembled: Assembled, spool: bytes) -> bytes:
    pieces = []
    for segment in assembled.plan.segments:
        if isinstance(segment, Literal):
            pieces.append(segment.data)
        else:
            assert isinstance(segment, Copy)
            pieces.append(spool[segment.offset : segment.offset + segment.length])
    data = b"".join(pieces)
    assert len(data) == assembled.plan.length
    return data


def plain_json(data: bytes) -> Any:
    """The JSON of a file without URLs, to be compared."""
    return orjson.loads(parse_instance(data).json.replace(INSTANCE_URL_MARK, b""))
