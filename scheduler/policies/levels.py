"""Weighted sharing between levels.

Weighted fair queueing by virtual time (Demers, Keshav and Shenker, "Analysis and Simulation of a Fair Queueing
Algorithm", SIGCOMM 1989; the virtual clock is the start tag of the last choice, as in Goyal, Vin and Cheng,
"Start-time Fair Queueing", SIGCOMM 1996). Every level has a counter that grows by cost / weight with each start; the
level whose counter would be lowest after its next start is next. So every level that keeps waiting gets its weight's
share, none starves, and a level that was idle starts almost at once: it is lifted to the present, not to the past,
and neither collects credit by being idle nor pays for what others did.
"""

from collections.abc import Collection, Mapping
from typing import Final

from scheduler.states import Level

DEFAULT_WEIGHTS: Final[Mapping[Level, int]] = {
    Level.CRITICAL: 64,
    Level.HIGH: 16,
    Level.NORMAL: 4,
    Level.LOW: 1,
}


class WeightedLevels:
    """Chooses the level of the next start. Costs are in any one unit; 1 a task unless more is known."""

    def __init__(self, weights: Mapping[Level, int] = DEFAULT_WEIGHTS) -> None:
        for level in Level:
            if weights.get(level, 0) <= 0:
                raise ValueError(f"level {level.label} needs a weight above 0")
        self._step = {level: 1.0 / weights[level] for level in Level}
        self._counter = dict.fromkeys(Level, 0.0)
        self._now = 0.0

    def arrive(self, level: Level) -> None:
        """Note that a level that had nothing waiting has something now."""
        if self._counter[level] < self._now:
            self._counter[level] = self._now

    def pick(self, waiting: Collection[Level]) -> Level | None:
        """Return which of the waiting levels is next, or None when none waits. Ties go to the higher level."""
        best: Level | None = None
        best_tag = 0.0
        for level in waiting:
            tag = self._counter[level] + self._step[level]
            if best is None or tag < best_tag or (tag == best_tag and level < best):
                best, best_tag = level, tag
        return best

    def charge(self, level: Level, cost: float = 1.0) -> None:
        """Count a start, or correct an estimate afterwards with what it differed by."""
        counter = self._counter[level]
        if cost > 0:
            self._now = max(self._now, counter)
        self._counter[level] = counter + cost * self._step[level]

    def share(self, level: Level) -> float:
        """Return the part of all starts that a level gets when every level waits, 0 to 1."""
        return (1 / self._step[level]) / sum(1 / step for step in self._step.values())


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
