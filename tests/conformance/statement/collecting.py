"""A pytest plugin for `--collect-only`: which test names which requirement, as JSON in the file that PROOFS_FILE names."""

import json
import os
from collections import defaultdict
from pathlib import Path

import pytest

from tests.conformance.report import named

PROOFS_FILE = "GANTRY_CONFORMANCE_PROOFS"


def pytest_collection_finish(session: pytest.Session) -> None:
    proofs: dict[str, list[str]] = defaultdict(list)
    for item in session.items:
        test = f"{item.path.stem}::{getattr(item, 'originalname', None) or item.name}"
        for id_ in named(item, "proves"):
            if test not in proofs[id_]:
                proofs[id_].append(test)
    Path(os.environ[PROOFS_FILE]).write_text(json.dumps(proofs))
