"""Rows of searches that are asked for again while nothing in the database has changed.

The work list that a department has on its screens is the same search from each of them, every minute or so. Both databases
tell quickly whether anything was committed since: SQLite by `PRAGMA data_version`, PostgreSQL by the snapshot that a statement
sees (two are the same text only if no transaction that writes has begun or ended in between). So what is kept is never old.
While studies keep coming the question is in vain, and is not asked for a moment.
"""

from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any

Row = tuple[Any, ...]
Statement = tuple[str, tuple[Any, ...]]  # its text and its values

MOST = 32  # statements whose rows are kept
MOST_BYTES = 256 * 1024  # of texts in the rows of one
MOST_ASKED = 1024  # statements of which it is remembered that they were asked
SECONDS = 30.0  # that rows are kept: a server that was put back to an earlier time could come to the same state again
PAUSE = 0.1  # seconds behind a change
_LONGEST = 4_000  # characters of a statement with its values


class KeptRows:
    """For one process. A state is what a database says of itself: the same as long as nothing changes."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._asked: dict[Statement, float] = {}
        self._state: Any = None  # that all rows are of
        self._kept: dict[Statement, tuple[Sequence[Row], float]] = {}  # and until when
        self._pause_until = 0.0

    def is_asked_again(self, statement: Statement) -> bool:
        """Whether the state is worth asking for: then what is found is to be kept."""
        now, (text, values) = self._clock(), statement
        if now < self._pause_until or len(text) + sum(map(len, map(str, values))) > _LONGEST:
            return False
        try:
            since = self._asked.pop(statement, None)
        except TypeError:  # lists among the values
            return False
        if len(self._asked) >= MOST_ASKED:
            del self._asked[next(iter(self._asked))]
        self._asked[statement] = now
        return since is not None and now - since < SECONDS

    def holds(self, statement: Statement) -> bool:
        """Whether anything depends on the state."""
        return statement in self._kept

    def rows(self, statement: Statement, state: Any) -> Sequence[Row] | None:
        """Those of this state, not to be changed; None where there are none."""
        if state != self._state:
            if self._kept:
                self._pause_until = self._clock() + PAUSE
            self._begin(state)
        rows, until = self._kept.get(statement, (None, 0.0))
        return rows if until > self._clock() else None

    def keep(self, statement: Statement, state: Any, rows: Sequence[Row]) -> None:
        """state: before the rows were found, or as they were."""
        if sum(len(value) for row in rows for value in row if isinstance(value, str | bytes)) > MOST_BYTES:
            return
        if state != self._state:
            self._begin(state)
        self._kept.pop(statement, None)
        if len(self._kept) >= MOST:
            del self._kept[next(iter(self._kept))]
        self._kept[statement] = rows, self._clock() + SECONDS

    def _begin(self, state: Any) -> None:
        self._kept.clear()
        self._state = state
