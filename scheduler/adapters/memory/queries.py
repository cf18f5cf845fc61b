"""Reads, cancels and changes tasks in memory."""

from collections import Counter
from collections.abc import Sequence

from scheduler.adapters.memory.rows import Row
from scheduler.adapters.memory.sorted_sets import Listing
from scheduler.adapters.memory.state import State
from scheduler.ports.records import (
    Cancelled,
    PublishTicket,
    QueueCount,
    Record,
    Republication,
    Update,
    Updated,
)
from scheduler.replacing import envelope_digest
from scheduler.states import WAITING, Event, Level, TaskState


class MemoryQueries:
    """QueryStore in memory."""

    def __init__(self, state: State) -> None:
        self._state = state

    async def get(self, ids: Sequence[str], include_result: bool) -> list[Record | None]:
        """Read records; see QueryStore."""
        rows = [self._state.row(task_id) for task_id in ids]
        return [row.record(include_result) if row else None for row in rows]

    async def list_ids(self, tenant: str, before: str, limit: int) -> list[str]:
        """List a tenant's ids, newest first; see QueryStore."""
        return self._state.page(self._state.tasks.get(tenant, Listing()), before, limit)

    async def output(self, task_id: str, after: int, limit: int) -> list[tuple[int, bytes]]:
        """Read a token stream; see QueryStore."""
        row = self._state.row(task_id)
        return [chunk for chunk in row.chunks if chunk[0] > after][:limit] if row else []

    async def cancel(
        self, ids: Sequence[str], tenant: str, error: bytes, last_output: bytes
    ) -> list[Cancelled]:
        """Cancel tasks; see QueryStore."""
        answers = [self._cancel(task_id, tenant, error, last_output) for task_id in ids]
        self._state.commit()
        return answers

    def _cancel(self, task_id: str, tenant: str, error: bytes, last_output: bytes) -> Cancelled:
        row = self._state.row(task_id)
        if row is None or row.task.tenant != tenant:
            return Cancelled.NOT_FOUND
        if row.state.terminal:
            return Cancelled.ALREADY_TERMINAL
        if last_output:
            self._state.append(row, last_output)
        row.error = error
        self._state.stop(row, Event.CANCEL)
        return Cancelled.CANCELLED

    async def queue_counts(self) -> list[QueueCount]:
        """Count tasks that have not ended; see QueryStore."""
        counts: Counter[tuple[str, Level, TaskState]] = Counter()
        for ((pool, level, _, _), state), number in self._state.counts.items():
            counts[pool, level, state] += number
        return [
            QueueCount(
                *queue,
                queued=counts[*queue, TaskState.QUEUED],
                running=counts[*queue, TaskState.RUNNING],
                waiting=sum(counts[*queue, state] for state in WAITING),
            )
            for queue in sorted({(pool, level) for pool, level, _ in counts})
        ]

    async def update(
        self, updates: Sequence[Update], tenant: str
    ) -> tuple[list[Updated], list[Republication], list[PublishTicket]]:
        """Change tasks that wait; see QueryStore.

        Those that go on waiting are returned with number 0: the log must have their newest envelope too.
        """
        answers: list[Updated] = []
        changed: list[Row] = []
        for update in updates:
            row = self._state.row(update.id)
            answer = _refusal(row, update, tenant)
            if row is not None and answer is Updated.UPDATED:
                self._update(row, update)
                changed.append(row)
            answers.append(answer)
        again = self._state.remind(changed)
        self._state.commit()
        return answers, *again

    def _update(self, row: Row, update: Update) -> None:
        self._state.rewrite(row, update)
        timers = self._state.of(row).timers
        later = update.not_before_ms > self._state.clock.now_ms()
        if row.state is TaskState.RETRYING:
            # The backoff is the least that it rests.
            later = update.not_before_ms > (timers.at(row.id) or 0)
        postponed = later and row.state in (TaskState.QUEUED, TaskState.RETRYING)
        self._state.move(row, Event.POSTPONE if postponed else Event.UPDATE, "UPDATED")
        if row.state is TaskState.SCHEDULED:
            timers.put(row.id, update.not_before_ms)


def _refusal(row: Row | None, update: Update, tenant: str) -> Updated:
    if row is None or row.task.tenant != tenant:
        return Updated.NOT_FOUND
    if row.state is TaskState.RUNNING or row.state.terminal:
        return Updated.NOT_WAITING
    if update.replaces not in ("", envelope_digest(row.task.envelope)):
        return Updated.MOVED
    return Updated.UPDATED if row.publication == update.publication else Updated.MOVED
