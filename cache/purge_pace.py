"""Bounds how often purges are written, however many are asked for."""

from typing import Final

from scheduler.ports.clock import Clock

GATHER_S: Final = 0.05
"""What comes within this time after too many is written together."""
MOST_AT_ONCE: Final = 32
"""Purges that need not wait, when there were none for a while."""


class PurgePace:
    """When purges may be written: some at once, and then twenty times a second all that came meanwhile.

    A token bucket whose tokens are writes. Nobody's purges wait longer because somebody else has many.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._spare = float(MOST_AT_ONCE)
        self._counted_s = clock.monotonic()
        self._next_s = self._counted_s
        """When those that wait may be written; in the past where nobody waits."""

    async def turn(self) -> None:
        """Return when what is known by then may be written."""
        now_s = self._clock.monotonic()
        if now_s >= self._next_s:
            self._spare = min(float(MOST_AT_ONCE), self._spare + (now_s - self._counted_s) / GATHER_S)
            self._counted_s = now_s
            if self._spare >= 1:
                self._spare -= 1
                return
            self._next_s = now_s + (1 - self._spare) * GATHER_S
            self._spare -= 1
        await self._clock.sleep(self._next_s - now_s)
