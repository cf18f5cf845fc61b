"""Goes through every record in memory."""

from scheduler.adapters.memory.state import State
from scheduler.ports.records import Republication
from scheduler.ports.walk import OpenTask


class MemoryWalk:
    """WalkStore in memory."""

    def __init__(self, state: State) -> None:
        self._state = state

    async def open_tasks(self, partition: int, after: str, limit: int) -> tuple[list[OpenTask], str]:
        """Look at some records; see WalkStore. The cursor is the last id that was looked at."""
        ids = sorted(task_id for task_id in self._state.partition(partition).rows if task_id > after)
        page = ids[:limit]
        rows = [row for row in map(self._state.row, page) if row and not row.state.terminal]
        found = [
            OpenTask(
                row.state,
                Republication(row.id, row.publication, row.task.envelope, row.isolation, row.promoted),
            )
            for row in rows
        ]
        return found, page[-1] if len(ids) > limit else ""
