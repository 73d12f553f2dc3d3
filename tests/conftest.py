"""What a run leaves out is said once, at its end, whichever folder was asked for and however many processes ran it."""

import pytest

from tests.support.object_servers import azure_left_out


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if reason := azure_left_out():
        terminalreporter.write_line(reason)
