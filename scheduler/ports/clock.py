"""Time, as the domain may see it."""

from typing import Protocol


class StoreTime(Protocol):
    """The record store's clock: leases, timers and deadlines go by it, and whatever must agree with them."""

    async def now_ms(self) -> int:
        """Return milliseconds since the Unix epoch. Raises RecordsUnavailable when the store does not answer."""
        ...


class Clock(Protocol):
    """A source of time. The domain calls nothing else for it."""

    def now_ms(self) -> int:
        """Return wall-clock milliseconds since the Unix epoch. For stamps and people; may jump."""
        ...

    def monotonic(self) -> float:
        """Return seconds that never go back. For durations."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return after that many seconds. Cancelling it has no effect beyond ending the wait."""
        ...
