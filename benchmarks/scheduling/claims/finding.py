"""What a claim gives back: a scenario, its table, and bars that were met or missed."""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from benchmarks.scheduling import tables
from benchmarks.scheduling.contenders import Contenders
from benchmarks.scheduling.scenario import Scenario
from benchmarks.scheduling.simulator import Run


class Bar(NamedTuple):
    """One claim about one figure."""

    claim: str
    found: str
    wanted: str
    met: bool


class Finding(NamedTuple):
    """What one scenario showed."""

    scenario: Scenario
    rows: Sequence[tuple[str, ...]]
    """One a policy."""
    bars: Sequence[Bar] = ()
    notes: Sequence[str] = ()
    """What else is to be said, in sentences: what theory says, and where nothing is claimed."""
    head: Sequence[str] = tables.HEAD


Claim = Callable[[int, float], Iterable[Finding]]
"""Takes a seed and a scale, 1 for the long form."""


def compare(scenario: Scenario, contenders: Contenders) -> tuple[dict[str, Run], list[tuple[str, ...]]]:
    """Run each contender over a scenario; returns the runs by name, and the rows of their table."""
    runs = {name: contender.over(scenario) for name, contender in contenders.items()}
    return runs, [tables.row_of(name, run) for name, run in runs.items()]
