"""The record store in memory: what the scripts of the Redis adapter do, as plainly as it can be said.

Nothing in here waits, so every call is atomic for the event loop that owns the store.
"""

from collections.abc import Sequence

from scheduler.adapters.memory.state import Row, State
from scheduler.ids import partition_of
from scheduler.ports.events import TaskChange
from scheduler.ports.records import (
    Admission,
    Admitted,
    Cancelled,
    Ending,
    Hold,
    Lease,
    LeaseReply,
    NewTask,
    OutputChunk,
    PublishTicket,
    QueueCount,
    Record,
    Republication,
    Written,
)
from scheduler.states import TaskState


class MemoryRecords:
    """AdmissionStore, LeaseStore, OutcomeStore, SweepStore and QueryStore over one state."""

    def __init__(self, state: State) -> None:
        self._state = state

    async def create(self, tasks: Sequence[NewTask]) -> tuple[list[Admission], list[PublishTicket]]:
        """Record tasks; see AdmissionStore."""
        answers: list[Admission] = []
        waiting: list[Row] = []
        changes: list[TaskChange] = []
        for task in tasks:
            row = self._state.row(task.id)
            verdict = Admitted.CREATED
            if row is None:
                row, verdict = self._known(task)
            if row is None:
                row = self._state.add(task)
                changes.append(TaskChange(task.id, row.state, 0))
            if verdict is Admitted.CREATED and row.state is TaskState.QUEUED:
                waiting.append(row)
            created_ms = row.history[0].time_ms
            answers.append(Admission(verdict, row.task.id, row.state, row.publication, created_ms))
        self._state.events.publish(changes)
        return answers, self._state.remind(waiting)

    def _known(self, task: NewTask) -> tuple[Row | None, Admitted]:
        if not task.idempotency_key:
            return None, Admitted.CREATED
        now = self._state.clock.now_ms()
        name = task.tenant, task.idempotency_key
        other, fingerprint, expire_ms = self._state.keys.get(name, ("", "", 0))
        row = self._state.row(other) if expire_ms > now else None
        if row is not None:
            return row, Admitted.EXISTING if fingerprint == task.fingerprint else Admitted.CONFLICT
        self._state.keys[name] = task.id, task.fingerprint, now + self._state.retention.key_s * 1000
        return None, Admitted.CREATED

    async def mark_published(self, tickets: Sequence[PublishTicket]) -> None:
        """Forget tickets; see AdmissionStore."""
        for ticket in tickets:
            self._state.tickets.pop(ticket, None)

    async def lease(self, wanted: Sequence[tuple[str, int]], runner: str, lease_ms: int) -> list[LeaseReply]:
        """Lease tasks to a runner; see LeaseStore."""
        changes: list[TaskChange] = []
        answers = [self._lease(*pair, runner, lease_ms, changes) for pair in wanted]
        self._state.events.publish(changes)
        return answers

    def _lease(
        self, task_id: str, publication: int, runner: str, lease_ms: int, changes: list[TaskChange]
    ) -> LeaseReply:
        row, now = self._state.row(task_id), self._state.clock.now_ms()
        if row is None or row.publication != publication:
            return LeaseReply(Lease.STALE)
        if row.state is TaskState.RUNNING:
            return LeaseReply(Lease.HELD, row.attempt)
        if row.state is TaskState.EXPIRED:
            return LeaseReply(Lease.EXPIRED)
        if row.state is not TaskState.QUEUED:
            return LeaseReply(Lease.STALE)
        if 0 < row.task.deadline_ms <= now:
            changes.append(self._state.move(row, TaskState.EXPIRED))
            return LeaseReply(Lease.EXPIRED)
        row.attempt += 1
        row.runner = runner
        row.lease_until_ms = now + lease_ms
        changes.append(self._state.move(row, TaskState.RUNNING))
        return LeaseReply(Lease.GRANTED, row.attempt, now)

    async def renew(self, holds: Sequence[Hold], lease_ms: int) -> list[bool]:
        """Extend leases; see LeaseStore."""
        rows = [self._state.held(hold.id, hold.attempt) for hold in holds]
        until_ms = self._state.clock.now_ms() + lease_ms
        for row in rows:
            if row is not None:
                row.lease_until_ms = until_ms
        return [row is not None for row in rows]

    async def give_back(self, holds: Sequence[Hold]) -> tuple[list[Republication], list[PublishTicket]]:
        """Make attempts QUEUED again, uncharged; see LeaseStore."""
        rows: list[Row] = []
        for hold in holds:
            row = self._state.held(hold.id, hold.attempt)
            if row is not None:
                row.returned += 1
                rows.append(row)
        return self._requeue(rows, "RETURNED")

    def _requeue(self, rows: list[Row], reason: str) -> tuple[list[Republication], list[PublishTicket]]:
        changes: list[TaskChange] = []
        for row in rows:
            row.publication += 1
            changes.append(self._state.move(row, TaskState.QUEUED, reason))
        self._state.events.publish(changes)
        return [_republication(row) for row in rows], self._state.remind(rows)

    async def finish(self, endings: Sequence[Ending]) -> list[Written]:
        """Write terminal states; see OutcomeStore."""
        changes: list[TaskChange] = []
        answers = [self._finish(ending, changes) for ending in endings]
        self._state.events.publish(changes)
        return answers

    def _finish(self, ending: Ending, changes: list[TaskChange]) -> Written:
        row = self._state.held(ending.id, ending.attempt)
        if row is not None:
            if ending.last_output:
                self._state.append(row, ending.last_output)
            if ending.state is TaskState.SUCCEEDED:
                row.result = ending.result
            else:
                row.error = ending.error
            changes.append(self._state.move(row, ending.state, ending.reason))
            return Written.WRITTEN
        row = self._state.row(ending.id)
        by_runner = {TaskState.SUCCEEDED, TaskState.FAILED, ending.state}
        ended = row and row.attempt == ending.attempt and row.state in by_runner
        return (
            Written.ALREADY if row and ended and row.history[-1].reason != "RUNNER_LOST" else Written.FENCED
        )

    async def append_output(self, chunks: Sequence[OutputChunk]) -> list[int]:
        """Append to token streams; see OutcomeStore."""
        numbers: list[int] = []
        grown: dict[str, TaskChange] = {}
        for chunk in chunks:
            row = self._state.held(chunk.id, chunk.attempt)
            if row and row.sequence == chunk.after + 1 > 0:
                numbers.append(row.sequence)
                continue
            numbers.append(self._state.append(row, chunk.payload) if row else 0)
            if row:
                grown[chunk.id] = TaskChange(chunk.id, row.state, row.attempt, output=True)
        self._state.events.publish(list(grown.values()))
        return numbers

    async def expire_leases(
        self, partitions: Sequence[int], limit: int, error: bytes
    ) -> tuple[list[Republication], list[str], list[PublishTicket]]:
        """End leases that ran out; see SweepStore."""
        now = self._state.clock.now_ms()
        late: list[Row] = []
        for partition in partitions:
            late += [
                row
                for task_id, row in self._state.rows()
                if partition_of(task_id) == partition
                and row.state is TaskState.RUNNING
                and row.lease_until_ms <= now
            ][:limit]
        lost = [row for row in late if row.attempt - row.returned >= row.task.max_attempts]
        for row in lost:
            row.error = error
        self._state.events.publish([self._state.move(row, TaskState.FAILED, "RUNNER_LOST") for row in lost])
        back, tickets = self._requeue([row for row in late if row not in lost], "LEASE_EXPIRED")
        return back, [row.task.id for row in lost], tickets

    async def unpublished(
        self, partitions: Sequence[int], older_than_ms: int, limit: int
    ) -> list[tuple[PublishTicket, list[Republication]]]:
        """Read old tickets; see SweepStore."""
        before = self._state.clock.now_ms() - older_than_ms
        found: list[tuple[PublishTicket, list[Republication]]] = []
        for partition in partitions:
            old = [
                ticket
                for ticket, made_ms in self._state.tickets.items()
                if ticket.partition == partition and made_ms <= before
            ]
            found += [(ticket, self._waiting(ticket)) for ticket in old[:limit]]
        return found

    def _waiting(self, ticket: PublishTicket) -> list[Republication]:
        named = [name.split(":") for name in ticket.member.split(";")]
        rows = [(self._state.row(task_id), int(number)) for number, task_id in named]
        return [
            _republication(row)
            for row, number in rows
            if row and row.state is TaskState.QUEUED and row.publication == number
        ]

    async def get(self, ids: Sequence[str], include_result: bool) -> list[Record | None]:
        """Read records; see QueryStore."""
        rows = [self._state.row(task_id) for task_id in ids]
        return [_record(row, include_result) if row else None for row in rows]

    async def list_ids(self, tenant: str, before: str, limit: int) -> list[str]:
        """List a tenant's ids, newest first; see QueryStore."""
        own = [
            task_id
            for task_id, row in self._state.rows()
            if row.task.tenant == tenant and (not before or task_id[3:] < before[3:])
        ]
        return sorted(own, key=lambda task_id: task_id[3:], reverse=True)[: max(limit, 0)]

    async def output(self, task_id: str, after: int, limit: int) -> list[tuple[int, bytes]]:
        """Read a token stream; see QueryStore."""
        row = self._state.row(task_id)
        return [chunk for chunk in row.chunks if chunk[0] > after][:limit] if row else []

    async def cancel(
        self, ids: Sequence[str], tenant: str, error: bytes, last_output: bytes
    ) -> list[Cancelled]:
        """Cancel tasks; see QueryStore."""
        answers: list[Cancelled] = []
        changes: list[TaskChange] = []
        ran: list[str] = []
        for task_id in ids:
            row = self._state.row(task_id)
            if row is None or row.task.tenant != tenant:
                answers.append(Cancelled.NOT_FOUND)
            elif row.state.terminal:
                answers.append(Cancelled.ALREADY_TERMINAL)
            else:
                if row.state is TaskState.RUNNING:
                    ran.append(task_id)
                if last_output:
                    self._state.append(row, last_output)
                row.error = error
                changes.append(self._state.move(row, TaskState.CANCELLED))
                answers.append(Cancelled.CANCELLED)
        self._state.events.publish(changes)
        self._state.events.publish_cancellations(ran)
        return answers

    async def queue_counts(self) -> list[QueueCount]:
        """Count waiting and running tasks; see QueryStore."""
        counts = self._state.counts
        queues = sorted({(pool, level) for pool, level, _ in counts})
        return [
            QueueCount(*queue, counts[*queue, TaskState.QUEUED], counts[*queue, TaskState.RUNNING])
            for queue in queues
        ]


def _republication(row: Row) -> Republication:
    return Republication(row.task.id, row.publication, row.task.envelope)


def _record(row: Row, include_result: bool) -> Record:
    def latest(state: TaskState) -> int:
        return max((entry.time_ms for entry in row.history if entry.state is state), default=0)

    return Record(
        id=row.task.id,
        tenant=row.task.tenant,
        state=row.state,
        attempt=row.attempt,
        publication=row.publication,
        envelope=row.task.envelope,
        create_time_ms=row.history[0].time_ms,
        queue_time_ms=latest(TaskState.QUEUED),
        start_time_ms=latest(TaskState.RUNNING),
        end_time_ms=row.history[-1].time_ms if row.state.terminal else 0,
        runner=row.runner,
        error=row.error,
        result=row.result if include_result else b"",
        history=tuple(row.history),
    )
