"""What a runner has to do, as far as its responses tell: it tells with each, and says nothing while nobody asks it.

Work is counted in time of its engine, so what it told of shrinks by a second each second. Whatever came to it since by
other ways is not known: the first response tells of it.
"""

from typing import Final

from forebay.runner.v1.runner_service_pb2 import Load

TRUSTED_S: Final = 1.0
"""For how long the number of requests that it told of is better than what the directory says, which it tells once a
second."""


class RunnerLoad:
    """Of one runner. Times are of a clock that never goes back."""

    __slots__ = ("_held", "_told_s", "_work_ms")

    def __init__(self) -> None:
        self._work_ms = 0.0
        self._held = 0
        self._told_s: float | None = None

    def told(self, load: Load, now_s: float) -> None:
        """Take in what a response says."""
        self._work_ms = load.outstanding_us / 1000.0
        self._held = load.held
        self._told_s = now_s

    def work_ms(self, now_s: float) -> float:
        """Return its expected work, in milliseconds."""
        if self._told_s is None:
            return 0.0
        return max(0.0, self._work_ms - (now_s - self._told_s) * 1000.0)

    def held(self, now_s: float, announced: int) -> int:
        """Return how many requests it holds; `announced` is what the directory says."""
        fresh = self._told_s is not None and now_s - self._told_s < TRUSTED_S
        return self._held if fresh else announced
