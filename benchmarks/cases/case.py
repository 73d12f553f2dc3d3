"""What a case is."""

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.lab import Lab
from benchmarks.measurement import Measurement


@dataclass(frozen=True, slots=True)
class Case:
    """name    for `--only`
    title   for the table
    bar     what is aimed at
    run     one measurement per server and variant; raises benchmarks.lab.Left when it cannot be measured
    opt_in  only with the flag that names it
    """

    name: str
    title: str
    bar: str
    run: Callable[[Lab], list[Measurement]]
    opt_in: str = ""
