"""What instances without images are rendered as: reports as text, documents and videos as the streams that they hold."""

import base64
import binascii
from collections.abc import AsyncIterator
from dataclasses import dataclass

import orjson

from app.db.locate import InstanceLocation
from app.db.locate_frames import locate_frames
from app.dicom import frame_index
from app.dicom.instance import DicomJson
from app.dicom.rendering import encapsulated_document, sr_bulkdata, sr_to_html, sr_to_text, video_media_type
from app.dicom.xml_model import to_native_xml
from app.errors import NotAcceptable, TooLarge
from app.services.archive import Archive
from app.services.bulkdata import BulkdataValue, open_bulkdata, read_bulkdata, read_runs, retrieve_bulkdata
from app.services.metadata import retrieve_metadata
from app.services.renderables import Renderable, read_values, with_attributes


@dataclass(frozen=True, slots=True)
class StoredStream:
    """A document or a video inside of an instance, `size` bytes.

    runs    (offset, length) in the blob of what is joined, for a video
    value   the encapsulated document where it is a value of its own
    inline  the encapsulated document where the metadata holds it
    """

    media_type: str
    size: int
    location: InstanceLocation
    runs: tuple[tuple[int, int], ...] = ()
    value: BulkdataValue | None = None
    inline: bytes = b""


async def render_text(
    archive: Archive, renderable: Renderable, media_type: str, codec: str, charset: str, service_url: str
) -> bytes:
    """A report as text/html, text/plain or text/xml, encoded with Python's `codec`, which is called `charset` on the web.

    text/xml is the Native DICOM Model (PS3.19 A.1). Raises NotAcceptable when the character set lacks a character (PS3.18
    8.8.5) or the report is too large, NotFound, Unavailable.
    """
    attributes = (await with_attributes(archive, renderable)).attributes or {}
    if media_type == "text/xml":
        found = [text async for _, text in retrieve_metadata(archive, renderable.ref, service_url)]
        return await archive.codec_threads.run(lambda: _encoded(_xml(found[0], charset), codec, charset))
    values = await read_values(archive, renderable.ref, sr_bulkdata(attributes))

    def write() -> bytes:
        try:
            text = _html(attributes, values, charset) if media_type == "text/html" else sr_to_text(attributes, values)
        except TooLarge as error:
            raise NotAcceptable(str(error)) from error
        return _encoded(text, codec, charset)

    return await archive.codec_threads.run(write)


async def find_stream(archive: Archive, renderable: Renderable) -> StoredStream:
    """The video or the document of an instance. Raises NotAcceptable where it has none, NotFound, Unavailable."""
    location = renderable.location
    if (media_type := video_media_type(location.transfer_syntax_uid)) is not None:
        location, packed = await locate_frames(archive.db, renderable.ref, [1])
        (stream,) = frame_index.locate_frames(packed, [1])  # a video is one frame to the index, whatever it says
        return StoredStream(media_type, stream.length, location, runs=stream.runs)
    attributes = (await with_attributes(archive, renderable)).attributes or {}
    document = encapsulated_document(attributes)
    if document is None:
        raise NotAcceptable("this instance holds no document")
    element = attributes[document.path]
    if "BulkDataURI" in element:
        delivery = await retrieve_bulkdata(archive, renderable.ref, document.path)
        value = await open_bulkdata(archive, delivery)
        size = max(0, value.size)
        size = size if document.length is None else min(size, document.length)
        return StoredStream(document.media_type, size, delivery.location, value=value)
    try:
        inline = base64.b64decode(element.get("InlineBinary", ""))[: document.length]
    except (binascii.Error, ValueError, TypeError):
        inline = b""
    return StoredStream(document.media_type, len(inline), location, inline=inline)


async def read_stream(archive: Archive, stream: StoredStream, offset: int, length: int) -> AsyncIterator[bytes]:
    """`length` bytes from `offset` on. Raises BlobNotFound, Unavailable."""
    if stream.value is not None:
        async for chunk in read_bulkdata(archive, stream.value, offset, length):
            yield chunk
        return
    if stream.inline:
        yield stream.inline[offset : offset + length]
        return
    async for chunk in read_runs(archive.blobs, stream.location.blob_key, stream.runs, offset, length):
        yield chunk


def _html(attributes: DicomJson, values: dict[str, bytes], charset: str) -> str:
    # Nothing of the report stands before the head's own declaration.
    return sr_to_html(attributes, values).replace('<meta charset="utf-8">', f'<meta charset="{charset}">', 1)


def _xml(text: bytes, charset: str) -> str:
    document = to_native_xml(orjson.loads(text)).decode("utf-8")
    return document.replace('encoding="UTF-8"', f'encoding="{charset}"', 1)


def _encoded(text: str, codec: str, charset: str) -> bytes:
    try:
        return text.encode(codec)
    except UnicodeEncodeError as error:
        raise NotAcceptable(f"{charset} lacks characters of this text (PS3.18 8.8.5)") from error
