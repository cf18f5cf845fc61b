"""What a fleet is asked to do, and three ways in which its runners attach."""

from dataclasses import dataclass, replace
from typing import Final

from benchmarks.scheduling.fleet import RunnerSpec
from benchmarks.scheduling.traces import Arrival
from inference.runner.terms import GENERATIONS_AHEAD, LEAST_ALONE

HOP_MS: Final = 5.0
"""Of a message between scheduler and runner, with the lease that comes before it."""
STEP_MS: Final = 25.0
"""Of an engine that generates: a step of 16 rows of a model of 135 M parameters on 2 cores."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """What a fleet is asked to do."""

    name: str
    what: str
    """In a sentence."""
    arrivals: list[Arrival]
    fleet: tuple[RunnerSpec, ...]
    until_ms: float = float("inf")
    hop_ms: float = 0.0
    """How long a message between scheduler and runner takes."""

    def attached(self) -> "Scenario":
        """Return it for tensor runners as they attach, for tasks of more than 30 ms: each holds tasks ahead, one place
        is kept for CRITICAL ones, and a message takes its time.
        """
        ahead = LEAST_ALONE - 2
        runners = tuple(replace(one, ahead=ahead, reserve=1) for one in self.fleet)
        return replace(self, fleet=runners, hop_ms=HOP_MS)

    def pausing(self) -> "Scenario":
        """Return it for runners whose engine pauses rows, as those that generate do, as they attach."""
        ahead = GENERATIONS_AHEAD - 1
        return replace(
            self,
            fleet=tuple(
                replace(one, ahead=ahead * one.slots, reserve=one.slots, step_ms=STEP_MS)
                for one in self.fleet
            ),
            hop_ms=HOP_MS,
        )


def fleet(runners: int) -> tuple[RunnerSpec, ...]:
    """Return equal runners that execute one task at a time, and get each when it can begin."""
    return tuple(RunnerSpec(f"runner-{number}") for number in range(runners))
