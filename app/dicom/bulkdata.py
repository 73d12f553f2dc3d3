"""The list of an instance's bulkdata, packed for one database column."""

from collections.abc import Iterable

import orjson

from app.dicom.instance import BulkdataItem
from app.errors import NotFound


def pack_bulkdata(items: Iterable[BulkdataItem]) -> bytes:
    """b"" for none, else a JSON array of [path, vr, offset, length], and coding where there is one."""
    rows = [(item.path, item.vr, item.offset, item.length, *((item.coding,) if item.coding else ())) for item in items]
    return orjson.dumps(rows) if rows else b""


def unpack_bulkdata(packed: bytes) -> tuple[BulkdataItem, ...]:
    """In the order packed."""
    return tuple(BulkdataItem(*row) for row in orjson.loads(packed)) if packed else ()


def find_bulkdata(packed: bytes, path: str) -> BulkdataItem:
    """The item that a BulkDataURI ends with, e.g. `54000100.1.54001010`. Raises NotFound."""
    for row in orjson.loads(packed) if packed else ():
        if row[0] == path:
            return BulkdataItem(*row)
    raise NotFound(f"no bulkdata at {path[:200]!r}")
