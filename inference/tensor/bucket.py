"""Requests of one shape that wait: what can share a run."""

from collections import deque
from collections.abc import Iterable

from inference.tensor.batching import Item
from scheduler.states import Level


class Bucket:
    """Requests that can share a run, by level."""

    __slots__ = ("lines", "rows")

    def __init__(self) -> None:
        # By the number of the level: hashing one takes longer than all the rest.
        self.lines: list[deque[Item]] = [deque() for _ in range(max(Level) + 1)]
        self.rows = 0

    def heads(self) -> Iterable[Item]:
        """Return the oldest of each level."""
        return [line[0] for line in self.lines if line]
