"""Entries on their way into a tier: written behind the request, in batches, from a bounded queue.

What does not fit into the queue is dropped and counted: a slow tier costs its entries, never a request. One namespace
may have at most half of the queue, so that its flood leaves room for others.
"""

import asyncio
from collections import Counter, OrderedDict

from cache.ports import Entry, Key, TierAway
from cache.tiers.guard import Guarded
from cache.tiers.settings import QueueSettings


class WriteBehind:
    """The queue of one tier."""

    def __init__(self, guarded: Guarded, settings: QueueSettings) -> None:
        self._guarded = guarded
        self._settings = settings
        self._waiting: OrderedDict[Key, Entry] = OrderedDict()
        self._waiting_bytes = 0
        self._namespace_entries: Counter[bytes] = Counter()
        self._namespace_bytes: Counter[bytes] = Counter()
        self._now_ms = 0
        self._some = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self.dropped = 0
        """Entries that were not written: the queue was full, or the tier away."""

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def waiting_bytes(self) -> int:
        """Bytes of the entries that wait."""
        return self._waiting_bytes

    def waits(self, key: Key) -> bool:
        """Tell whether an entry of a key waits."""
        return key in self._waiting

    def offer(self, key: Key, entry: Entry, now_ms: int) -> bool:
        """Let an entry wait, in place of one of its key, unless that was created later; False when it was dropped."""
        if not self.overtake(key, entry.created_ms):
            return True
        self._now_ms = max(self._now_ms, now_ms)
        if not self._fits(key, entry):
            self.dropped += 1
            return False
        self._waiting[key] = entry
        self._count(key, entry, 1)
        self._idle.clear()
        self._some.set()
        return True

    def overtake(self, key: Key, created_ms: int) -> bool:
        """Take out an entry of a key for another one that was created then; False when the one that waits was created
        later, and stays.
        """
        entry = self._waiting.get(key)
        if entry is not None:
            if entry.created_ms > created_ms:
                return False
            self._withdraw(key, entry)
        return True

    async def run(self) -> None:
        """Write what waits until cancelled; then at most the batch under way is written."""
        while True:
            await self._some.wait()
            if batch := self._take():
                await self._write(batch)
            if not self._waiting:
                self._some.clear()
                self._idle.set()

    async def drained(self) -> None:
        """Wait until nothing waits and nothing is being written; needs `run` beside it."""
        await self._idle.wait()

    async def _write(self, batch: list[tuple[Key, Entry]]) -> None:
        try:
            await self._guarded.call(self._now_ms, lambda tier: tier.put(batch, self._now_ms))
        except TierAway:
            # What this tier misses is computed again or found in another one.
            self.dropped += len(batch)

    def _fits(self, key: Key, entry: Entry) -> bool:
        settings = self._settings
        return (
            len(self._waiting) < settings.entries
            and self._waiting_bytes + entry.size <= settings.waiting_bytes
            and self._namespace_entries[key.namespace] < settings.entries // 2
            and self._namespace_bytes[key.namespace] + entry.size <= settings.waiting_bytes // 2
        )

    def _take(self) -> list[tuple[Key, Entry]]:
        """Take the oldest out of the queue, as many as go in one batch."""
        batch: list[tuple[Key, Entry]] = []
        size = 0
        while self._waiting and len(batch) < self._settings.batch_entries:
            key, entry = next(iter(self._waiting.items()))
            size += entry.size
            if batch and size > self._settings.batch_bytes:
                break
            self._withdraw(key, entry)
            batch.append((key, entry))
        return batch

    def _withdraw(self, key: Key, entry: Entry) -> None:
        del self._waiting[key]
        self._count(key, entry, -1)

    def _count(self, key: Key, entry: Entry, sign: int) -> None:
        self._waiting_bytes += sign * entry.size
        namespace = key.namespace
        self._namespace_entries[namespace] += sign
        self._namespace_bytes[namespace] += sign * entry.size
        if not self._namespace_entries[namespace]:
            del self._namespace_entries[namespace]
            del self._namespace_bytes[namespace]
