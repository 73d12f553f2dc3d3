"""What becomes of each instance of a store."""

from dataclasses import dataclass, field

from app.dicom.instance import DicomJson
from app.dicom.references import InstanceRef
from app.dicom.store_status import StoreStatus


@dataclass(frozen=True, slots=True)
class Remarks:
    """What the sender is told of an instance that is stored: a Warning Reason, and what was changed (items of (0400,0561))."""

    warning: StoreStatus | None = None
    original_attributes: tuple[DicomJson, ...] = ()


NO_REMARKS = Remarks()


@dataclass(frozen=True, slots=True)
class StoredInstance:
    """`changed` is False when the very same bytes were there before."""

    ref: InstanceRef
    sop_class_uid: str
    changed: bool
    remarks: Remarks = NO_REMARKS


@dataclass(frozen=True, slots=True)
class RefusedInstance:
    """UIDs are "" where they could not be read. `transient`: the same request may succeed later. `cause` is for the log."""

    sop_class_uid: str
    sop_instance_uid: str
    status: StoreStatus
    message: str
    transient: bool = False
    cause: BaseException | None = field(default=None, compare=False)


StoreResult = StoredInstance | RefusedInstance
