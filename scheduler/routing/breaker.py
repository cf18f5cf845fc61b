"""Takes a runner out that fails where others do not, and tries it again with one task.

The circuit breaker (Nygard, "Release It!", 2007) with closed, open and half-open, one for each runner and model.
Failures open it only when they are the runner's own: another runner of the model must do clearly better, because a
flood of tasks that fail everywhere says nothing about a runner, and taking out the last one would help nobody.
"""

from collections import deque
from enum import Enum
from typing import Final

WINDOW: Final = 20
"""Outcomes that are looked back at."""
LEAST: Final = 5
"""Outcomes before anything is decided."""
FAILING: Final = 0.5
"""Part of the outcomes that must be failures."""
CLEARLY: Final = 3.0
"""How many times the others' part of failures its own must be."""
FIRST_REST_S: Final = 2.0
LONGEST_REST_S: Final = 60.0


class Circuit(Enum):
    """Whether a runner gets work."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"
    """One task at a time tells whether it is well again."""


class Breaker:
    """The circuit of one runner. Times are monotonic seconds, given by the caller."""

    def __init__(self) -> None:
        self._outcomes: deque[bool] = deque(maxlen=WINDOW)
        self._rest_s = FIRST_REST_S
        self._until_s = 0.0
        self._open = False

    @property
    def failures(self) -> tuple[int, int]:
        """Failures and outcomes that it looks back at."""
        return sum(self._outcomes), len(self._outcomes)

    def state(self, now_s: float) -> Circuit:
        """Return whether the runner gets work at this time."""
        if not self._open:
            return Circuit.CLOSED
        return Circuit.HALF_OPEN if now_s >= self._until_s else Circuit.OPEN

    def room(self, now_s: float, held: int, free: int) -> int:
        """Return how much of its free credit may be used, while it holds so many tasks."""
        if not self._open:
            return free
        return min(free, 1) if now_s >= self._until_s and not held else 0

    def outcome(self, failed: bool, now_s: float, others: tuple[int, int]) -> bool:
        """Take in how an attempt ended; `others` are failures and outcomes of the model's other runners that get work.

        Returns whether the circuit opened or closed by it.
        """
        if self._open:
            # What was assigned before it opened says nothing new.
            if now_s < self._until_s:
                return False
            if failed:
                self._rest_s = min(LONGEST_REST_S, 2 * self._rest_s)
                self._until_s = now_s + self._rest_s
                return False
            self._open = False
            self._outcomes.clear()
            return True
        self._outcomes.append(failed)
        if failed and self._is_its_own_fault(others):
            self._open = True
            self._until_s = now_s + self._rest_s
            return True
        if not failed and len(self._outcomes) == WINDOW and not any(self._outcomes):
            self._rest_s = FIRST_REST_S
        return False

    def _is_its_own_fault(self, others: tuple[int, int]) -> bool:
        failures, seen = self.failures
        their_failures, theirs = others
        if seen < LEAST or theirs < LEAST or failures < FAILING * seen:
            return False
        return failures * theirs >= CLEARLY * their_failures * seen
