"""Reading the JSON that was prepared when an instance came in."""

from typing import Any

import orjson
import zstandard

from app.dicom.instance import INSTANCE_URL_MARK


def attributes_from_row(stored: bytes) -> dict[str, Any]:
    """The data set of `studies.attributes` or `series.attributes`."""
    value: dict[str, Any] = orjson.loads(stored)
    return value


def metadata_from_row(stored: bytes) -> dict[str, Any]:
    """The data set of `instances.metadata`. Its BulkDataURIs lack the instance they begin with: not to be shown."""
    text = zstandard.ZstdDecompressor().decompress(stored)
    value: dict[str, Any] = orjson.loads(text.replace(INSTANCE_URL_MARK, b""))
    return value
