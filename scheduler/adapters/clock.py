"""The machine's clock, and one that only moves when a test moves it."""

import asyncio
import heapq
import itertools
import time


class SystemClock:
    """Time of the machine."""

    def now_ms(self) -> int:
        """Return wall-clock milliseconds since the Unix epoch."""
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        """Return seconds that never go back."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Return after that many seconds."""
        await asyncio.sleep(seconds)


class FakeClock:
    """Time that stands still until `advance`. For one event loop."""

    def __init__(self, now_ms: int = 1_700_000_000_000) -> None:
        self._start_ms = now_ms
        self._elapsed_s = 0.0
        self._order = itertools.count()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._arrivals = asyncio.Condition()

    def now_ms(self) -> int:
        """Return the start plus all that was advanced."""
        return self._start_ms + round(self._elapsed_s * 1000)

    def monotonic(self) -> float:
        """Return the seconds that were advanced."""
        return self._elapsed_s

    async def sleep(self, seconds: float) -> None:
        """Return once the clock was advanced that far."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        wake: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._elapsed_s + seconds, next(self._order), wake))
        async with self._arrivals:
            self._arrivals.notify_all()
        await wake

    async def until_asleep(self, count: int = 1) -> None:
        """Return once at least `count` calls of `sleep` wait, so that advancing will reach them."""
        async with self._arrivals:
            await self._arrivals.wait_for(
                lambda: sum(not wake.done() for _, _, wake in self._sleepers) >= count
            )

    def advance(self, seconds: float) -> None:
        """Move time on and wake, in order, the sleepers whose time has come."""
        self._elapsed_s += seconds
        while self._sleepers and self._sleepers[0][0] <= self._elapsed_s + 1e-9:
            wake = heapq.heappop(self._sleepers)[2]
            if not wake.done():
                wake.set_result(None)
