"""What a run leaves out is said once, at its end, whichever folder was asked for and however many processes ran it."""

import pytest

from tests.support.javascript import javascript_left_out
from tests.support.object_servers import azure_left_out


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for reason in (azure_left_out(), javascript_left_out()):
        if reason:
            terminalreporter.write_line(reason, yellow=True)
