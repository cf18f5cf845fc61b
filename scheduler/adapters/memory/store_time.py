"""The time of a store in memory: its clock's."""

from scheduler.ports.clock import Clock


class MemoryStoreTime:
    """StoreTime in memory."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    async def now_ms(self) -> int:
        """Return the clock's time; see StoreTime."""
        return self._clock.now_ms()
