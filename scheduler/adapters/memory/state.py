"""What the record store in memory consists of, and the few moves that all of its parts share."""

from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from scheduler.adapters.memory.events import MemoryEvents
from scheduler.adapters.retention import Retention
from scheduler.ids import partition_of
from scheduler.ports.clock import Clock
from scheduler.ports.events import TaskChange
from scheduler.ports.records import HistoryEntry, NewTask, PublishTicket
from scheduler.states import Level, TaskState

HISTORY_KEPT: Final = 32


@dataclass(slots=True, eq=False)
class Row:
    """One task's record and its token stream."""

    task: NewTask
    history: list[HistoryEntry]
    state: TaskState = TaskState.QUEUED
    attempt: int = 0
    publication: int = 1
    returned: int = 0
    runner: str = ""
    error: bytes = b""
    result: bytes = b""
    lease_until_ms: int = 0
    expire_ms: int = 0
    """0 while it is not terminal."""
    sequence: int = 0
    chunks: deque[tuple[int, bytes]] = field(default_factory=deque)

    @property
    def queue(self) -> tuple[str, Level]:
        """The queue that counts it."""
        return self.task.pool, self.task.level


class State:
    """All records of a store, with its clock and its events."""

    def __init__(self, clock: Clock, retention: Retention, events: MemoryEvents) -> None:
        self.clock = clock
        self.retention = retention
        self.events = events
        self.keys: dict[tuple[str, str], tuple[str, str, int]] = {}
        """(tenant, key) to (id, fingerprint, expiry)."""
        self.tickets: dict[PublishTicket, int] = {}
        """When each was made."""
        self.counts: Counter[tuple[str, Level, TaskState]] = Counter()
        self._rows: dict[str, Row] = {}

    def add(self, task: NewTask) -> Row:
        """Record a task as QUEUED."""
        row = Row(task, [HistoryEntry(self.clock.now_ms(), TaskState.QUEUED, "")])
        self._rows[task.id] = row
        self.counts[*row.queue, TaskState.QUEUED] += 1
        return row

    def row(self, task_id: str) -> Row | None:
        """Find a record; one that has expired is forgotten here."""
        row = self._rows.get(task_id)
        if row is not None and row.expire_ms and row.expire_ms <= self.clock.now_ms():
            del self._rows[task_id]
            return None
        return row

    def rows(self) -> Iterator[tuple[str, Row]]:
        """Go through all records that have not expired."""
        for task_id in list(self._rows):
            row = self.row(task_id)
            if row is not None:
                yield task_id, row

    def held(self, task_id: str, attempt: int) -> Row | None:
        """Find the record of a task that runs in this very attempt: the fence before every write of a runner."""
        row = self.row(task_id)
        return row if row and row.state is TaskState.RUNNING and row.attempt == attempt else None

    def move(self, row: Row, state: TaskState, reason: str = "") -> TaskChange:
        """Enter a state: counters, history and expiry follow."""
        now = self.clock.now_ms()
        self.counts[*row.queue, row.state] -= 1
        self.counts[*row.queue, state] += 1
        row.state = state
        if len(row.history) >= HISTORY_KEPT:
            # The creation stays.
            del row.history[1]
        row.history.append(HistoryEntry(now, state, reason))
        if state.terminal:
            row.expire_ms = now + self.retention.retention_s * 1000
        return TaskChange(row.task.id, state, row.attempt)

    def append(self, row: Row, payload: bytes) -> int:
        """Append a chunk to the task's stream and return its number."""
        row.sequence += 1
        row.chunks.append((row.sequence, payload))
        if len(row.chunks) > self.retention.stream_chunks:
            row.chunks.popleft()
        return row.sequence

    def remind(self, rows: Sequence[Row]) -> list[PublishTicket]:
        """Make the tickets of rows that are on their way to the log: one for each partition."""
        members: dict[int, list[str]] = {}
        for row in rows:
            members.setdefault(partition_of(row.task.id), []).append(f"{row.publication}:{row.task.id}")
        tickets = [PublishTicket(partition, ";".join(names)) for partition, names in members.items()]
        for ticket in tickets:
            self.tickets.setdefault(ticket, self.clock.now_ms())
        return tickets
