"""Purge markers for gateways that live in one process."""

import asyncio
from collections import Counter

from cache.ports import Purge
from cache.purges import MOST_PER_NAMESPACE, Selector, selector_of


class MemoryPurges:
    """What all gateways of one process share; each takes a `MemoryPurgesView` of it."""

    def __init__(self) -> None:
        self.kept: dict[Selector, tuple[Purge, int]] = {}
        self.counts: Counter[bytes | None] = Counter()
        """By namespace, as of the last reading and what was added since."""
        self.changes = 0
        self.changed = asyncio.Event()

    def add(self, purge: Purge, keep_until_ms: int) -> None:
        """Keep a marker that says something new. One for all of a namespace takes the place of what it covers; so does
        one that is made of too many.
        """
        name = selector_of(purge)
        wide = Selector(purge.namespace, None, None, None)
        if any(self.kept[each][0].before_ms >= purge.before_ms for each in (name, wide) if each in self.kept):
            return
        if name not in self.kept:
            self.counts[purge.namespace] += 1
        self.kept[name] = purge, keep_until_ms
        before_ms = purge.before_ms
        if self.counts[purge.namespace] > MOST_PER_NAMESPACE:
            ours = [each for place, each in self.kept.items() if place.namespace == purge.namespace]
            before_ms = max(each.before_ms for each, _ in ours)
            name, keep_until_ms = wide, max(until_ms for _, until_ms in ours)
        if name == wide:
            covered = [
                place
                for place, (each, _) in self.kept.items()
                if place.namespace == purge.namespace and each.before_ms <= before_ms
            ]
            for place in covered:
                del self.kept[place]
            self.kept[wide] = Purge(before_ms, purge.namespace), keep_until_ms
            self.count()
        self.changes += 1
        self.changed.set()
        self.changed = asyncio.Event()

    def count(self) -> None:
        """Count the markers of each namespace."""
        self.counts = Counter(place.namespace for place in self.kept)

    def view(self) -> "MemoryPurgesView":
        """Return one gateway's side of it."""
        return MemoryPurgesView(self)


class MemoryPurgesView:
    """Purges in memory, as one gateway sees them."""

    def __init__(self, shared: MemoryPurges) -> None:
        self._shared = shared
        self._read = -1

    async def add(self, purge: Purge, keep_until_ms: int) -> None:
        """Keep a marker; see Purges."""
        self._shared.add(purge, keep_until_ms)

    async def read(self, now_ms: int) -> list[Purge]:
        """Return the markers; see Purges."""
        kept = {name: marker for name, marker in self._shared.kept.items() if marker[1] > now_ms}
        self._shared.kept = kept
        self._shared.count()
        self._read = self._shared.changes
        return [purge for purge, _ in kept.values()]

    async def changed(self) -> None:
        """Wait for a change; see Purges."""
        while self._read == self._shared.changes:
            await self._shared.changed.wait()
