"""Leases in memory."""

from collections.abc import Sequence

from scheduler.adapters.memory.rows import Row
from scheduler.adapters.memory.state import State
from scheduler.ports.records import Hold, Lease, LeaseReply, PublishTicket, Republication, Wanted
from scheduler.states import Event, TaskState


class MemoryLeases:
    """LeaseStore in memory."""

    def __init__(self, state: State) -> None:
        self._state = state

    async def lease(self, wanted: Sequence[Wanted], runner: str, lease_ms: int) -> list[LeaseReply]:
        """Lease tasks to a runner; see LeaseStore."""
        answers = [self._lease(task, runner, lease_ms) for task in wanted]
        self._state.commit()
        return answers

    def _lease(self, wanted: Wanted, runner: str, lease_ms: int) -> LeaseReply:
        row, now = self._state.row(wanted.id), self._state.clock.now_ms()
        if row is None or row.publication != wanted.publication:
            return LeaseReply(Lease.STALE)
        if row.state is TaskState.RUNNING:
            return LeaseReply(Lease.HELD, row.attempt)
        if row.state is TaskState.EXPIRED:
            return LeaseReply(Lease.EXPIRED)
        if row.state is not TaskState.QUEUED:
            return LeaseReply(Lease.STALE)
        if 0 < row.task.deadline_ms <= now + wanted.need_ms:
            row.error = b""
            late = row.task.deadline_ms <= now
            self._state.move(row, Event.EXPIRE, "WHILE_QUEUED" if late else "CANNOT_FINISH")
            return LeaseReply(Lease.EXPIRED)
        row.attempt += 1
        row.runner = runner
        self._state.move(row, Event.LEASE)
        self._state.of(row).leases.put(row.id, now + lease_ms)
        return LeaseReply(Lease.GRANTED, row.attempt, now)

    async def renew(self, holds: Sequence[Hold], lease_ms: int) -> list[bool]:
        """Extend leases; see LeaseStore."""
        rows = [self._state.held(hold.id, hold.attempt) for hold in holds]
        until_ms = self._state.clock.now_ms() + lease_ms
        for row in rows:
            if row is not None:
                self._state.of(row).leases.put(row.id, until_ms)
        return [row is not None for row in rows]

    async def give_back(self, holds: Sequence[Hold]) -> tuple[list[Republication], list[PublishTicket]]:
        """Make attempts QUEUED again, uncharged; see LeaseStore."""
        back: list[Row] = []
        for hold in holds:
            row = self._state.held(hold.id, hold.attempt)
            if row is not None:
                row.returned += 1
                self._state.move(row, Event.RETURN, "RETURNED")
                back.append(row)
        answer = self._state.remind(back)
        self._state.commit()
        return answer
