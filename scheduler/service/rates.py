"""What came, started, ended and was worked off in each queue lately."""

from collections import deque
from statistics import median
from typing import Final

from scheduler.ports.clock import Clock
from scheduler.states import Level

WINDOW_S: Final = 10
MOST_KEYS: Final = 1024
"""Queues, or models, that are counted; what nobody runs is not, so there are never so many."""

STEADY_S: Final = 5
"""Seconds whose median says how much comes in steadily."""
_RARE: Final = WINDOW_S
"""Fewer arrivals than this in ten seconds say nothing of bursts."""

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
        return self.total(key, second, over_s) / over_s

    def total(self, key: Queue | ModelKey, second: int, over_s: int = WINDOW_S) -> float:
        """Return the sum over so many seconds, at most ten, before and with this one."""
        return sum(amount for when, amount in self.slots.get(key, ()) if when > second - over_s)

    def full_seconds(self, key: Queue | ModelKey, second: int, over_s: int) -> list[float]:
        """Return the sums of so many seconds, at most nine, before this one."""
        slots = {int(when): amount for when, amount in self.slots.get(key, ())}
        return [slots.get(when, 0.0) for when in range(second - over_s, second)]


class Rates:
    """Counts a batch at a time; all rates are means over the last ten seconds. Work is in milliseconds of one runner:
    one busy runner does 1000 of them in a second.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._arrived, self._started, self._ended, self._worked = _Lately(), _Lately(), _Lately(), _Lately()
        self._model_started, self._model_worked = _Lately(), _Lately()
        self._coming: dict[Queue, tuple[int, int]] = {}
        """The first and the latest second in which tasks of a queue came, with never ten seconds without any between.
        """

    def arrived(self, pool: str, level: Level, count: int) -> None:
        """Count tasks that came into the window."""
        queue, second = (pool, level), self._second()
        self._arrived.add(queue, second, count)
        since, latest = self._coming.get(queue, (second, second))
        self._coming[queue] = (since if second - latest < WINDOW_S else second, second)

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

    def steadily_per_second(self, pool: str, level: Level) -> float:
        """Return how many tasks of a queue go on coming in: a burst does not count, however many it brings."""
        second = self._second()
        if self._arrived.total((pool, level), second) < _RARE:
            return self.arrived_per_second(pool, level)
        return median(self._arrived.full_seconds((pool, level), second, STEADY_S))

    def burst(self, pool: str, level: Level) -> float:
        """Return how many tasks came into the window within the last second, beyond those that come in steadily."""
        now_s = self._clock.monotonic()
        second = int(now_s)
        before, steadily = (
            self._arrived.full_seconds((pool, level), second, 1)[0],
            self.steadily_per_second(pool, level),
        )
        this = self._arrived.total((pool, level), second, 1)
        return max(0.0, this + before * (1 - now_s + second) - steadily)

    def coming_for_s(self, pool: str, level: Level) -> int:
        """Return for how long tasks of a queue have been coming in without a pause of ten seconds; 0 when none do."""
        second = self._second()
        since, latest = self._coming.get((pool, level), (second, second))
        return second - since if second - latest < WINDOW_S else 0

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
        """Return how much work of a model is done, in milliseconds of one runner, by the mean over the time since so
        many seconds ago began, two at least.
        """
        now_s = self._clock.monotonic()
        second = int(now_s)
        # This second is not over: taken for a whole one, it would make every runner look slower than it is.
        return self._model_worked.total((pool, model), second, over_s) / (over_s - 1 + now_s - second)

    def _second(self) -> int:
        return int(self._clock.monotonic())
