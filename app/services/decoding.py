"""Decoding in threads, bounded in time, size and number; a codec's fault ends one request, never the server."""

import asyncio
from collections.abc import AsyncIterator, Sequence

from app.dicom.codecs import decode_frame, decoded_image
from app.dicom.layout import ImagePixel
from app.errors import CodecError
from app.services.archive import Archive


async def decode_frames(
    archive: Archive, codestreams: Sequence[bytes], image: ImagePixel, transfer_syntax_uid: str
) -> AsyncIterator[bytes]:
    """Native frames of encapsulated ones, in order; the next one is decoded while this one is sent. Raises CodecError."""
    result = decoded_image(image, transfer_syntax_uid)
    if result.frame_bits // 8 > archive.limits.max_decoded_bytes:
        raise CodecError(f"a decoded frame would be larger than {archive.limits.max_decoded_bytes} bytes")
    ahead = [_submit(archive, codestream, image, transfer_syntax_uid) for codestream in codestreams[:2]]
    try:
        for position in range(len(codestreams)):
            frame = await ahead.pop(0)
            if position + 2 < len(codestreams):
                ahead.append(_submit(archive, codestreams[position + 2], image, transfer_syntax_uid))
            yield frame
    finally:
        for task in ahead:
            task.cancel()


def _submit(archive: Archive, codestream: bytes, image: ImagePixel, transfer_syntax_uid: str) -> "asyncio.Task[bytes]":
    return asyncio.create_task(_decode(archive, codestream, image, transfer_syntax_uid))


async def _decode(archive: Archive, codestream: bytes, image: ImagePixel, transfer_syntax_uid: str) -> bytes:
    def run() -> bytes:
        return decode_frame(codestream, image, transfer_syntax_uid).data

    loop = asyncio.get_running_loop()
    try:
        return await asyncio.wait_for(
            loop.run_in_executor(archive.codec_threads, run), timeout=archive.limits.codec_timeout
        )
    except TimeoutError as error:
        # The thread cannot be stopped; it holds one of a bounded number of places until it ends.
        raise CodecError(f"decoding took longer than {archive.limits.codec_timeout:g} s") from error
