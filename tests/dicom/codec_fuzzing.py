"""Feeds broken codestreams to the decoders. Run as a program, so that a crash of a library is one exit code.

    python -m tests.dicom.codec_fuzzing FAMILY SEED COUNT

prints how many were decoded and refused, and the longest time of one in seconds, as JSON.
"""

import json
import random
import sys
import time
from dataclasses import replace

import imagecodecs

from app.dicom.codecs import decode_frame
from app.errors import CodecError
from tests.dicom.encoded import (
    HTJ2K,
    JPEG_2000,
    JPEG_BASELINE,
    JPEG_EXTENDED,
    JPEG_LOSSLESS,
    JPEG_LS_NEAR,
    JPEG_XL,
    RLE,
    Encoded,
    description,
    encode_j2k,
    encode_rle,
    picture,
)

FAMILIES = ("jpeg", "jpeg-ls", "jpeg-2000", "htj2k", "jpeg-xl", "rle")
SHAPES = ((20, 30), (16, 16, 3), (37, 3), (64, 70))


def seeds(family: str) -> list[Encoded]:
    result = []
    for shape in SHAPES:
        for bits in (8, 12, 16):
            samples = picture(bits, shape, noise=1)
            image = description(samples, bits)
            if family == "jpeg":
                lossless = imagecodecs.jpeg8_encode(samples, lossless=True, predictor=6, bitspersample=bits)
                result.append(Encoded(lossless, image, JPEG_LOSSLESS, samples))
                if bits == 8:
                    result.append(Encoded(imagecodecs.jpeg8_encode(samples, 80), image, JPEG_BASELINE, samples))
                if bits == 12 and len(shape) == 2:
                    extended = imagecodecs.jpeg8_encode(samples, 80, bitspersample=12)
                    result.append(Encoded(extended, image, JPEG_EXTENDED, samples))
            elif family == "jpeg-ls":
                for near in (0, 3):
                    stream = imagecodecs.jpegls_encode(samples, near)
                    result.append(Encoded(stream, image, JPEG_LS_NEAR, samples))
            elif family == "jpeg-2000":
                result.append(Encoded(encode_j2k(samples, bits), image, JPEG_2000, samples))
                lossy = imagecodecs.jpeg2k_encode(samples, 40, reversible=False, codecformat="j2k")
                result.append(Encoded(lossy, image, JPEG_2000, samples))
            elif family == "htj2k":
                for reversible in (True, False):
                    stream = imagecodecs.htj2k_encode(samples, reversible=reversible)
                    result.append(Encoded(stream, image, HTJ2K, samples))
            elif family == "jpeg-xl":
                for lossless in (True, False):
                    stream = imagecodecs.jpegxl_encode(samples, lossless=lossless, bitspersample=bits)
                    result.append(Encoded(stream, image, JPEG_XL, samples))
            else:
                result.append(Encoded(encode_rle(samples), image, RLE, samples))
    return result


def mutated(codestream: bytes, rng: random.Random) -> bytes:
    data = bytearray(codestream)
    reach = min(len(data), rng.choice([64, 200, len(data)]))
    for _ in range(rng.choice([1, 1, 2, 3, 8, 30])):
        if not data:
            break
        position = rng.randrange(min(reach, len(data)))
        kind = rng.random()
        if kind < 0.5:
            data[position] = rng.choice([0, 1, 127, 128, 254, 255, rng.randrange(256)])
        elif kind < 0.7:
            data[position] ^= 1 << rng.randrange(8)
        elif kind < 0.8:
            del data[position : position + rng.choice([1, 2, 10])]
        elif kind < 0.9:
            data[position:position] = rng.randbytes(rng.choice([1, 2, 10]))
        else:
            data = data[: rng.randrange(len(data)) + 1]
    return bytes(data)


def main(family: str, seed: int, count: int) -> None:
    rng = random.Random(seed)
    corpus = seeds(family)
    decoded = refused = 0
    slowest = 0.0
    for _ in range(count):
        encoded = rng.choice(corpus)
        image = encoded.image
        if rng.random() < 0.1:
            image = replace(image, rows=rng.randint(1, 80), columns=rng.randint(1, 80))
        data = mutated(encoded.codestream, rng)
        started = time.perf_counter()
        try:
            decode_frame(data, image, encoded.uid)
            decoded += 1
        except CodecError:
            refused += 1
        slowest = max(slowest, time.perf_counter() - started)
    sys.stdout.write(json.dumps({"decoded": decoded, "refused": refused, "slowest": slowest}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
