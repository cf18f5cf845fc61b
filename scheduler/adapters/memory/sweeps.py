"""What the sweeper asks of the store, in memory."""

from collections.abc import Mapping, Sequence

from scheduler.adapters.memory.rows import PROMOTED, Row
from scheduler.adapters.memory.state import State
from scheduler.ports.records import PublishTicket, Republication
from scheduler.ports.sweeps import LARGEST_READ_BYTES, MOST_SPARED, Death, Due
from scheduler.states import WAITING, Event, TaskState


class MemorySweeps:
    """SweepStore in memory."""

    def __init__(self, state: State) -> None:
        self._state = state

    async def due(self, partitions: Sequence[int], republish_after_ms: int) -> Due:
        """Look at all partitions; see SweepStore."""
        now = self._state.clock.now_ms()
        due = Due([], [], [], [], [], [], next_in_ms=-1)
        coming: list[int] = []
        for each in self._state.among(partitions):
            for agenda, ready, by_ms in (
                (each.leases, due.leases, now),
                (each.timers, due.timers, now),
                (each.deadlines, due.deadlines, now),
                (each.tickets, due.unpublished, now - republish_after_ms),
                (each.schedules, due.schedules, now),
            ):
                if agenda.has(by_ms):
                    ready.append(each.number)
            if each.follow_ups:
                due.follow_ups.append(each.number)
            firsts = (each.timers.first_ms, each.deadlines.first_ms, each.schedules.first_ms)
            coming += [first for first in firsts if first is not None]
        return due._replace(next_in_ms=max(min(coming) - now, 0)) if coming else due

    async def expire_leases(
        self, partitions: Sequence[int], limit: int, error: bytes
    ) -> tuple[list[Republication], list[str], list[PublishTicket]]:
        """End leases that ran out; see SweepStore."""
        back: list[Row] = []
        failed: list[str] = []
        for each in self._state.among(partitions):
            for task_id in each.leases.until(self._state.clock.now_ms(), limit):
                row = each.rows[task_id]
                if row.exhausted:
                    row.error = error
                    self._state.move(row, Event.ATTEMPTS_EXHAUSTED, "RUNNER_LOST")
                    failed.append(task_id)
                else:
                    self._state.move(row, Event.LEASE_EXPIRED, "LEASE_EXPIRED")
                    back.append(row)
        again, tickets = self._state.remind(back)
        self._state.commit()
        return again, failed, tickets

    async def wake(
        self, partitions: Sequence[int], limit: int
    ) -> tuple[list[Republication], list[PublishTicket]]:
        """Queue tasks whose time has come; see SweepStore."""
        woken: list[Row] = []
        for each in self._state.among(partitions):
            for task_id in each.timers.until(self._state.clock.now_ms(), limit):
                row = each.rows[task_id]
                self._state.move(row, Event.DUE, "DUE" if row.state is TaskState.SCHEDULED else "RETRY")
                woken.append(row)
        answer = self._state.remind(woken)
        self._state.commit()
        return answer

    async def expire_deadlines(self, partitions: Sequence[int], limit: int) -> list[str]:
        """End tasks whose deadline has passed; see SweepStore."""
        late = [
            each.rows[task_id]
            for each in self._state.among(partitions)
            for task_id in each.deadlines.until(self._state.clock.now_ms(), limit)
        ]
        for row in late:
            row.error = b""
            self._state.stop(row, Event.EXPIRE, f"WHILE_{row.state.name}")
        self._state.commit()
        return [row.id for row in late]

    async def unpublished(
        self, partitions: Sequence[int], older_than_ms: int, limit: int
    ) -> list[tuple[PublishTicket, list[Republication]]]:
        """Read old tickets; see SweepStore."""
        by_ms = self._state.clock.now_ms() - older_than_ms
        found: list[tuple[PublishTicket, list[Republication]]] = []
        for each in self._state.among(partitions):
            size = 0
            for member in each.tickets.until(by_ms, limit):
                tasks = self._named(member)
                found.append((PublishTicket(each.number, member), tasks))
                size += sum(len(task.envelope) for task in tasks)
                if size >= LARGEST_READ_BYTES:
                    break
        return found

    def _named(self, member: str) -> list[Republication]:
        """Return those tasks of a ticket for which it still speaks."""
        found: list[Republication] = []
        for name in member.split(";"):
            number, task_id, _ = name.split(":")
            row = self._state.row(task_id)
            if row is not None and (row.state is TaskState.QUEUED or row.state in WAITING):
                item = row.republication()
                if item.publication == int(number):
                    found.append(item)
        return found

    async def promote(
        self, partitions: Sequence[int], slack_ms: int, needs: Mapping[str, int], limit: int
    ) -> tuple[list[Republication], list[PublishTicket]]:
        """Put urgent tasks under a new publication; see SweepStore."""
        now = self._state.clock.now_ms()
        promoted: list[Row] = []
        for each in self._state.among(partitions):
            for model, urgent in list(each.urgent.items()):
                last_ms = now + slack_ms + needs.get(model, 0) - 1
                for task_id in urgent.between(now + 1, last_ms, limit):
                    row = each.rows[task_id]
                    self._state.move(row, Event.PROMOTE, PROMOTED)
                    promoted.append(row)
        answer = self._state.remind(promoted)
        self._state.commit()
        return answer

    async def runner_died(self, deaths: Sequence[Death], reason: str, error: bytes) -> int:
        """End the attempts that a dead runner held; see SweepStore."""
        back: list[Row] = []
        ended = 0
        for death in deaths:
            row = self._state.held(death.id, death.attempt)
            if row is None:
                continue
            ended += 1
            charged = death.charged or (bool(death.isolation) and row.returned >= MOST_SPARED)
            if charged and row.exhausted:
                row.error = error
                self._state.move(row, Event.ATTEMPTS_EXHAUSTED, reason)
                continue
            row.isolation = death.isolation
            row.returned += not charged
            self._state.move(row, Event.RUNNER_DIED, reason if charged else "RUNNER_DIED")
            back.append(row)
        # Nobody publishes them but the next sweep, so their tickets are old at once.
        self._state.remind(back, made_ms=0)
        self._state.commit()
        return ended
