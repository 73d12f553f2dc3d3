"""Processes held to a share of a processor, by the kernel's control groups (version 1 or 2). Needs root."""

import contextlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from benchmarks.lab import Left

_GROUPS = Path("/sys/fs/cgroup")
_PERIOD = 10_000  # microseconds


@contextlib.contextmanager
def held(pids: Iterable[int], share: float) -> Iterator[None]:
    """Each of the processes gets `share` of one processor at most, for the length of a block. Raises Left."""
    root = _root()
    groups: list[Path] = []
    try:
        try:
            for pid in pids:
                group = root / f"gantry-bench-{os.getpid()}-{pid}"
                group.mkdir()
                groups.append(group)
                _limit(group, int(share * _PERIOD))
                (group / "cgroup.procs").write_text(str(pid))
        except OSError as error:
            raise Left(f"control groups cannot be used here: {error.strerror}") from error
        yield
    finally:
        for group in groups:
            with contextlib.suppress(OSError):
                for pid in (group / "cgroup.procs").read_text().split():
                    (root / "cgroup.procs").write_text(pid)
                group.rmdir()


def _root() -> Path:
    """Where groups are made: of version 2 all controllers are in one place, and this one has to be passed on."""
    if (_GROUPS / "cpu" / "cgroup.procs").exists():
        return _GROUPS / "cpu"
    controllers = _GROUPS / "cgroup.controllers"
    if not controllers.exists() or "cpu" not in controllers.read_text().split():
        raise Left("there are no control groups for processors")
    with contextlib.suppress(OSError):
        (_GROUPS / "cgroup.subtree_control").write_text("+cpu")
    return _GROUPS


def _limit(group: Path, quota: int) -> None:
    if (group / "cpu.max").exists():
        (group / "cpu.max").write_text(f"{quota} {_PERIOD}")
        return
    (group / "cpu.cfs_period_us").write_text(str(_PERIOD))
    (group / "cpu.cfs_quota_us").write_text(str(quota))
