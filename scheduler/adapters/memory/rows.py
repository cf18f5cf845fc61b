"""One record in memory, and the forms in which others get to see it."""

from collections import deque
from dataclasses import dataclass, field
from typing import Final

from scheduler.ports.records import HistoryEntry, NewTask, Record, Republication
from scheduler.states import Level, TaskState

PROMOTED: Final = "PROMOTED"
"""Reason of the step that leaves a task its place in line."""

Queue = tuple[str, Level, str, str]
"""Pool, level, tenant and model."""


@dataclass(slots=True, eq=False)
class Row:
    """One task's record and its token stream."""

    task: NewTask
    """As it was created; an update replaces level, times and envelope."""
    state: TaskState
    publication: int
    history: list[HistoryEntry]
    waits_for: set[str]
    """Parents that have not ended, while it is BLOCKED."""
    attempt: int = 0
    written: int = -1
    """The last attempt that wrote its own ending; -1 for none."""
    moves: int = 0
    """How often it moved."""
    returned: int = 0
    """Attempts that are not charged."""
    runner: str = ""
    isolation: str = ""
    error: bytes = b""
    result: bytes = b""
    raw: bytes = b""
    topic: str = ""
    expire_ms: int = 0
    """0 while it is not terminal."""
    sequence: int = 0
    began: tuple[int, int] = (0, 0)
    """The latest attempt whose first chunk named no earlier one, and that chunk's number."""
    chunks: deque[tuple[int, bytes]] = field(default_factory=deque)

    @property
    def id(self) -> str:
        """The task's id."""
        return self.task.id

    @property
    def queue(self) -> Queue:
        """The line that counts it."""
        return self.task.pool, self.task.level, self.task.tenant, self.task.model

    @property
    def promoted(self) -> bool:
        """Whether it waits on the express lane."""
        return self.state is TaskState.QUEUED and self.history[-1].reason == PROMOTED

    @property
    def queue_time_ms(self) -> int:
        """When it last entered its queue; a promotion leaves it where it is."""
        queued = (entry for entry in self.history if entry.state is TaskState.QUEUED)
        return max((entry.time_ms for entry in queued if entry.reason != PROMOTED), default=0)

    @property
    def exhausted(self) -> bool:
        """Whether the present attempt was the last one that it may have."""
        return self.attempt - self.returned >= self.task.max_attempts

    def republication(self) -> Republication:
        """Return what must be put on the log: with number 0 what must be parked there."""
        number = self.publication if self.state is TaskState.QUEUED else 0
        return Republication(self.id, number, self.task.envelope, self.isolation, self.promoted)

    def record(self, include_result: bool) -> Record:
        """Return what readers get."""
        return Record(
            id=self.id,
            tenant=self.task.tenant,
            state=self.state,
            attempt=self.attempt,
            publication=self.publication,
            envelope=self.task.envelope,
            create_time_ms=self.history[0].time_ms,
            queue_time_ms=self.queue_time_ms,
            start_time_ms=self._start_time_ms(),
            end_time_ms=self.history[-1].time_ms if self.state.terminal else 0,
            runner=self.runner,
            error=self.error,
            result=self.result if include_result else b"",
            history=tuple(self.history),
            uncharged=self.returned,
        )

    def _start_time_ms(self) -> int:
        running = (entry for entry in self.history if entry.state is TaskState.RUNNING)
        return max((entry.time_ms for entry in running), default=0)
