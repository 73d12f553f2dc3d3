"""Whether the JavaScript client can be tested here."""

import os
import shutil


def javascript_left_out() -> str | None:
    """What to say when its tests are left out; None where they run."""
    if shutil.which("node") and shutil.which("npm") and os.environ.get("GANTRY_WITHOUT_NODE") != "1":
        return None
    return "NOT RUN: tests of the JavaScript dicomweb-client (no node and npm, or GANTRY_WITHOUT_NODE=1)"
