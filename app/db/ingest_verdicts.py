"""What becomes of each record of a batch, given what is stored. Pure: no statement is sent from here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from app.db.ingest_rows import PreparedRecord
from app.dicom.references import InstanceRef


class DuplicatePolicy(StrEnum):
    """What happens to other bytes for an instance that is stored already."""

    REPLACE = "replace"
    KEEP = "keep"


class Outcome(StrEnum):
    CREATED = "created"
    UNCHANGED = "unchanged"  # the same bytes were there
    REPLACED = "replaced"
    REFUSED = "refused"  # other bytes were there and are kept


@dataclass(frozen=True, slots=True)
class StoredInstance:
    """What a row of `instances` says now."""

    id: int
    blob_key: str
    size: int
    digest: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """surplus: the record's blob where nothing uses it; replaced: the blob that was live before."""

    outcome: Outcome
    surplus_blob_key: str | None = None
    replaced_blob_key: str | None = None


@dataclass(frozen=True, slots=True)
class Blob:
    """The content of an instance at some point of the batch."""

    ref: InstanceRef
    blob_key: str
    size: int
    digest: str


@dataclass(frozen=True, slots=True)
class Verdicts:
    """each         one for each record, in their order
    written     the record whose content each created or replaced instance has at the end
    replaced    blobs that were live before, or for a moment within the batch
    """

    each: list[Verdict] = field(default_factory=list)
    written: dict[InstanceRef, PreparedRecord] = field(default_factory=dict)
    replaced: list[Blob] = field(default_factory=list)

    def accepted(self, records: Sequence[PreparedRecord]) -> list[PreparedRecord]:
        """Those that were created or replaced something, in their order."""
        taken = (Outcome.CREATED, Outcome.REPLACED)
        return [record for record, verdict in zip(records, self.each, strict=True) if verdict.outcome in taken]


def judge(
    records: Sequence[PreparedRecord],
    stored: Mapping[InstanceRef, StoredInstance],
    duplicates: DuplicatePolicy,
    *,
    restoring: bool = False,
) -> Verdicts:
    """Records are judged one after another, each against what the ones before it left.

    restoring: the blobs belong to tombstones, so an unused one is not surplus.
    """
    verdicts = Verdicts()
    live = {ref: Blob(ref, row.blob_key, row.size, row.digest) for ref, row in stored.items()}
    for prepared in records:
        record = prepared.record
        offered = Blob(record.ref, record.blob_key, record.size, record.digest)
        present = live.get(record.ref)
        is_lost = present is not None and present.blob_key == record.lost_blob
        unused = None if restoring or present is None or present.blob_key == offered.blob_key else offered.blob_key
        if present is None:
            verdicts.each.append(Verdict(Outcome.CREATED))
        elif present.digest == offered.digest and not is_lost:
            verdicts.each.append(Verdict(Outcome.UNCHANGED, unused))
            continue
        elif duplicates is DuplicatePolicy.KEEP and not is_lost:
            verdicts.each.append(Verdict(Outcome.REFUSED, unused))
            continue
        else:
            verdicts.each.append(Verdict(Outcome.REPLACED, None, present.blob_key))
            verdicts.replaced.append(present)
        live[record.ref] = offered
        verdicts.written[record.ref] = prepared
    return verdicts
