"""Searches that fit more than is counted: for half a minute it is remembered that they do.

To say once more that "at least 10,000" lie behind the page takes longer than all the rest of such a search, and users of a
work list ask the same again and again, for other pages too. Studies come all the time and seldom go, so a lower bound stays one.
What was counted to its end is never remembered: exact numbers are counted anew each time. How far is counted depends on how
many studies there are, about, which is remembered too.
"""

from collections.abc import Callable
from time import monotonic
from typing import Any

from app.dicom.matching import Level

SECONDS = 30.0
MOST = 256  # searches
_LONGEST = 4_000  # characters of one
FEW_STUDIES = 50_000

Key = tuple[Level, str, tuple[Any, ...]]


class KnownMany:
    """For one process. Keys are levels and conditions with their values; numbers are matches in all, lower bounds."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._known: dict[Key, tuple[int, float]] = {}
        self.newest_study = 0  # the highest id that was met: about so many studies have been stored

    def meet_study(self, study_id: int) -> None:
        """In a result."""
        self.newest_study = max(self.newest_study, study_id)

    @property
    def are_many_studies(self) -> bool:
        """Whether the archive is known to hold more than a few."""
        return self.newest_study > FEW_STUDIES

    def number(self, key: Key) -> int:
        """At least so many matches there were half a minute ago; 0 where nobody knows."""
        found = self._known.get(key)
        if found is None:
            return 0
        number, until = found
        if until > self._clock():
            return number
        del self._known[key]
        return 0

    def note(self, key: Key, number: int) -> None:
        """That counting was given up at `number`."""
        if sum(map(len, map(str, key))) > _LONGEST:
            return
        if key not in self._known and len(self._known) >= MOST:
            del self._known[next(iter(self._known))]  # the oldest
        self._known[key] = number, self._clock() + SECONDS

    def forget(self) -> None:
        """Something was deleted."""
        self._known.clear()
