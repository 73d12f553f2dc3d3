"""Lossy encoders on frames of one value, as the empty tiles of a slide are: they stay what they are, however small."""

from dataclasses import replace

import numpy as np
import pytest

from app.dicom.codecs import decode_frame, decoded_image
from app.dicom.codecs.encoding import encode_frame, encoded_image
from app.dicom.codecs.samples import frame_samples
from app.dicom.rendering.encode import encode_image
from tests.dicom.native_images import KINDS, Native, can_encode
from tests.dicom.rendering.test_encode import decoded
from tests.dicom.test_encoding import LOSSY, native_bytes, rgb

FLAT = [kind for kind in KINDS if kind.name in {"8", "12", "16", "16 signed", "RGB", "YBR_FULL"}]
SIZES = [(1, 1), (2, 3), (10, 10), (10, 300), (15, 31), (16, 16), (31, 40), (33, 64)]


@pytest.mark.parametrize("uid", LOSSY)
@pytest.mark.parametrize("kind", FLAT, ids=str)
def test_flat_frames_stay_near(kind: Native, uid: str) -> None:
    described = kind.image
    if not can_encode(described, uid):
        return
    low = -(1 << described.bits_stored - 1) if described.pixel_representation else 0
    full = (1 << described.bits_stored) - 1
    for rows, columns in SIZES:
        image = replace(described, rows=rows, columns=columns)
        result = encoded_image(image, uid)
        native = decoded_image(result, uid)
        for value in (0, full // 10, full):
            shape = (rows, columns, 3) if image.samples_per_pixel == 3 else (rows, columns)
            flat = np.full(shape, low + value)
            back = decode_frame(encode_frame(native_bytes(flat, image), image, uid), result, uid)
            got = frame_samples(back.data, native).astype(int)
            if native.photometric_interpretation == "RGB" and image.photometric_interpretation != "RGB":
                flat = rgb(flat)
            assert np.abs(got - flat).max() <= max(4, full // 200), (rows, columns, value)


@pytest.mark.parametrize("media_type", ["image/jpeg", "image/jp2", "image/jph", "image/jxl"])
@pytest.mark.parametrize("size", SIZES)
def test_flat_pictures_stay_near(media_type: str, size: tuple[int, int]) -> None:
    for value in (0, 25, 255):
        pixels = np.full(size, value, "u1")
        got = decoded(media_type, encode_image(pixels, media_type, quality=50)).astype(int)
        assert np.abs(got.reshape(size) - value).max() <= 6, value
