"""The record store: one record a task, changed by atomic, fenced, batched steps.

Every method takes a batch, groups it by the partition in each task's id, and is atomic per partition. Every method
raises RecordsUnavailable when the store does not answer in time; the outcome is unknown then, and calling again
with the same arguments is harmless. Cancelling a call leaves its outcome unknown as well. Each change of state is
told to followers in the same step (ports/events.py). Stamps are milliseconds of the store's own clock.

The shapes are named tuples: they are made for every task on every hop, and a tuple is made three times as fast as a
frozen dataclass.
"""

from collections.abc import Sequence
from enum import IntEnum
from typing import NamedTuple, Protocol

from scheduler.states import Level, TaskState


class NewTask(NamedTuple):
    """A task that passed validation, ready to be recorded with attempt 0."""

    id: str
    tenant: str
    pool: str
    level: Level
    envelope: bytes
    """Serialised `forebay.tasks.v1.Envelope`; opaque here."""
    max_attempts: int
    deadline_ms: int = 0
    """0 for none."""
    idempotency_key: str = ""
    """Empty for none. Scoped to the tenant. All tasks with one key must be in one partition."""
    fingerprint: str = ""
    """Digest of the body, compared when the key is met again."""
    state: TaskState = TaskState.QUEUED
    """QUEUED, SCHEDULED (with `not_before_ms`), BLOCKED (with `parents`), or SUCCEEDED with a result that is known."""
    not_before_ms: int = 0
    """0 for at once."""
    parents: tuple[str, ...] = ()
    """Tasks that must end before; each must be linked with it afterwards (ports/follow_ups.py)."""
    publication: int = 1
    """The number of its first publication, which it gets when it is QUEUED for the first time. Over 1 only in a
    recovery."""
    model: str = ""
    """The model that executes it: part of the line that counts it. No ',' and no ';'."""
    result: bytes = b""
    """SUCCEEDED: its result, a serialised `forebay.tasks.v1.Result`; opaque here."""
    reason: str = ""
    """SUCCEEDED: UPPER_SNAKE word for the history."""
    outputs: tuple[bytes, ...] = ()
    """SUCCEEDED: its stream, each a serialised `StreamOutputResponse` without its sequence; opaque here."""


class Admitted(IntEnum):
    """What became of a NewTask."""

    CREATED = 1
    EXISTING = 2
    """Its key and fingerprint are known: `Admission.task_id` names the task that exists."""
    CONFLICT = 3
    """Its key is known with another fingerprint: `Admission.task_id` names the other task."""


class Admission(NamedTuple):
    """Answer for one NewTask, in the order of the batch. Times and state are those of the task named."""

    verdict: Admitted
    task_id: str
    state: TaskState
    publication: int
    create_time_ms: int


class PublishTicket(NamedTuple):
    """Reminder, kept by the store, that publications are on their way to the log; one per partition and batch.

    Publication 0 stands for a waiting task that must be parked on the log and, if it is BLOCKED, linked with its
    parents.
    """

    partition: int
    member: str
    """Opaque; names the ids and publication numbers."""


class Republication(NamedTuple):
    """A QUEUED task that must be put on the log with this number; with number 0 one that must be parked."""

    id: str
    publication: int
    envelope: bytes
    isolation: str = ""
    """The group of suspects that it belongs to; empty for none."""
    express: bool = False
    """Whether it was promoted: it goes to the express lane of its queue."""


class Wanted(NamedTuple):
    """A task that shall be leased."""

    id: str
    publication: int
    """The number of its message."""
    need_ms: int = 0
    """With a deadline that is no further away than this it cannot end in time, and becomes EXPIRED instead."""


class Lease(IntEnum):
    """What became of a request to lease."""

    GRANTED = 1
    STALE = 2
    """Terminal, missing, waiting, or queued under another publication: the message is worth nothing any more."""
    HELD = 3
    """RUNNING under a lease that stands: keep the message until that attempt ends."""
    EXPIRED = 4
    """Its deadline has passed, or comes before it could end: it is EXPIRED, by this call or an earlier one."""


