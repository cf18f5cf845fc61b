"""How many tasks of each queue ended lately."""

from collections import deque

from scheduler.ports.clock import Clock
from scheduler.states import Level

WINDOW_S = 10


class Rates:
    """Counts ends in slots of one second over the last ten."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._slots: dict[tuple[str, Level], deque[list[int]]] = {}

    def ended(self, pool: str, level: Level, count: int) -> None:
        """Count a batch."""
        second = int(self._clock.monotonic())
        slots = self._slots.setdefault((pool, level), deque(maxlen=WINDOW_S))
        if slots and slots[-1][0] == second:
            slots[-1][1] += count
        else:
            slots.append([second, count])

    def per_second(self, pool: str, level: Level) -> float:
        """Return the mean over the last ten seconds."""
        first = int(self._clock.monotonic()) - WINDOW_S
        slots = self._slots.get((pool, level), ())
        return sum(count for second, count in slots if second > first) / WINDOW_S
