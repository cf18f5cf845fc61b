"""Weighted sharing between levels, and what every way of sharing between them offers.

Weighted fair queueing by virtual time (Demers, Keshav and Shenker, "Analysis and Simulation of a Fair Queueing
Algorithm", SIGCOMM 1989; the virtual clock is the start tag of the last choice, as in Goyal, Vin and Cheng,
"Start-time Fair Queueing", SIGCOMM 1996). Every level has a counter that grows by cost / weight with each start; the
level whose counter would be lowest after a start of usual cost is next. So every level that keeps waiting gets its
weight's share of the cost, none starves, and a level that was idle starts almost at once: it is lifted to the present,
not to the past, and neither collects credit by being idle nor pays for what others did.
"""

from collections.abc import Collection, Mapping
from typing import Final, Protocol

from scheduler.policies.usual_start import UsualStart
from scheduler.states import Level

DEFAULT_WEIGHTS: Final[Mapping[Level, int]] = {
    Level.CRITICAL: 64,
    Level.HIGH: 16,
    Level.NORMAL: 4,
    Level.LOW: 1,
}
OWED: Final = 8.0
"""Starts of usual cost that corrections may put a level, or a tenant, before the present: more at once would let it
shut out those who came while it was charged too much.
"""


class Levels(Protocol):
    """Chooses the level of the next start. Costs are in any one unit; 1 a start unless more is known."""

    def arrive(self, level: Level, waiting: Collection[Level] = ()) -> None:
        """Note that a level that had nothing waiting has something now, beside those that are `waiting`."""
        ...

    def pick(self, waiting: Collection[Level]) -> Level | None:
        """Return which of the waiting levels is next, or None when none waits."""
        ...

    def charge(self, level: Level, cost: float = 1.0, starts: int = 1) -> None:
        """Count `starts` starts in a row that are expected to cost `cost` together."""
        ...

    def correct(self, level: Level, cost: float) -> None:
        """Add what a start did cost beyond what it was charged; below 0 when it was charged too much."""
        ...


class WeightedLevels:
    """Levels that share by weight."""

    def __init__(self, weights: Mapping[Level, int] = DEFAULT_WEIGHTS) -> None:
        # Lists by the number of the level: hashing one takes longer than all the rest.
        self._step = _steps(weights)
        self._counter = [0.0] * len(self._step)
        self._now = 0.0
        self._usual = UsualStart()

    def follow(self, weights: Mapping[Level, int]) -> None:
        """Share by other weights from now on: what a level is ahead or owed, in cost, stays as it is."""
        step = _steps(weights)
        for level in Level:
            ahead = self._counter[level] - self._now
            self._counter[level] = self._now + ahead * step[level] / self._step[level]
        self._step = step

    def arrive(self, level: Level, waiting: Collection[Level] = ()) -> None:
        """Note that a level that had nothing waiting has something now, beside those that are `waiting`."""
        counter = self._counter
        # Corrections may have put everybody who waits before the last choice: the present is with them then.
        others = [counter[other] for other in waiting if other is not level]
        if others:
            self._now = min(self._now, max(others))
        if counter[level] < self._now:
            counter[level] = self._now

    def pick(self, waiting: Collection[Level]) -> Level | None:
        """Return which of the waiting levels is next, or None when none waits. Ties go to the higher level."""
        best: Level | None = None
        best_tag = 0.0
        counter, step, usual = self._counter, self._step, self._usual.cost
        for level in waiting:
            tag = counter[level] + usual * step[level]
            if best is None or tag < best_tag or (tag == best_tag and level < best):
                best, best_tag = level, tag
        return best

    def charge(self, level: Level, cost: float = 1.0, starts: int = 1) -> None:
        """Count `starts` starts in a row that are expected to cost `cost` together."""
        counter = self._counter[level]
        each = cost / starts
        self._now = max(self._now, counter + (cost - each) * self._step[level])
        self._counter[level] = counter + cost * self._step[level]
        self._usual.note(each, starts)

    def correct(self, level: Level, cost: float) -> None:
        """Add what a start did cost beyond what it was charged; below 0 when it was charged too much."""
        counter, step = self._counter[level], self._step[level]
        least = min(counter, self._now - OWED * self._usual.cost * step)
        self._counter[level] = max(counter + cost * step, least)


def parse_weights(pairs: Collection[str]) -> dict[Level, int]:
    """Read `level=weight` pairs over the defaults.

    Raises ValueError with a sentence that names the pair.
    """
    weights = dict(DEFAULT_WEIGHTS)
    for pair in pairs:
        name, _, number = pair.partition("=")
        try:
            weights[Level[name.strip().upper()]] = int(number)
        except (KeyError, ValueError):
            raise ValueError(
                f"{pair!r} is not level=weight with a level of critical, high, normal, low"
            ) from None
    return weights


def _steps(weights: Mapping[Level, int]) -> list[float]:
    """Return what one unit of cost adds to the counter of each level, by the level's number."""
    steps = [0.0] * (max(Level) + 1)
    for level in Level:
        if weights.get(level, 0) <= 0:
            raise ValueError(f"level {level.label} needs a weight above 0")
        steps[level] = 1.0 / weights[level]
    return steps