class LeaseReply(NamedTuple):
    """Answer for one request to lease, in the order of the batch."""

    verdict: Lease
    attempt: int = 0
    """The fencing token of the granted attempt; of the present one for HELD."""
    time_ms: int = 0
    """When it was granted."""


class Hold(NamedTuple):
    """A claim to execute a task: its id and the attempt that is the fencing token."""

    id: str
    attempt: int


class Ending(NamedTuple):
    """What an attempt came to."""

    id: str
    attempt: int
    state: TaskState
    """SUCCEEDED, FAILED, or EXPIRED for an attempt whose deadline passed before the model took it in."""
    result: bytes = b""
    """Serialised `forebay.tasks.v1.Result` for SUCCEEDED; opaque here."""
    error: bytes = b""
    """Serialised `google.rpc.Status` for FAILED and EXPIRED; opaque here."""
    reason: str = ""
    """UPPER_SNAKE word for the history; empty for the ordinary way."""
    last_output: bytes = b""
    """Serialised `StreamOutputResponse` that closes the task's stream; empty when it has none. Opaque here."""
    retry_in_ms: int = -1
    """For FAILED: below 0 when no further attempt can mend it. Else, while charged attempts are left, the task becomes
    RETRYING instead, is due after so long, and its stream stays open; without any left it is a dead letter."""


class Written(IntEnum):
    """What became of an Ending."""

    WRITTEN = 1
    ALREADY = 2
    """This very attempt had written its ending before: the call is a repetition."""
    FENCED = 3
    """The task is terminal, gone, or belongs to another attempt: nothing was written."""


class OutputChunk(NamedTuple):
    """Output of a running attempt, for the task's stream."""

    id: str
    attempt: int
    payload: bytes
    """Serialised `StreamOutputResponse` without its sequence; opaque here."""
    after: int = -1
    """Sequence number of this attempt's previous chunk, 0 when there can be none in the stream; -1, not known, is for
    the first chunk of a later attempt, which voids earlier text. By it a repeated call writes nothing twice, however
    late it comes."""


class HistoryEntry(NamedTuple):
    """One step in a task's history."""

    time_ms: int
    state: TaskState
    reason: str


class Record(NamedTuple):
    """A task as the store has it. Times are 0 where they have not come."""

    id: str
    tenant: str
    state: TaskState
    attempt: int
    publication: int
    envelope: bytes
    create_time_ms: int
    queue_time_ms: int
    """When it last entered its queue; a promotion leaves it where it is."""
    start_time_ms: int
    end_time_ms: int
    runner: str
    error: bytes
    result: bytes
    """Empty when not asked for, not there yet, or expired."""
    history: tuple[HistoryEntry, ...]
    uncharged: int = 0
    """Attempts that do not count against the maximum."""


class Cancelled(IntEnum):
    """What became of a request to cancel."""

    CANCELLED = 1
    ALREADY_TERMINAL = 2
    NOT_FOUND = 3
    """There is no such task of this tenant."""


class QueueCount(NamedTuple):
    """How many tasks of a queue wait and run, exactly, by the records."""

    pool: str
    level: Level
    queued: int
    running: int
    waiting: int = 0
    """SCHEDULED, BLOCKED and RETRYING ones."""


class Update(NamedTuple):
    """A change of a task that waits. Everything is given anew; the level of the record follows from it."""

    id: str
    publication: int
    """The record's number when it was read: another one there means that it moved."""
    level: Level
    deadline_ms: int
    not_before_ms: int
    envelope: bytes
    replaces: str = ""
    """SHA-1 of the envelope that this one was made of, in hexadecimal: another one there means that it moved. Empty for
    no such check."""


class Updated(IntEnum):
    """What became of an Update."""

    UPDATED = 1
    NOT_WAITING = 2
    """It runs or has ended."""
    MOVED = 3
    """Its publication or its envelope is another one now: read it again."""
    NOT_FOUND = 4
    """There is no such task of this tenant."""


