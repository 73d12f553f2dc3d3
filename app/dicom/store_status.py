"""Why an instance was refused, or stored with a warning (PS3.18 Tables I.2-1 and I.2-2, PS3.4 Table B.2-1, PS3.7 Annex C).

One number, whichever door the instance came through: Failure Reason (0008,1197) and Warning Reason (0008,1196) of STOW-RS
are the status codes of C-STORE.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StoreStatus:
    """`name` and `meaning` are for people; `code` is what goes out."""

    code: int
    name: str
    meaning: str

    def __str__(self) -> str:
        return f"{self.code:04X}H {self.name}: {self.meaning}"


# Table I.2-1, warnings: the instance is stored.
COERCION_OF_DATA_ELEMENTS = StoreStatus(0xB000, "Coercion of Data Elements", "some values were changed before storing")
ELEMENTS_DISCARDED = StoreStatus(0xB006, "Elements Discarded", "some data elements were not stored")
STORED_DESPITE_MISMATCH = StoreStatus(
    0xB007, "Data Set does not match SOP Class", "stored although the data set is not all that its SOP Class asks for"
)

# Table I.2-2, failures: the instance is not stored. Of the ranges A7xx, A9xx and Cxxx the codes of PS3.4 Table B.2-1.
OUT_OF_RESOURCES = StoreStatus(0xA700, "Refused: Out of Resources", "there is no room left to store it")
DATA_SET_MISMATCH = StoreStatus(
    0xA900, "Error: Data Set does not match SOP Class", "the data set lacks what every instance must have"
)
STUDY_MISMATCH = StoreStatus(
    0xA901, "Error: Data Set does not match the request", "its Study Instance UID is not the one of the request"
)
CANNOT_UNDERSTAND = StoreStatus(0xC000, "Error: Cannot understand", "it cannot be read as a DICOM instance")
TRUNCATED = StoreStatus(0xC001, "Error: Cannot understand", "it ends before it is complete")
TRANSFER_SYNTAX_NOT_SUPPORTED = StoreStatus(
    0xC122, "Referenced Transfer Syntax not supported", "its transfer syntax is not one that this archive stores"
)
PROCESSING_FAILURE = StoreStatus(0x0110, "Processing failure", "its bulkdata is missing, or the archive failed")
SOP_CLASS_NOT_SUPPORTED = StoreStatus(
    0x0122, "SOP Class not supported", "its SOP Class is not one that this archive stores"
)

# PS3.7 Annex C; PS3.18 I.2.2 allows further codes that a conformance statement names.
DUPLICATE_SOP_INSTANCE = StoreStatus(
    0x0111, "Duplicate SOP Instance", "another instance has this SOP Instance UID already"
)
INVALID_SOP_INSTANCE = StoreStatus(0x0117, "Invalid SOP Instance", "its SOP Instance UID is not a UID, or not its own")
NOT_AUTHORIZED = StoreStatus(0x0124, "Refused: Not authorized", "the sender may not store it")

WARNINGS: tuple[StoreStatus, ...] = (COERCION_OF_DATA_ELEMENTS, ELEMENTS_DISCARDED, STORED_DESPITE_MISMATCH)
FAILURES: tuple[StoreStatus, ...] = (
    OUT_OF_RESOURCES,
    DATA_SET_MISMATCH,
    STUDY_MISMATCH,
    CANNOT_UNDERSTAND,
    TRUNCATED,
    TRANSFER_SYNTAX_NOT_SUPPORTED,
    PROCESSING_FAILURE,
    SOP_CLASS_NOT_SUPPORTED,
    DUPLICATE_SOP_INSTANCE,
    INVALID_SOP_INSTANCE,
    NOT_AUTHORIZED,
)
BY_CODE: dict[int, StoreStatus] = {status.code: status for status in (*WARNINGS, *FAILURES)}
