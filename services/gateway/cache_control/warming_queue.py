"""Who may warm the cache when: little is taken in, and no tenant waits behind all that another one wants."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Final

from scheduler.errors import Overloaded

MOST_CALLS: Final = 32
"""Calls at one time, of all tenants."""
MOST_CALLS_OF_TENANT: Final = 4
MOST_BYTES: Final = 256 << 20
"""Bytes of all calls that are under way."""
MOST_BYTES_OF_TENANT: Final = 64 << 20
"""Of one tenant's; a call that is larger by itself is taken when the tenant has no other."""
WAIT_S: Final = 60.0
"""Longest wait of one request for its turn."""
_AGAIN_S: Final = 1.0


class WarmingQueue:
    """The room and the turns of one gateway."""

    def __init__(self, most: int, wait_s: float = WAIT_S) -> None:
        """`most`: how many answers are computed at one time."""
        self._most, self._wait_s = most, wait_s
        self._seats = asyncio.Semaphore(most)
        self._lines: dict[str, asyncio.Semaphore] = {}
        self._calls: Counter[str] = Counter()
        self._bytes: Counter[str] = Counter()

    @contextmanager
    def taken(self, tenant: str, size_bytes: int) -> Iterator[None]:
        """Take room for a call of a tenant while the block runs. Raises Overloaded."""
        own = self._calls[tenant]
        if self._calls.total() >= MOST_CALLS or own >= MOST_CALLS_OF_TENANT:
            raise Overloaded(
                f"{own} of {self._calls.total()} calls that warm the cache are the tenant's", _AGAIN_S
            )
        if own and self._bytes[tenant] + size_bytes > MOST_BYTES_OF_TENANT:
            raise Overloaded(f"{self._bytes[tenant]} bytes of the tenant are being warmed already", _AGAIN_S)
        if self._calls.total() and self._bytes.total() + size_bytes > MOST_BYTES:
            raise Overloaded(f"{self._bytes.total()} bytes are being warmed already", _AGAIN_S)
        self._calls[tenant] += 1
        self._bytes[tenant] += size_bytes
        try:
            yield
        finally:
            self._calls[tenant] -= 1
            self._bytes[tenant] -= size_bytes
            if not self._calls[tenant]:
                del self._calls[tenant], self._bytes[tenant]
                self._lines.pop(tenant, None)

    @asynccontextmanager
    async def seat(self, tenant: str) -> AsyncIterator[None]:
        """Wait for a turn, and have it while the block runs. Raises Overloaded when it does not come.

        A tenant has no more requests in the common line than there are seats, so that the next one's are behind those
        and not behind all that it has. To be called in the block of `taken`.
        """
        line = self._lines.setdefault(tenant, asyncio.Semaphore(self._most))
        try:
            async with asyncio.timeout(self._wait_s) as waiting:
                async with line, self._seats:
                    waiting.reschedule(None)
                    yield
        except TimeoutError as late:
            if not waiting.expired():
                raise
            raise Overloaded("too many answers are waited for to warm the cache", _AGAIN_S) from late
