"""Accepts tasks in memory."""

from collections.abc import Sequence

from scheduler.adapters.memory.rows import Row
from scheduler.adapters.memory.state import State
from scheduler.ports.records import Admission, Admitted, NewTask, PublishTicket
from scheduler.states import BIRTHS


class MemoryAdmission:
    """AdmissionStore in memory."""

    def __init__(self, state: State) -> None:
        self._state = state

    async def create(self, tasks: Sequence[NewTask]) -> tuple[list[Admission], list[PublishTicket]]:
        """Record tasks; see AdmissionStore."""
        answers: list[Admission] = []
        fresh: list[Row] = []
        for task in tasks:
            row = self._state.row(task.id)
            verdict = Admitted.CREATED
            if row is None:
                row, verdict = self._known(task)
            if row is None:
                row = self._state.add(task)
            # A repeated call gets its ticket again unless the task has gone on.
            if verdict is Admitted.CREATED and row.state in BIRTHS:
                fresh.append(row)
            created_ms = row.history[0].time_ms
            answers.append(Admission(verdict, row.id, row.state, row.publication, created_ms))
        _, tickets = self._state.remind(fresh)
        self._state.commit()
        return answers, tickets

    async def known(self, tasks: Sequence[NewTask]) -> list[Admission | None]:
        """Tell which tasks exist under their keys; see AdmissionStore."""
        answers: list[Admission | None] = []
        for task in tasks:
            row, verdict = self._owner(task)
            known = None
            if row is not None:
                known = Admission(verdict, row.id, row.state, row.publication, row.history[0].time_ms)
            answers.append(known)
        return answers

    def _owner(self, task: NewTask) -> tuple[Row | None, Admitted]:
        """Return the task that has a task's key."""
        name = task.tenant, task.idempotency_key
        other, fingerprint, expire_ms = self._state.keys.get(name, ("", "", 0))
        row = self._state.row(other) if expire_ms > self._state.clock.now_ms() else None
        return row, Admitted.EXISTING if fingerprint == task.fingerprint else Admitted.CONFLICT

    def _known(self, task: NewTask) -> tuple[Row | None, Admitted]:
        if not task.idempotency_key:
            return None, Admitted.CREATED
        row, verdict = self._owner(task)
        if row is not None:
            return row, verdict
        now = self._state.clock.now_ms()
        name = task.tenant, task.idempotency_key
        self._state.keys[name] = task.id, task.fingerprint, now + self._state.retention.key_s * 1000
        return None, Admitted.CREATED

    async def mark_published(self, tickets: Sequence[PublishTicket]) -> None:
        """Forget tickets; see AdmissionStore."""
        for ticket in tickets:
            self._state.partition(ticket.partition).tickets.drop(ticket.member)

    async def hasten(self, tickets: Sequence[PublishTicket]) -> None:
        """Make tickets due; see AdmissionStore."""
        for ticket in tickets:
            agenda = self._state.partition(ticket.partition).tickets
            if agenda.at(ticket.member) is not None:
                agenda.put(ticket.member, 0)
