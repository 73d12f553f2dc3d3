"""Rendered images read back with Pillow, and what they should show by the formulas of PS3.3, written anew."""

from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tests.conformance.encoder import attributes
from tests.conformance.instances import Item, Maker
from tests.support.http import Peer

Pixels = NDArray[np.uint8]
JPEG_START = b"\xff\xd8\xff"
PNG_START = b"\x89PNG\r\n\x1a\n"


def decoded(data: bytes) -> Pixels:
    """rows x columns of grey or rows x columns x 3 of RGB; of a GIF the colours that its palette stands for."""
    image = Image.open(BytesIO(data))
    image.load()
    if image.mode == "P":
        image = image.convert("RGB")
    assert image.mode in ("L", "RGB"), image.mode
    pixels = np.asarray(image)
    if pixels.ndim == 3 and (pixels[..., :1] == pixels).all() and image.format == "GIF":
        pixels = pixels[..., 0]
    return pixels


def png(peer: Peer, path: str, query: str = "") -> Pixels:
    """The one image of a resource."""
    response = peer.get(path, "image/png", query)
    assert response.status_code == 200, f"{response.request.url}: {response.status_code} {response.text[:300]}"
    assert response.headers["content-type"] == "image/png"
    assert response.content.startswith(PNG_START)
    return decoded(response.content)


def linear(values: NDArray[Any], center: float, width: float) -> NDArray[np.float64]:
    """PS3.3 C.11.2.1.2.1, into 0 to 255."""
    return np.clip(((values - (center - 0.5)) / (width - 1) + 0.5) * 255, 0, 255)


def linear_exact(values: NDArray[Any], center: float, width: float) -> NDArray[np.float64]:
    """PS3.3 C.11.2.1.3.2."""
    return np.clip(((values - center) / width + 0.5) * 255, 0, 255)


def sigmoid(values: NDArray[Any], center: float, width: float) -> NDArray[np.float64]:
    """PS3.3 C.11.2.1.3.1."""
    return 255 / (1 + np.exp(np.clip(-4 * (values - center) / width, -700, 700)))


def close(found: Pixels, expected: NDArray[Any], tolerance: float = 1.0) -> bool:
    assert found.shape == expected.shape, (found.shape, expected.shape)
    difference = np.abs(found.astype(np.float64) - expected)
    assert difference.max() <= tolerance, f"differs by {difference.max()} at {np.argwhere(difference > tolerance)[:3]}"
    return True


def structural_similarity(first: Pixels, second: Pixels) -> float:
    """Correlation of two images: 1 where they show the same, whatever their contrast."""
    return float(np.corrcoef(first.ravel().astype(np.float64), second.ravel().astype(np.float64))[0, 1])


def ramp(rows: int, columns: int, low: int, high: int, dtype: str) -> NDArray[Any]:
    """Every value between, spread over an image, so that each part of it looks different."""
    return np.linspace(low, high, rows * columns).round().astype(dtype).reshape(rows, columns)


def stored(peer: Peer, item: Item) -> Item:
    response = peer.store([item.data])
    assert response.status_code == 200, response.text[:500]
    return item


def grey_item(maker: Maker, name: str, values: NDArray[Any], **by_keyword: Any) -> Item:
    """A grey image of the values given, with the attributes of its type; others by keyword."""
    bits = values.dtype.itemsize * 8
    little_endian = values.astype(values.dtype.newbyteorder("<")).tobytes()
    module = maker.image(values.shape[-2], values.shape[-1], bits=bits, pixels=little_endian)
    module[0x00280103] = ("US", (int(values.dtype.kind == "i"),))
    if values.ndim == 3:
        by_keyword.setdefault("NumberOfFrames", str(len(values)))
    return maker.single(name, {**module, **attributes(**by_keyword)})
