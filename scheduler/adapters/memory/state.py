"""The state of the record store in memory, and the one way in which a task moves.

Nothing in here waits, so every call of a port is atomic for the event loop that owns the store. A call makes its moves
and then commits: followers are told, and endings are handed to the follow-ups, once for the whole call.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

from scheduler.adapters.memory.events import MemoryEvents
from scheduler.adapters.memory.partitions import Partition
from scheduler.adapters.memory.rows import Queue, Row
from scheduler.adapters.memory.sorted_sets import Listing
from scheduler.adapters.retention import Retention
from scheduler.ids import is_task_id, partition_of
from scheduler.ports.clock import Clock
from scheduler.ports.events import TaskChange
from scheduler.ports.records import HistoryEntry, NewTask, PublishTicket, Republication, Update
from scheduler.states import MOVES, Event, TaskState

HISTORY_KEPT: Final = 32


class IllegalMove(Exception):
    """A caller asked for a move that the table of moves does not have: a fault of the program."""


class State:
    """All records of a store, with its clock and its events."""

    def __init__(self, clock: Clock, retention: Retention, events: MemoryEvents) -> None:
        self.clock = clock
        self.retention = retention
        self.events = events
        self.keys: dict[tuple[str, str], tuple[str, str, int]] = {}
        """(tenant, key) to (id, fingerprint, expiry)."""
        self.counts: Counter[tuple[Queue, TaskState]] = Counter()
        """How many tasks of a line are in a state that is not terminal; never 0."""
        self.partitions: dict[int, Partition] = {}
        self.tasks: dict[str, Listing] = {}
        """All of a tenant."""
        self.dead: dict[str, Listing] = {}
        """The dead letters of a tenant."""
        self._changes: list[TaskChange] = []
        self._ended: list[Row] = []
        self._stopped: list[str] = []

    def partition(self, number: int) -> Partition:
        """Return a partition."""
        found = self.partitions.get(number)
        if found is None:
            found = self.partitions[number] = Partition(number)
        return found

    def of(self, row: Row) -> Partition:
        """Return the partition of a record."""
        return self.partitions[partition_of(row.id)]

    def among(self, numbers: Iterable[int]) -> list[Partition]:
        """Return those of these partitions that ever had something in them."""
        return [self.partitions[number] for number in numbers if number in self.partitions]

    def add(self, task: NewTask) -> Row:
        """Record a task in the state that it begins in."""
        # What is not QUEUED has not come to its first publication.
        number = task.publication - (task.state is not TaskState.QUEUED)
        history = [HistoryEntry(self.clock.now_ms(), task.state, task.reason)]
        row = Row(task, task.state, number, history, set(task.parents), result=task.result)
        for payload in task.outputs:
            self.append(row, payload)
        partition = self.partition(partition_of(task.id))
        partition.rows[task.id] = row
        if task.state is TaskState.SCHEDULED:
            partition.timers.put(task.id, task.not_before_ms)
        if row.state.terminal:
            self._conclude(row)
        elif task.deadline_ms:
            partition.deadlines.put(task.id, task.deadline_ms)
        self.tasks.setdefault(task.tenant, Listing()).add(task.id)
        self._enter(row)
        self._changes.append(TaskChange(task.id, row.state, 0))
        return row

    def row(self, task_id: str) -> Row | None:
        """Find a record; one that has expired is forgotten here."""
        partition = self.partitions.get(partition_of(task_id)) if is_task_id(task_id) else None
        row = partition.rows.get(task_id) if partition else None
        if partition and row and row.expire_ms and row.expire_ms <= self.clock.now_ms():
            del partition.rows[task_id]
            self.tasks.get(row.task.tenant, Listing()).drop(task_id)
            self.dead.get(row.task.tenant, Listing()).drop(task_id)
            return None
        return row

    def page(self, listing: Listing, before: str, limit: int) -> list[str]:
        """Return the newest `limit` ids of a listing before an id; those whose records have expired leave it here."""
        found: list[str] = []
        while len(found) < limit:
            part = listing.newest(before, limit - len(found))
            if not part:
                break
            before = part[-1]
            found += [task_id for task_id in part if self.row(task_id) is not None]
        return found

    def held(self, task_id: str, attempt: int) -> Row | None:
        """Find the record of a task that runs in this very attempt: the fence before every write of a runner."""
        row = self.row(task_id)
        return row if row and row.state is TaskState.RUNNING and row.attempt == attempt else None

    def move(self, row: Row, event: Event, reason: str = "") -> None:
        """Let an event happen to a task: every change of a state is one of these.

        A lease and a timer end with the state that they belong to, the publication grows by one whenever the task
        becomes QUEUED, and a terminal state ends the deadline and begins the retention. Raises IllegalMove.
        """
        after = MOVES.get((row.state, event))
        if after is None:
            raise IllegalMove(f"{event} cannot happen to a task that is {row.state.name}")
        now, before, partition = self.clock.now_ms(), row.state, self.of(row)
        self._leave(row)
        if after is not before:
            partition.leases.drop(row.id)
            partition.timers.drop(row.id)
        if after is TaskState.QUEUED:
            row.publication += 1
        if after is not TaskState.BLOCKED:
            row.waits_for.clear()
        row.state = after
        row.moves += 1
        if len(row.history) >= HISTORY_KEPT:
            # The creation stays.
            del row.history[1]
        row.history.append(HistoryEntry(now, after, reason))
        self._enter(row)
        self._changes.append(TaskChange(row.id, after, row.attempt))
        if after.terminal:
            partition.deadlines.drop(row.id)
            self._conclude(row)
        if event is Event.ATTEMPTS_EXHAUSTED:
            self.bury(row)

    def _conclude(self, row: Row) -> None:
        """Keep a record for its retention from now on, and what follows from its end."""
        row.expire_ms = self.clock.now_ms() + self.retention.record_s(row.task.tenant) * 1000
        self._ended.append(row)

    def bury(self, row: Row) -> None:
        """Enter a FAILED task in the dead letters of its tenant."""
        row.expire_ms = self.clock.now_ms() + self.retention.dead_letter_s * 1000
        self.dead.setdefault(row.task.tenant, Listing()).add(row.id)

    def stop(self, row: Row, event: Event, reason: str = "") -> None:
        """End a task in any state; whoever executes it is told."""
        if row.state is TaskState.RUNNING:
            self._stopped.append(row.id)
        self.move(row, event, reason)

    def rewrite(self, row: Row, update: Update) -> None:
        """Give a task other contents; its counters and its deadline follow, its timer does not."""
        self._leave(row)
        row.task = row.task._replace(
            level=update.level,
            deadline_ms=update.deadline_ms,
            not_before_ms=update.not_before_ms,
            envelope=update.envelope,
        )
        self._enter(row)
        deadlines = self.of(row).deadlines
        deadlines.drop(row.id)
        if update.deadline_ms:
            deadlines.put(row.id, update.deadline_ms)

    def _enter(self, row: Row) -> None:
        """Count a task where it is, unless it has ended."""
        if not row.state.terminal:
            self.counts[row.queue, row.state] += 1
        if row.state is TaskState.QUEUED:
            self.of(row).enter(row)

    def _leave(self, row: Row) -> None:
        """Count a task where it is no more."""
        self.counts[row.queue, row.state] -= 1
        if not self.counts[row.queue, row.state]:
            del self.counts[row.queue, row.state]
        if row.state is TaskState.QUEUED:
            self.of(row).leave(row)

    def append(self, row: Row, payload: bytes) -> int:
        """Append a chunk to the task's stream and return its number."""
        row.sequence += 1
        row.chunks.append((row.sequence, payload))
        if len(row.chunks) > self.retention.stream_chunks:
            row.chunks.popleft()
        return row.sequence

    def grown(self, row: Row) -> None:
        """Tell of a stream that grew."""
        self._changes.append(TaskChange(row.id, row.state, row.attempt, output=True))

    def remind(
        self, rows: Sequence[Row], made_ms: int | None = None
    ) -> tuple[list[Republication], list[PublishTicket]]:
        """Return what must be put on the log, with its tickets: one for each partition, made at `made_ms` or now."""
        members: dict[int, list[str]] = {}
        again = [row.republication() for row in rows]
        for row, item in zip(rows, again, strict=True):
            # A number 0 says nothing of which envelope must be parked: the count of moves does.
            name = f"{item.publication}:{item.id}:{row.moves}"
            members.setdefault(partition_of(item.id), []).append(name)
        tickets = [PublishTicket(number, ";".join(names)) for number, names in members.items()]
        for number, member in tickets:
            agenda = self.partition(number).tickets
            if agenda.at(member) is None:
                agenda.put(member, self.clock.now_ms() if made_ms is None else made_ms)
        return again, tickets

    def commit(self) -> None:
        """End a call: tell of its changes, and keep what follows from its endings."""
        changes, ended, stopped = self._changes, self._ended, self._stopped
        self._changes, self._ended, self._stopped = [], [], []
        by_partition: dict[int, list[Row]] = {}
        for row in ended:
            by_partition.setdefault(partition_of(row.id), []).append(row)
        wakes = [number for number, rows in by_partition.items() if self.partition(number).follow_up(rows)]
        self.events.publish(changes)
        self.events.publish_cancellations(stopped)
        self.events.publish_wakes(wakes)
