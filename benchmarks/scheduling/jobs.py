"""Tasks on their way through a simulated fleet."""

from dataclasses import dataclass
from enum import Enum
from math import isnan, nan

from benchmarks.scheduling.traces import Arrival


class End(Enum):
    """How a task ended, or that it did not."""

    NOT_YET = "not yet"
    DONE = "done"
    EXPIRED = "expired"
    """Its deadline had passed before it began."""
    CANNOT_FINISH = "cannot finish"
    """It was not begun because it would not have been done in time."""
    STOPPED = "stopped"
    """Its deadline passed while it was executed."""


@dataclass(slots=True, eq=False)
class Job:
    """One task on its way. Times are virtual milliseconds."""

    number: int
    arrival: Arrival
    start_ms: float = nan
    """When it began for the first time."""
    end_ms: float = nan
    """Of one that is executed: when it will end unless it is paused."""
    spent_ms: float = 0.0
    """How long it was executed in all, up to `end_ms`."""
    pauses: int = 0
    """How often it has given its slot to another one."""
    runner: str = ""
    end: End = End.NOT_YET

    @property
    def id(self) -> str:
        """Its name in this run."""
        return f"task-{self.number:09d}"

    @property
    def started(self) -> bool:
        """Whether it has begun, now or before."""
        return not isnan(self.start_ms)

    @property
    def wait_ms(self) -> float:
        """From arrival to start."""
        return self.start_ms - self.arrival.time_ms

    @property
    def in_time(self) -> bool:
        """Whether it was done, by its deadline if it has one."""
        return self.end is End.DONE
