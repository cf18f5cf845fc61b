"""Counts who waits in line, in memory."""

from collections.abc import Sequence

from scheduler.adapters.memory.state import State
from scheduler.ports.lines import Line
from scheduler.states import WAITING, Level, TaskState


class MemoryLines:
    """LineStore in memory."""

    def __init__(self, state: State) -> None:
        self._state = state

    async def lines(self) -> Sequence[Line]:
        """Count everything; see LineStore."""
        counts = self._state.counts
        return [
            Line(
                *queue,
                queued=counts[queue, TaskState.QUEUED],
                running=counts[queue, TaskState.RUNNING],
                waiting=sum(counts[queue, state] for state in WAITING),
            )
            for queue in sorted({queue for queue, _ in counts})
        ]

    async def place(self, pool: str, level: Level, tenant: str, model: str, queue_time_ms: int) -> int:
        """Count those of one line before a moment; see LineStore."""
        queues = [each.lines.get((pool, level, tenant, model)) for each in self._state.partitions.values()]
        return sum(queue.before(queue_time_ms) for queue in queues if queue is not None)
