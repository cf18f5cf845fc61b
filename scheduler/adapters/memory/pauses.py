"""Pauses and shelves in memory."""

from collections.abc import Sequence

from scheduler.adapters.memory.rows import Row
from scheduler.adapters.memory.state import State
from scheduler.ports.clock import Clock
from scheduler.ports.pauses import Pause, StandingPause
from scheduler.ports.records import PublishTicket, Republication
from scheduler.states import Event, TaskState


class MemoryPauses:
    """PauseStore in memory."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._standing: dict[Pause, StandingPause] = {}

    async def pause(self, pause: Pause, reason: str) -> StandingPause:
        """Pause; see PauseStore."""
        return self._standing.setdefault(pause, StandingPause(pause, reason, self._clock.now_ms()))

    async def resume(self, pause: Pause) -> StandingPause | None:
        """Take back a pause; see PauseStore."""
        return self._standing.pop(pause, None)

    async def pauses(self) -> list[StandingPause]:
        """Read all pauses; see PauseStore."""
        return list(self._standing.values())


class MemoryShelves:
    """ShelfStore in memory."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._shelves: dict[str, dict[str, int]] = {}
        """The publications under which tasks were shelved, by shelf and id, those that rest longest first."""

    async def shelve(self, shelf: str, tasks: Sequence[tuple[str, int]]) -> list[bool]:
        """Put tasks on a shelf; see ShelfStore."""
        return [self._shelve(shelf, *task) for task in tasks]

    def _shelve(self, shelf: str, task_id: str, publication: int) -> bool:
        row = self._state.row(task_id)
        if row is None or row.publication != publication:
            return True
        if row.state is TaskState.QUEUED:
            shelved = self._shelves.setdefault(shelf, {})
            if shelved.get(task_id) != publication:
                shelved.pop(task_id, None)
                shelved[task_id] = publication
        return row.state is not TaskState.RUNNING

    async def unshelve(self, shelf: str, limit: int) -> tuple[list[Republication], list[PublishTicket]]:
        """Take tasks off a shelf; see ShelfStore."""
        shelved = self._shelves.get(shelf, {})
        taken: list[Row] = []
        for task_id in list(shelved):
            if len(taken) >= limit:
                break
            publication = shelved.pop(task_id)
            row = self._state.row(task_id)
            # One that was changed, cancelled or leased meanwhile is on its way without the shelf.
            if row and row.state is TaskState.QUEUED and row.publication == publication:
                self._state.move(row, Event.UNSHELVE, "UNSHELVED")
                taken.append(row)
        if not shelved:
            self._shelves.pop(shelf, None)
        answer = self._state.remind(taken)
        self._state.commit()
        return answer

    async def shelves(self) -> dict[str, int]:
        """Count what rests; see ShelfStore."""
        return {shelf: len(shelved) for shelf, shelved in self._shelves.items()}
