"""A task while this runner has it: from its assignment until it is settled with the scheduler that sent it."""

from dataclasses import dataclass
from enum import IntEnum
from typing import Final, NamedTuple, Protocol

from inference.runner.job import Job
from scheduler.policies.failures import Backoff

DEFAULT_BACKOFF: Final = Backoff()
"""The rests of a task that names none."""


class Fate(IntEnum):
    """What became of an assignment. Values equal those of `forebay.dispatch.v1.Settled.Fate`."""

    TERMINAL = 1
    FENCED = 2
    RETURNED = 3


class Cost(NamedTuple):
    """What an execution cost."""

    execute_s: float
    """How long it took."""
    work_s: float
    """Its part of the engine's time."""
    output_tokens: int = 0


class Source(Protocol):
    """Who assigned a task and wants to know what became of it."""

    def settle(
        self, task_id: str, attempt: int, fate: Fate, cost: Cost | None = None, *, failed: bool = False
    ) -> None:
        """Report one assignment; its credit goes back with the report. No cost says that it was not executed, `failed`
        that another runner could have done better.
        """
        ...


@dataclass(slots=True, eq=False)
class Held(Job):
    """One leased task. Its key names the attempt: a task may be assigned here again while an old attempt of it still
    runs.
    """

    id: str
    attempt: int
    source: Source
    create_time_ms: int
    lease_time_ms: int
    streamed: bool = False
    """Whether output of this attempt was handed to the writer."""
    sequence: int = 0
    """Sequence number of the latest chunk of this attempt that the store has; 0 before."""
    max_attempts: int = 1
    backoff: Backoff = DEFAULT_BACKOFF
    """How long the task rests after a failure that another attempt may mend."""
    ending: bool = False
    """Whether its ending is being written: nothing else may settle it then."""
