"""Instances, whole: each passed through as stored, or converted where the receiver takes nothing that is stored.

Every instance is planned before the first byte, so that what cannot be delivered is said with a status. What a converted
instance's header will be is worked out when its turn comes: a series of thousands is not held in memory.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from typing import NamedTuple

from app.blobs.files import FileSlice
from app.db.locate import InstanceLocation, locate_instances
from app.dicom.layout import InstanceLayout
from app.dicom.references import Reference
from app.dicom.transfer_syntaxes import EXPLICIT_VR_LITTLE_ENDIAN, transfer_syntax
from app.errors import CodecError, DicomError, NotAcceptable
from app.services.archive import Archive
from app.services.explicit_instances import execute_plan, plan_explicit_instance
from app.services.prepared_instances import prepare_instance
from app.services.syntaxes import Alternative, Stored, choose, choose_untouched, refusal

HELD_BYTES = 16 * 1024 * 1024  # of a header that is rewritten, while its receiver takes as long as it likes

Stream = AsyncIterator[bytes] | AsyncIterator[bytes | FileSlice]
Opened = AsyncGenerator[AsyncIterator[bytes] | list[FileSlice], None]


class InstanceDelivery(NamedTuple):
    """One instance and the syntax it goes out in. `as_stored`: bit for bit, `location.size` bytes.

    is_prepared  it has to be written to a file first (app.services.prepared_instances)
    """

    location: InstanceLocation
    transfer_syntax_uid: str

    @property
    def as_stored(self) -> bool:
        return self.transfer_syntax_uid == self.location.transfer_syntax_uid

    @property
    def is_prepared(self) -> bool:
        return not self.as_stored and (
            self.transfer_syntax_uid != EXPLICIT_VR_LITTLE_ENDIAN
            or transfer_syntax(self.location.transfer_syntax_uid).deflated
            or (self.location.size > HELD_BYTES and InstanceLayout.from_json(self.location.layout).pixel_data is None)
        )


async def retrieve_instances(
    archive: Archive, ref: Reference, alternatives: Sequence[Alternative]
) -> tuple[int, list[InstanceDelivery]]:
    """Plan a study, a series or an instance: the alternative chosen for the first, and the instances in a stable order.

    Raises NotFound, Gone, NotAcceptable, Unavailable.
    """
    locations = await locate_instances(archive.db, ref)
    chosen = choose([_stored(location) for location in locations], alternatives)
    if chosen is None:
        raise NotAcceptable(_why_not(locations, alternatives))
    index, targets = chosen
    return index, [InstanceDelivery(*pair) for pair in zip(locations, targets, strict=True)]


def _stored(location: InstanceLocation) -> Stored:
    return Stored(location.transfer_syntax_uid, location.layout)


def _why_not(locations: Sequence[InstanceLocation], alternatives: Sequence[Alternative]) -> str:
    """Names the first instance that cannot be had, and why not in the best that was asked for."""
    blamed = next((one for one in locations if choose([_stored(one)], alternatives) is None), locations[0])
    reason = ""
    for uid in (uid for one in alternatives for uid in one.transfer_syntaxes):
        reason = refusal(_stored(blamed), uid) or ""
        if reason:
            break
    text = (
        f"{blamed.ref.sop_instance_uid}, stored in {blamed.transfer_syntax_uid}, cannot be had in any accepted syntax"
    )
    return f"{text}: {reason}" if reason else text


def without_codec(
    delivery: InstanceDelivery, alternatives: Sequence[Alternative]
) -> tuple[int, InstanceDelivery] | None:
    """An instance by the first alternative for which its pixels are neither decoded nor encoded; None where there is none."""
    chosen = choose_untouched(_stored(delivery.location), alternatives)
    if chosen is None or chosen[1] == delivery.transfer_syntax_uid:
        return None
    return chosen[0], delivery._replace(transfer_syntax_uid=chosen[1])


async def open_instance(archive: Archive, delivery: InstanceDelivery) -> tuple[int, Stream]:
    """Length in bytes and the bytes themselves, or the parts of files that hold them.

    Raises BlobNotFound, CodecError, DicomError, TooLarge, Unavailable.
    """
    location = delivery.location
    if delivery.as_stored:
        return location.size, archive.blobs.pieces(location.blob_key)
    if delivery.is_prepared:
        file = await prepare_instance(archive, location, delivery.transfer_syntax_uid)
        return file.size, file.read()
    plan = await plan_explicit_instance(archive, location)
    return plan.length, execute_plan(archive, location, plan)


def open_stored(archive: Archive, deliveries: Sequence[InstanceDelivery]) -> Opened:
    """Instances that all go out as stored, in their order; files of several may come together. Must be closed."""
    return archive.blobs.pieces_each([(one.location.blob_key, one.location.size) for one in deliveries])


async def open_instances(
    archive: Archive, deliveries: Sequence[InstanceDelivery], alternatives: Sequence[Alternative]
) -> AsyncGenerator[tuple[InstanceDelivery, int, Stream | FileSlice], None]:
    """As `open_instance` for each in turn; what goes out as stored is fetched ahead, or opened together, as the blob store does it.

    What cannot be converted, for its pixels or its header, comes as stored, where one of the alternatives allows that. Each is
    read to its end before the next is asked for. Must be closed. Raises what `open_instance` raises.
    """
    stored = open_stored(archive, [one for one in deliveries if one.as_stored])
    async with aclosing(_one_by_one(stored)) as streams:
        for delivery in deliveries:
            if delivery.as_stored:
                yield delivery, delivery.location.size, await anext(streams)
            else:
                yield await _converted(archive, delivery, alternatives)


async def _converted(
    archive: Archive, delivery: InstanceDelivery, alternatives: Sequence[Alternative]
) -> tuple[InstanceDelivery, int, Stream]:
    """With its first piece read: only then it is known that its pixels can be decoded, those of the first frame at least."""
    try:
        length, stream = await open_instance(archive, delivery)
        first = await anext(stream, b"")
    except (CodecError, DicomError):
        untouched = without_codec(delivery, alternatives)
        if untouched is None:
            raise
        return untouched[1], *await open_instance(archive, untouched[1])

    async def whole() -> AsyncIterator[bytes | FileSlice]:
        try:
            yield first
            async for piece in stream:
                yield piece
        finally:
            if isinstance(stream, AsyncGenerator):
                await stream.aclose()

    return delivery, length, whole()


async def _one_by_one(opened: Opened) -> AsyncGenerator[AsyncIterator[bytes] | FileSlice, None]:
    async with aclosing(opened):
        async for one in opened:
            if isinstance(one, list):
                for file in one:
                    yield file
            else:
                yield one