class AdmissionStore(Protocol):
    """Used by the gateway to accept tasks."""

    async def create(self, tasks: Sequence[NewTask]) -> tuple[list[Admission], list[PublishTicket]]:
        """Record tasks, keys checked in the same step; answers in order.

        The tickets cover the CREATED ones: hand them to `mark_published` after the log's acknowledgement (QUEUED ones
        published, the others parked, and linked with their parents); one that is SUCCEEDED needs none. A task without a
        deadline, a key, a time and parents costs nothing for what others have.
        """
        ...

    async def known(self, tasks: Sequence[NewTask]) -> list[Admission | None]:
        """Tell of tasks that have a key what `create` would answer, without recording anything; None for one whose key
        names no task.
        """
        ...

    async def mark_published(self, tickets: Sequence[PublishTicket]) -> None:
        """Forget that these were on their way. Not doing it costs a harmless second publication."""
        ...

    async def hasten(self, tickets: Sequence[PublishTicket]) -> None:
        """Let the next sweep complete these, if they are still there, instead of one after the usual time."""
        ...


class LeaseStore(Protocol):
    """Used by the scheduler to lease, and by runners to keep what they hold."""

    async def lease(self, wanted: Sequence[Wanted], runner: str, lease_ms: int) -> list[LeaseReply]:
        """Lease tasks to a runner. One that is made EXPIRED has the reason WHILE_QUEUED, or CANNOT_FINISH when its
        deadline itself is still to come.
        """
        ...

    async def renew(self, holds: Sequence[Hold], lease_ms: int) -> list[bool]:
        """Extend leases; False where the attempt is not the present one any more: stop executing it."""
        ...

    async def give_back(self, holds: Sequence[Hold]) -> tuple[list[Republication], list[PublishTicket]]:
        """Make RUNNING attempts that were never executed QUEUED again under a new publication, uncharged.

        Returns those that were still held; publish them, then mark the tickets.
        """
        ...


class OutcomeStore(Protocol):
    """Used by runners to write what an execution brings."""

    async def finish(self, endings: Sequence[Ending]) -> list[Written]:
        """Write terminal states, results and errors, or plan the next attempt; the first writer with the present
        attempt wins. Endings are handed to the follow-ups in the same step.
        """
        ...

    async def append_output(self, chunks: Sequence[OutputChunk]) -> list[int]:
        """Append to the tasks' streams; returns the sequence number of each chunk, or 0 where it was fenced."""
        ...


class QueryStore(Protocol):
    """Used by the gateway to read, to cancel and to change."""

    async def get(self, ids: Sequence[str], include_result: bool) -> list[Record | None]:
        """Read records; None for ids without one."""
        ...

    async def list_ids(self, tenant: str, before: str, limit: int) -> list[str]:
        """Return a tenant's ids, newest first: those that sort before `before` by the part after the partition
        (an id as a cursor; empty for the newest).
        """
        ...

    async def output(self, task_id: str, after: int, limit: int) -> list[tuple[int, bytes]]:
        """Read chunks with a sequence number above `after`, ascending: (sequence, payload)."""
        ...

    async def cancel(
        self, ids: Sequence[str], tenant: str, error: bytes, last_output: bytes
    ) -> list[Cancelled]:
        """Make tasks CANCELLED with this error, whatever their state, unless they are terminal; closes streams."""
        ...

    async def queue_counts(self) -> list[QueueCount]:
        """Count waiting and running tasks of every queue that has any."""
        ...

    async def update(
        self, updates: Sequence[Update], tenant: str
    ) -> tuple[list[Updated], list[Republication], list[PublishTicket]]:
        """Change tasks that wait. A QUEUED one is QUEUED under a new publication, or SCHEDULED when its time is to
        come; a SCHEDULED or RETRYING one keeps its state with the new time (a RETRYING one whose time lies after its
        backoff becomes SCHEDULED). Returns what became of each, and what must be published and marked; those that go
        on waiting have number 0, because the log must have their newest envelope too.
        """
        ...
