"""Entries on their way to the server and back: what is large is packed and unpacked in threads.

Zstandard and SHA-256 let go of the interpreter's lock while they work, so everybody else goes on meanwhile.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Final, TypeVar

from cache.adapters.redis.stored import arguments_of, entry_of
from cache.adapters.threads import BoundedThreads
from cache.entry import Damaged, unpacked_bytes
from cache.ports import Entry, Key
from cache.tiers.settings import TierSettings
from scheduler.adapters.redis.connection import Argument

AT_ONCE_BYTES: Final = 256 << 10
"""What is larger goes to a thread: 16 MiB of text would keep everybody else waiting for a tenth of a second."""
THREADS: Final = 2
WAITING_CALLS: Final = 32
"""What may wait for the threads, or be in them."""
T = TypeVar("T")


class Packing:
    """Packs and unpacks the entries of one tier. Raises TooManyCalls when too much that is large waits already."""

    def __init__(self, settings: TierSettings) -> None:
        self._settings = settings
        self._threads = BoundedThreads("cache-redis", THREADS, WAITING_CALLS)

    async def packed(self, entries: Mapping[Key, Entry], now_ms: int) -> dict[Key, list[Argument]]:
        """Return what `put.lua` takes of entries; see `arguments_of`."""
        return await self._done(
            sum(entry.size for entry in entries.values()),
            lambda: {key: arguments_of(key, entry, self._settings, now_ms) for key, entry in entries.items()},
        )

    async def unpacked(
        self, stored: Mapping[Key, bytes | None], keys: Iterable[Key], now_ms: int
    ) -> dict[Key, Entry | Damaged | None]:
        """Return what the stored forms of keys say; see `entry_of`."""
        return await self._done(
            sum(unpacked_bytes(value) for value in stored.values() if value is not None),
            lambda: {key: entry_of(key, stored[key], now_ms) for key in keys},
        )

    def close(self) -> None:
        """Let go of the threads."""
        self._threads.close()

    async def _done(self, size_bytes: int, work: Callable[[], T]) -> T:
        if size_bytes <= AT_ONCE_BYTES:
            return work()
        # What has begun is made, also for one who does not wait for it any more.
        return await asyncio.shield(self._threads.start(work))
