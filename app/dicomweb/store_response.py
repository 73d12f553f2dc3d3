"""The answer to a store: the Store Instances Response Module and its status (PS3.18 10.5.3, Annex I)."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from app.dicom.instance import DicomJson
from app.dicom.references import InstanceRef, StudyRef, is_uid
from app.dicom.store_status import StoreStatus
from app.dicomweb.urls import resource_url

RETRIEVE_URL = "00081190"
WARNING_REASON = "00081196"
FAILURE_REASON = "00081197"
FAILED_SOP_SEQUENCE = "00081198"
REFERENCED_SOP_SEQUENCE = "00081199"
OTHER_FAILURES_SEQUENCE = "0008119A"
REFERENCED_SOP_CLASS_UID = "00081150"
REFERENCED_SOP_INSTANCE_UID = "00081155"
ORIGINAL_ATTRIBUTES_SEQUENCE = "04000561"


@dataclass(frozen=True, slots=True)
class _Stored:
    ref: InstanceRef
    sop_class_uid: str
    warning: StoreStatus | None
    original_attributes: tuple[DicomJson, ...]
    is_new: bool


@dataclass(frozen=True, slots=True)
class _Failed:
    sop_class_uid: str
    sop_instance_uid: str
    reason: StoreStatus


@dataclass(slots=True)
class StoreResponse:
    """What became of each part of a store, in the order it is told.

    study_instance_uid  of the request's path, None for `POST /studies`
    """

    base_url: str
    study_instance_uid: str | None = None
    _stored: list[_Stored] = field(default_factory=list, init=False)
    _failed: list[_Failed] = field(default_factory=list, init=False)
    _other: list[StoreStatus] = field(default_factory=list, init=False)

    def stored(
        self,
        ref: InstanceRef,
        sop_class_uid: str,
        *,
        warning: StoreStatus | None = None,
        original_attributes: Sequence[DicomJson] = (),
        is_new: bool = True,
    ) -> None:
        """An instance is stored; `is_new`: the same bytes were not there before. `original_attributes` are the items of
        (0400,0561) if anything was coerced."""
        self._stored.append(_Stored(ref, sop_class_uid, warning, tuple(original_attributes), is_new))

    def failed(self, sop_class_uid: str, sop_instance_uid: str, reason: StoreStatus) -> None:
        """An instance is refused. One that does not say which it is becomes an "other failure": both UIDs are type 1."""
        if is_uid(sop_class_uid) and is_uid(sop_instance_uid):
            self._failed.append(_Failed(sop_class_uid, sop_instance_uid, reason))
        else:
            self._other.append(reason)

    @property
    def status(self) -> int:
        """Table 10.5.3-1: 200 all stored; 202 with failures or warnings; 400 nothing sent; 409 none stored."""
        failures = len(self._failed) + len(self._other)
        if self._stored:
            return 202 if failures or any(item.warning for item in self._stored) else 200
        return 409 if failures else 400

    def dataset(self) -> DicomJson:
        """The response module in the DICOM JSON Model, keys ascending; sequences only where they have items (Table I.1-1)."""
        result: dict[str, Any] = {RETRIEVE_URL: _url(self._study_url())}
        if self._failed:
            result[FAILED_SOP_SEQUENCE] = _sequence([_failed_item(item) for item in self._failed])
        if self._stored:
            result[REFERENCED_SOP_SEQUENCE] = _sequence([self._stored_item(item) for item in self._stored])
        if self._other:
            result[OTHER_FAILURES_SEQUENCE] = _sequence([{FAILURE_REASON: _reason(reason)} for reason in self._other])
        return result

    def to_json(self) -> bytes:
        return orjson.dumps(self.dataset())

    def _study_url(self) -> str:
        """Type 2: empty when what is stored is not one study."""
        studies = {item.ref.study for item in self._stored}
        if self.study_instance_uid is not None and self._stored:
            studies = {StudyRef(self.study_instance_uid)}
        return resource_url(self.base_url, studies.pop()) if len(studies) == 1 else ""

    @property
    def location(self) -> str | None:
        """Location and Content-Location (PS3.18 10.5.3.2): the URL of the one instance that is new, or of the series, the
        study or the studies that hold all new ones; None where nothing is new."""
        new = {item.ref for item in self._stored if item.is_new}
        if not new:
            return None
        if len(new) == 1:
            return resource_url(self.base_url, new.pop())
        series = {ref.series for ref in new}
        if len(series) == 1:
            return resource_url(self.base_url, series.pop())
        studies = {ref.study for ref in series}
        return resource_url(self.base_url, studies.pop()) if len(studies) == 1 else f"{self.base_url}/studies"

    def _stored_item(self, item: _Stored) -> DicomJson:
        result = _reference(item.sop_class_uid, item.ref.sop_instance_uid)
        result[RETRIEVE_URL] = _url(resource_url(self.base_url, item.ref))
        if item.warning is not None:
            result[WARNING_REASON] = _reason(item.warning)
        if item.original_attributes:
            result[ORIGINAL_ATTRIBUTES_SEQUENCE] = _sequence(list(item.original_attributes))
        return dict(sorted(result.items()))


def _failed_item(item: _Failed) -> DicomJson:
    return {**_reference(item.sop_class_uid, item.sop_instance_uid), FAILURE_REASON: _reason(item.reason)}


def _reference(sop_class_uid: str, sop_instance_uid: str) -> dict[str, Any]:
    return {
        REFERENCED_SOP_CLASS_UID: {"vr": "UI", "Value": [sop_class_uid]},
        REFERENCED_SOP_INSTANCE_UID: {"vr": "UI", "Value": [sop_instance_uid]},
    }


def _url(url: str) -> dict[str, Any]:
    return {"vr": "UR", "Value": [url]} if url else {"vr": "UR"}


def _reason(status: StoreStatus) -> dict[str, Any]:
    return {"vr": "US", "Value": [status.code]}


def _sequence(items: list[DicomJson]) -> dict[str, Any]:
    return {"vr": "SQ", "Value": items}
