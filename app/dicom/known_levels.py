"""What the instances of a study or series say alike of it is chosen once.

`study_attributes` looks at every patient and study attribute of a data set: whether it is bulkdata, whether it is too large. Of
instances whose headers came from memory (app.dicom.known_headers) these attributes are not only equal, but the very same
objects; then what was chosen of the one is what would be chosen of the other.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable
from operator import is_
from typing import Any

from app.dicom.attributes import level_tags, series_attributes, study_attributes
from app.dicom.instance import DicomJson
from app.dicom.matching import Level

MAX_KNOWN = 64
_UIDS = {Level.STUDY: "0020000D", Level.SERIES: "0020000E"}
_CHOOSERS: dict[Level, Callable[[DicomJson], dict[str, Any]]] = {
    Level.STUDY: study_attributes,
    Level.SERIES: series_attributes,
}


class KnownLevel:
    """The attributes of the studies, or of the series, that came last. For any number of threads."""

    def __init__(self, level: Level, most: int = MAX_KNOWN) -> None:
        self._level = level
        self._most = most
        self._lock = threading.Lock()
        # By the id of the element that names the study or series, which is held on to as one of the elements.
        self._known: OrderedDict[int, tuple[tuple[str, ...], list[Any], dict[str, Any]]] = OrderedDict()

    def attributes(self, dataset: DicomJson) -> dict[str, Any]:
        """As `study_attributes` or `series_attributes`. Not to be changed: it may be given to others."""
        uid = dataset.get(_UIDS[self._level])
        tags = level_tags(dataset, self._level)
        elements = [dataset[tag] for tag in tags]
        with self._lock:
            known = self._known.get(id(uid))
            if known is not None:
                self._known.move_to_end(id(uid))
        if known is not None and known[0] == tags and all(map(is_, known[1], elements)):
            return known[2]
        chosen = _CHOOSERS[self._level](dataset)
        if uid is not None:
            with self._lock:
                self._known[id(uid)] = tags, elements, chosen
                if len(self._known) > self._most:
                    self._known.popitem(last=False)
        return chosen
