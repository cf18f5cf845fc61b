"""Strict levels: one starts only when no higher one waits. Static priority, the oldest policy there is (Cobham,
"Priority Assignment in Waiting Line Problems", Operations Research, 1954). By itself it starves lower levels: only
ageing (policies/ageing.py) gets them their turns, so a policy that is strict and never ages is refused.
"""

from collections.abc import Collection

from scheduler.states import Level


class StrictLevels:
    """Levels that do not share. What starts cost is of no interest."""

    def arrive(self, level: Level, waiting: Collection[Level] = ()) -> None:
        """Do nothing: what a level has had does not matter."""

    def pick(self, waiting: Collection[Level]) -> Level | None:
        """Return the highest of the waiting levels, or None when none waits."""
        return min(waiting, default=None)

    def charge(self, level: Level, cost: float = 1.0, starts: int = 1) -> None:
        """Do nothing, as `arrive`."""

    def correct(self, level: Level, cost: float) -> None:
        """Do nothing, as `arrive`."""
