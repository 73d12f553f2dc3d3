"""Stores of metadata and bulkdata, written part by part (PS3.18 10.5.1.4, 8.6.1.2)."""

import io
import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from xml.sax.saxutils import escape

import httpx
from PIL import Image

from tests.conformance.instances import SECONDARY_CAPTURE, Maker
from tests.support.http import JSON, Peer

NATIVE_MODEL = "http://dicom.nema.org/PS3.19/models/NativeDICOM"
JSON_TYPE, XML_TYPE = "application/dicom+json", "application/dicom+xml"
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Part:
    """One part; headers without their ends of line."""

    body: bytes
    content_type: str | None
    location: str | None = None
    headers: tuple[str, ...] = ()

    def lines(self) -> bytes:
        lines = list(self.headers)
        if self.content_type is not None:
            lines.append(f"Content-Type: {self.content_type}")
        if self.location is not None:
            lines.append(f"Content-Location: {self.location}")
        return "".join(f"{line}\r\n" for line in lines).encode()


def json_part(*datasets: Json) -> Part:
    return Part(json.dumps(datasets, ensure_ascii=False).encode(), JSON_TYPE)


def xml_part(dataset: Json, **how: bool) -> Part:
    return Part(native_xml(dataset, **how), XML_TYPE)


def multipart(parts: Sequence[Part], boundary: str) -> bytes:
    delimiter = b"--" + boundary.encode()
    body = b"".join(delimiter + b"\r\n" + part.lines() + b"\r\n" + part.body + b"\r\n" for part in parts)
    return body + delimiter + b"--\r\n"


def send(
    peer: Peer,
    *parts: Part,
    kind: str | None = JSON_TYPE,
    path: str = "/studies",
    accept: str = JSON,
    cut: int = 0,
) -> httpx.Response:
    """`kind` is the type parameter of the message, None leaves it away; `cut` bytes are left out at the end."""
    boundary = f"conformance-{secrets.token_hex(12)}"
    content_type = f"multipart/related; boundary={boundary}" + (f'; type="{kind}"' if kind else "")
    body = multipart(parts, boundary)
    return peer.request(
        "POST", path, accept=accept, headers={"Content-Type": content_type}, content=body[: len(body) - cut]
    )


def metadata(maker: Maker, patient: str, sop_class: str = SECONDARY_CAPTURE, **elements: Json) -> Json:
    """The data set of a new instance; `elements` by `_tag`."""
    uids = maker.uids
    dataset: Json = {
        "00080016": {"vr": "UI", "Value": [sop_class]},
        "00080018": {"vr": "UI", "Value": [uids.new()]},
        "00080020": {"vr": "DA", "Value": ["20240201"]},
        "00080030": {"vr": "TM"},
        "00080060": {"vr": "CS", "Value": ["OT"]},
        "00100010": {"vr": "PN", "Value": [{"Alphabetic": f"{maker.token}^{patient}"}]},
        "00100020": {"vr": "LO", "Value": [f"{maker.token}-{patient}"]},
        "0020000D": {"vr": "UI", "Value": [uids.new()]},
        "0020000E": {"vr": "UI", "Value": [uids.new()]},
        "00200013": {"vr": "IS", "Value": [1]},
    }
    return dataset | {tag.lstrip("_"): element for tag, element in elements.items()}


def reference(uri: str, vr: str = "OB") -> Json:
    return {"vr": vr, "BulkDataURI": uri}


def number(*values: int) -> Json:
    return {"vr": "US", "Value": list(values)}


def code(*values: str) -> Json:
    return {"vr": "CS", "Value": list(values)}


def grey(rows: int, columns: int, bits: int = 8) -> dict[str, Json]:
    """The description of an uncompressed image, for `metadata`."""
    return {
        "_00280002": number(1),
        "_00280004": code("MONOCHROME2"),
        "_00280010": number(rows),
        "_00280011": number(columns),
        "_00280100": number(bits),
        "_00280101": number(bits),
        "_00280102": number(bits - 1),
        "_00280103": number(0),
    }


def path_of(dataset: Json) -> str:
    study, series, instance = (dataset[tag]["Value"][0] for tag in ("0020000D", "0020000E", "00080018"))
    return f"/studies/{study}/series/{series}/instances/{instance}"


def native_xml(dataset: Json, *, capitals: bool = False) -> bytes:
    """Native DICOM Model (PS3.19 A.1.5). `capitals`: attribute names as the example in PS3.18 Annex B.23 has them."""
    root = f'<?xml version="1.0" encoding="UTF-8"?><NativeDicomModel xmlns="{NATIVE_MODEL}" xml:space="preserve">'
    return (root + _attributes(dataset, capitals) + "</NativeDicomModel>").encode()


def _attributes(dataset: Json, capitals: bool) -> str:
    tag_name, vr_name = ("Tag", "VR") if capitals else ("tag", "vr")
    return "".join(
        f'<DicomAttribute {tag_name}="{tag}" {vr_name}="{element["vr"]}">{_content(element, capitals)}</DicomAttribute>'
        for tag, element in sorted(dataset.items())
    )


def _content(element: Json, capitals: bool) -> str:
    if "BulkDataURI" in element:
        return f'<BulkData uri="{escape(element["BulkDataURI"])}"/>'
    if "InlineBinary" in element:
        return f"<InlineBinary>{element['InlineBinary']}</InlineBinary>"
    pieces = []
    for position, value in enumerate(element.get("Value", []), 1):
        if element["vr"] == "SQ":
            pieces.append(f'<Item number="{position}">{_attributes(value, capitals)}</Item>')
        elif element["vr"] == "PN":
            family, _, given = value["Alphabetic"].partition("^")
            name = f"<FamilyName>{escape(family)}</FamilyName><GivenName>{escape(given)}</GivenName>"
            pieces.append(f'<PersonName number="{position}"><Alphabetic>{name}</Alphabetic></PersonName>')
        else:
            pieces.append(f'<Value number="{position}">{escape(str(value))}</Value>')
    return "".join(pieces)


def picture(maker: Maker, rows: int, columns: int, mode: str = "RGB") -> Image.Image:
    """Random pixels, smooth enough to be compressed."""
    small = Image.frombytes("RGB", (8, 8), maker.uids.bytes(192))
    return small.resize((columns, rows), Image.Resampling.BICUBIC).convert(mode)


def encoded(image: Image.Image, form: str, **how: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **how)
    return buffer.getvalue()


def jpeg(image: Image.Image, **how: Any) -> bytes:
    """Baseline, of even length: DICOM pads fragments to an even one, and then the bytes would not be the same ones."""
    for quality in range(90, 50, -1):
        data = encoded(image, "JPEG", quality=quality, **how)
        if len(data) % 2 == 0:
            return data
    raise AssertionError("no quality gives an even length")
