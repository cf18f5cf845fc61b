"""A task while this runner has it: from its assignment until it is settled with the scheduler that sent it."""

from dataclasses import dataclass
from enum import IntEnum
from typing import Final, NamedTuple, Protocol

from inference.engine import GenerateRequest, Request
from scheduler.policies.failures import Backoff
from scheduler.states import Level

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
class Held:
    """One leased task. The event loop owns it, except `admitted_s`, `work_s` and `execute_s`, which the engine thread
    sets before it tells of the end.
    """

    key: str
    """Names the attempt to the engine: a task may be assigned here again while an old attempt of it still runs."""
    id: str
    attempt: int
    level: Level
    source: Source
    create_time_ms: int
    lease_time_ms: int
    traceparent: str
    """Of the scheduler's span for this attempt; empty when it is not traced."""
    received_s: float
    """Monotonic time of the assignment."""
    request: Request | None = None
    """What the engine gets; let go of when it is admitted. None from the start for work that could not be read."""
    admitted_s: float = 0.0
    """Monotonic time at which the engine took it in; 0 before."""
    work_s: float = 0.0
    """Its part of the engine's time so far, in seconds."""
    execute_s: float = 0.0
    """From `admitted_s` until the engine was through with it, in seconds; 0 before."""
    operation: str = ""
    """What a generation does, by OpenTelemetry's name; empty for tensors."""
    streamed: bool = False
    """Whether output of this attempt was handed to the writer."""
    sequence: int = 0
    """Sequence number of the latest chunk of this attempt that the store has; 0 before."""
    deadline_ms: int = 0
    """By the record store's clock; 0 for none."""
    max_attempts: int = 1
    backoff: Backoff = DEFAULT_BACKOFF
    """How long the task rests after a failure that another attempt may mend."""
    isolation: str = ""
    """The group of suspects that it belongs to; empty for none."""
    ending: bool = False
    """Whether its ending is being written: nothing else may settle it then."""

    @property
    def places(self) -> int:
        """How many places it takes in the engine: one for each answer that it asks for. Before it is admitted."""
        return max(1, self.request.n) if isinstance(self.request, GenerateRequest) else 1

    def overdue(self, now_s: float) -> bool:
        """Whether the deadline has passed at a monotonic time. The lease tells what the store's clock said then."""
        if not self.deadline_ms:
            return False
        return self.lease_time_ms + (now_s - self.received_s) * 1000 >= self.deadline_ms
