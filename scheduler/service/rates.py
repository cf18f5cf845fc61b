"""What came, started, ended and was worked off in each queue lately."""

from collections import deque
from typing import Final

from scheduler.ports.clock import Clock
from scheduler.states import Level

WINDOW_S: Final = 10
MOST_KEYS: Final = 1024
"""Queues, or models, that are counted; what nobody runs is not, so there are never so many."""

Queue = tuple[str, Level]
ModelKey = tuple[str, str]


class _Lately:
    """Sums by key, in slots of one second over the last ten."""

    def __init__(self) -> None:
        self.slots: dict[Queue | ModelKey, deque[list[float]]] = {}

    def add(self, key: Queue | ModelKey, second: int, amount: float) -> None:
        """Count in the slot of a second, unless there are too many keys."""
        slots = self.slots.get(key)
        if slots is None:
            if len(self.slots) >= MOST_KEYS:
                return
            slots = self.slots[key] = deque(maxlen=WINDOW_S)
        if slots and slots[-1][0] == second:
            slots[-1][1] += amount
        else:
            slots.append([second, amount])

    def mean(self, key: Queue | ModelKey, second: int, over_s: int = WINDOW_S) -> float:
        """Return the mean over so many seconds, at most ten, before and with this one."""
        slots = self.slots.get(key, ())
        return sum(amount for when, amount in slots if when > second - over_s) / over_s


class Rates:
    """Counts a batch at a time; all rates are means over the last ten seconds. Work is in milliseconds of one runner:
    one busy runner does 1000 of them in a second.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._arrived, self._started, self._ended, self._worked = _Lately(), _Lately(), _Lately(), _Lately()
        self._model_started, self._model_worked = _Lately(), _Lately()

    def arrived(self, pool: str, level: Level, count: int) -> None:
        """Count tasks that came into the window."""
        self._arrived.add((pool, level), self._second(), count)

    def started(self, pool: str, level: Level, model: str, count: int) -> None:
        """Count tasks that were assigned to runners."""
        second = self._second()
        self._started.add((pool, level), second, count)
        self._model_started.add((pool, model), second, count)

    def ended(self, pool: str, level: Level, count: int) -> None:
        """Count tasks that ended."""
        self._ended.add((pool, level), self._second(), count)

    def worked(self, pool: str, level: Level, model: str, work_ms: float) -> None:
        """Count what executions did cost."""
        second = self._second()
        self._worked.add((pool, level), second, work_ms)
        self._model_worked.add((pool, model), second, work_ms)

    def per_second(self, pool: str, level: Level) -> float:
        """Return how many tasks of a queue end."""
        return self._ended.mean((pool, level), self._second())

    def arrived_per_second(self, pool: str, level: Level) -> float:
        """Return how many tasks of a queue come into the window."""
        return self._arrived.mean((pool, level), self._second())

    def started_per_second(self, pool: str, level: Level) -> float:
        """Return how many tasks of a queue start."""
        return self._started.mean((pool, level), self._second())

    def work_per_second(self, pool: str, level: Level) -> float:
        """Return how much work of a queue is done, in milliseconds of one runner."""
        return self._worked.mean((pool, level), self._second())

    def model_starts_per_second(self, pool: str, model: str) -> float:
        """Return how many tasks of a model start."""
        return self._model_started.mean((pool, model), self._second())

    def model_work_per_second(self, pool: str, model: str, over_s: int = WINDOW_S) -> float:
        """Return how much work of a model is done, in milliseconds of one runner, by the mean over so many seconds."""
        return self._model_worked.mean((pool, model), self._second(), over_s)

    def _second(self) -> int:
        return int(self._clock.monotonic())
