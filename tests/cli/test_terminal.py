"""What is shown, on a terminal and in a log."""

import io

import pytest
from rich.console import Console

from app.cli.terminal import PLAIN_INTERVAL, CountProgress, TransferProgress, line
from app.cli.text import counted, printable, size_text


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def console(*, terminal: bool = False, width: int = 200) -> tuple[Console, io.StringIO]:
    stream = io.StringIO()
    return Console(file=stream, force_terminal=terminal, width=width, soft_wrap=True, highlight=False), stream


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain.dcm", "plain.dcm"),
        ("Ärzte/画像.dcm", "Ärzte/画像.dcm"),
        ("\x1b[2J\x07bell", "�[2J�bell"),
        ("two\nlines", "two�lines"),
        ("bad \udcff byte", "bad � byte"),
        ("right\u202eleft", "right�left"),
    ],
)
def test_names_of_strangers_are_made_harmless(text: str, shown: str) -> None:
    assert printable(text) == shown


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1.0 kB"),
        (64_000_000, "64.0 MB"),
        (3e12, "3.0 TB"),
        (5e15, "5000.0 TB"),
    ],
)
def test_sizes(size: float, text: str) -> None:
    assert size_text(size) == text


def test_counts() -> None:
    assert [counted(1, "file"), counted(0, "file"), counted(12_345, "file")] == ["1 file", "0 files", "12,345 files"]
    assert counted(2, "file or folder", "files or folders") == "2 files or folders"


def test_lines_are_neither_wrapped_nor_read_as_markup() -> None:
    out, stream = console(width=20)
    line(out, "[red]x[/red] " + "long " * 20, "red")
    assert stream.getvalue() == "[red]x[/red] " + "long " * 20 + "\n"


def test_a_log_gets_a_line_now_and_then() -> None:
    out, stream = console()
    clock = Clock()
    with TransferProgress(out, "Storing", clock) as progress:
        for _ in range(3):
            progress.add(1000)
        progress.advance(files=1, size=1000)
        assert stream.getvalue() == ""
        clock.now += PLAIN_INTERVAL
        progress.advance(files=1, size=1000)
        progress.advance(size=500)
        progress.advance(size=-500)
        assert progress.seconds == PLAIN_INTERVAL
    assert stream.getvalue() == "Storing: 2 of 3 files, 2.0 kB, 200 bytes/s\n"
    assert (progress.files, progress.size, progress.files_found, progress.size_found) == (2, 2000, 3, 3000)


def test_a_terminal_gets_a_bar_that_goes_away() -> None:
    out, stream = console(terminal=True)
    with TransferProgress(out, "Storing") as progress:
        progress.add(2_000_000)
        progress.advance(files=1, size=1_000_000)
        line(out, "a problem")
    shown = stream.getvalue()
    assert "Storing" in shown
    assert "1 of 1 files" in shown
    assert "1.0/2.0 MB" in shown
    assert "a problem\n" in shown


def test_a_count_is_told_in_a_log_and_on_a_terminal() -> None:
    out, stream = console()
    clock = Clock()
    with CountProgress(out, "Verifying", clock) as progress:
        progress.tell(5)
        clock.now += PLAIN_INTERVAL
        progress.tell(1234)
        progress.tell(1235)
    assert stream.getvalue() == "Verifying: 1,234\n"
    out, stream = console(terminal=True)
    with CountProgress(out, "Verifying") as progress:
        progress.tell(77)
    assert "Verifying" in stream.getvalue()
