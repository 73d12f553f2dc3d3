"""Reading the JSON that was prepared when an instance came in."""

import threading
from typing import Any

import orjson
import zstandard

from app.dicom.instance import INSTANCE_URL_MARK

_of_thread = threading.local()


def attributes_from_row(stored: bytes) -> dict[str, Any]:
    """The data set of `studies.attributes` or `series.attributes`."""
    value: dict[str, Any] = orjson.loads(stored)
    return value


def metadata_from_row(stored: bytes) -> dict[str, Any]:
    """The data set of `instances.metadata`. Its BulkDataURIs lack the instance they begin with: not to be shown."""
    value: dict[str, Any] = orjson.loads(unpacked(stored).replace(INSTANCE_URL_MARK, b""))
    return value


def unpacked(stored: bytes) -> bytes:
    """The text of `instances.metadata`. Safe in threads."""
    decompressor = getattr(_of_thread, "decompressor", None)
    if decompressor is None:
        decompressor = _of_thread.decompressor = zstandard.ZstdDecompressor()
    text: bytes = decompressor.decompress(stored)
    return text


def instance_from_row(stored: bytes) -> dict[str, Any]:
    """The data set of `instances.attributes`, or of `instances.metadata` where the former is unknown."""
    return metadata_from_row(stored) if is_packed(stored) else attributes_from_row(stored)


def is_packed(stored: bytes) -> bool:
    """Whether it is of `instances.metadata`: many times as large as it is stored."""
    return not stored.startswith(b"{")
