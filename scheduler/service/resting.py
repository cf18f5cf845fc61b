"""Messages whose task runs elsewhere, or whose lease call went unanswered: looked at again after a while.

Handover: a scheduler that is handed a message whose task is RUNNING under a live lease neither leases nor drops it.
It rests here and goes back to the window; once that attempt has ended, the lease script calls the message stale (or
grants it), and it is settled.
"""

from collections import deque
from collections.abc import Callable, Iterable

from scheduler.ports.clock import Clock
from scheduler.service.entry import Waiting


class Resting:
    """Holds tasks for a fixed time, then gives them back. Bounded by the open bundles that they came in."""

    def __init__(self, rest_s: float, clock: Clock, give_back: Callable[[Waiting], None]) -> None:
        self._rest_s = rest_s
        self._clock = clock
        self._give_back = give_back
        self._tasks: deque[tuple[float, Waiting]] = deque()

    def rest(self, tasks: Iterable[Waiting]) -> None:
        """Put tasks to rest."""
        due = self._clock.monotonic() + self._rest_s
        self._tasks.extend((due, task) for task in tasks)

    async def run(self) -> None:
        """Give back what has rested, for ever."""
        while True:
            await self._clock.sleep(self._rest_s / 2)
            now = self._clock.monotonic()
            while self._tasks and self._tasks[0][0] <= now:
                self._give_back(self._tasks.popleft()[1])
