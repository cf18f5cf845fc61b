"""Notices an engine that does not come back: a kernel that waits for ever, a grammar that never ends."""

import asyncio
import time
from collections.abc import Callable
from typing import Final

LATE_S: Final = 1.0
"""A look that comes so much later than it was due: the whole process stood still meanwhile, not the engine alone."""


class Watchdog:
    """Looks on the event loop whether what the engine's thread began is over in time.

    The thread pays a reading of the clock for it. The loop wakes once in `limit_s` at most, and notices in time all the
    same: what begins after a look cannot be overdue before the next one.
    """

    def __init__(self, limit_s: float, bite: Callable[[], None]) -> None:
        """`bite` is called on the loop, once, when something has lasted for `limit_s`."""
        self._limit_s = limit_s
        self._bite = bite
        self._timer: asyncio.TimerHandle | None = None
        self.began_s: float | None = None
        """Monotonic time at which the thread began what it does; None while it does nothing that is watched."""

    def start(self) -> None:
        """Begin to look; on the loop."""
        self._look_in(self._limit_s)

    def stop(self) -> None:
        """Look no more; on the loop. Idempotent."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look_in(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(seconds, self._look, time.monotonic() + seconds)

    def _look(self, due_s: float) -> None:
        now_s, began_s = time.monotonic(), self.began_s
        left_s = self._limit_s
        if began_s is not None and now_s - due_s < LATE_S:
            left_s -= now_s - began_s
        if left_s > 0:
            self._look_in(left_s)
            return
        self._timer = None
        self._bite()
