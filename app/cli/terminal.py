"""What the commands show: one line per problem, a bar on a terminal, plain lines in a log."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.status import Status
from rich.text import Text

from app.cli.text import counted, printable, size_text

PLAIN_INTERVAL = 10.0  # seconds between two lines of a log


def line(console: Console, text: str, style: str = "") -> None:
    """One line, never wrapped, never read as markup."""
    console.print(Text(printable(text), style=style), soft_wrap=True)


@dataclass(slots=True)
class CountProgress:
    """A number that grows, of a whole that nobody knows beforehand."""

    console: Console
    verb: str
    clock: Callable[[], float] = time.monotonic
    _status: Status | None = None
    _next_line: float = field(init=False, default=0.0)

    def __enter__(self) -> "CountProgress":
        self._next_line = self.clock() + PLAIN_INTERVAL
        if self.console.is_terminal:
            self._status = self.console.status(f"{self.verb} …")
            self._status.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._status is not None:
            self._status.stop()

    def tell(self, count: int) -> None:
        text = f"{self.verb}: {count:,}"
        if self._status is not None:
            self._status.update(text)
        elif self.clock() >= self._next_line:
            self._next_line = self.clock() + PLAIN_INTERVAL
            line(self.console, text)


@dataclass(slots=True)
class TransferProgress:
    """Files and bytes done of those found so far. Use it as a context; `add` and `advance` at any time inside."""

    console: Console
    verb: str
    clock: Callable[[], float] = time.monotonic
    files: int = 0
    files_found: int = 0
    size: int = 0
    size_found: int = 0
    _bar: Progress | None = None
    _task: TaskID | None = None
    _started: float = field(init=False, default=0.0)
    _next_line: float = field(init=False, default=0.0)

    def __enter__(self) -> "TransferProgress":
        self._started = self.clock()
        self._next_line = self._started + PLAIN_INTERVAL
        if self.console.is_terminal:
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.fields[files]} of {task.fields[files_found]} files"),
                DownloadColumn(),
                TransferSpeedColumn(),
                TimeRemainingColumn(),
                console=self.console,
                transient=True,
            )
            self._task = self._bar.add_task(self.verb, total=None, files=0, files_found=0)
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def add(self, size: int) -> None:
        """One more file is known, of `size` bytes."""
        self.files_found += 1
        self.size_found += size
        self._show()

    def advance(self, *, files: int = 0, size: int = 0) -> None:
        """More is done; `size` may be negative, when something has to be sent again."""
        self.files += files
        self.size += size
        self._show()

    @property
    def seconds(self) -> float:
        return self.clock() - self._started

    def _show(self) -> None:
        if self._bar is not None and self._task is not None:
            self._bar.update(
                self._task,
                completed=self.size,
                total=self.size_found or None,
                files=f"{self.files:,}",
                files_found=f"{self.files_found:,}",
            )
        elif self.clock() >= self._next_line:
            self._next_line = self.clock() + PLAIN_INTERVAL
            rate = size_text(self.size / max(self.seconds, 0.001))
            done = f"{self.files:,} of {counted(self.files_found, 'file')}"
            line(self.console, f"{self.verb}: {done}, {size_text(self.size)}, {rate}/s")
