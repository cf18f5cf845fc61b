"""The tier in the process's memory: it answers without waiting, and ends with the process."""

from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Final

from cache.eviction import new_policy
from cache.ports import Entry, Key, TierStats
from cache.tiers.counts import Counts
from cache.tiers.partition import Partitions
from cache.tiers.settings import TierSettings

OBJECT_BYTES: Final = 800
"""What the objects of one entry take beside its parts: 530 to 590 were measured, and 200 for a key that the scan-
resistant policy remembers after it left.
"""


class MemoryTier:
    """Entries as objects. Not for use by more than one thread."""

    name: str = "memory"

    def __init__(self, settings: TierSettings, random: Random) -> None:
        self._settings = settings
        self._partitions: Partitions[Entry] = Partitions(
            settings.capacity_bytes, settings.namespace_bytes, lambda: new_policy(settings.policy, random)
        )
        self._use = self._partitions.use
        self._counts = Counts()
        self.discount = self._counts.discount
        """See `Tier`."""

    def find(self, key: Key, now_ms: int) -> Entry | None:
        """Return the entry of a key if it is fresh; never waits."""
        entry = self._use(key, now_ms)
        if entry is None:
            self._counts.misses += 1
        else:
            self._counts.hits += 1
        return entry

    def keep(self, key: Key, entry: Entry, now_ms: int) -> bool:
        """Keep an entry; False when there is no room for it, or one of its key that was created later. An older one
        goes in any case.
        """
        held = self._partitions.look(key)
        if held is not None and held.until_ms > now_ms and held.value.created_ms > entry.created_ms:
            return False
        until_ms = min(entry.fresh_until_ms, now_ms + self._settings.ttl_ms)
        size = entry.size + OBJECT_BYTES
        gone = None
        if entry.size <= self._settings.entry_bytes and until_ms > now_ms:
            gone = self._partitions.put(key, entry, size, until_ms)
        else:
            self._partitions.remove(key)
        if gone is None:
            self._counts.refusals += 1
            return False
        self._counts.fills += 1
        for _, slot in gone:
            if slot.until_ms <= now_ms:
                self._counts.expired += 1
            else:
                self._counts.evictions += 1
        return True

    def drop(self, key: Key) -> bool:
        """Remove an entry; False when there was none."""
        return self._partitions.remove(key) is not None

    def glance(self, key: Key, now_ms: int) -> Entry | None:
        """Return the entry of a key if it is fresh, and count nothing; never waits."""
        return self._partitions.glance(key, now_ms)

    async def get(self, keys: Sequence[Key], now_ms: int) -> list[Entry | None]:
        """See `Tier`."""
        return [self.find(key, now_ms) for key in keys]

    async def peek(self, keys: Sequence[Key], now_ms: int) -> list[Entry | None]:
        """See `Tier`."""
        return [self.glance(key, now_ms) for key in keys]

    async def put(self, entries: Sequence[tuple[Key, Entry]], now_ms: int) -> None:
        """See `Tier`."""
        for key, entry in entries:
            self.keep(key, entry, now_ms)

    async def outdate(self, before: Mapping[Key, int], now_ms: int) -> None:
        """See `Tier`."""
        for key, before_ms in before.items():
            slot = self._partitions.look(key)
            if slot is not None and slot.value.created_ms < before_ms:
                self._partitions.remove(key)

    async def sweep(self, now_ms: int, dead: Callable[[Key, Entry], bool], budget: int) -> int:
        """See `Tier`."""
        removed = 0
        for key, slot in self._partitions.walk(budget):
            if slot.until_ms <= now_ms:
                self._counts.expired += 1
            elif dead(key, slot.value):
                self._counts.purged += 1
            else:
                continue
            self._partitions.remove(key)
            removed += 1
        return removed

    def stats(self, by_namespace: bool = False) -> TierStats:
        """See `Tier`."""
        namespaces = self._partitions.by_namespace() if by_namespace else {}
        return self._counts.stats(len(self._partitions), self._partitions.held_bytes, namespaces)

    async def close(self) -> None:
        """Let go of everything."""
        self._partitions.clear()
