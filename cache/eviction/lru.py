"""Least recently used: what was not used for longest goes first. A scan longer than the cache flushes it."""

from collections import OrderedDict

from cache.eviction.policy import K, Policy


class Lru(Policy[K]):
    """Keys in the order of their last use."""

    def __init__(self) -> None:
        self._order: OrderedDict[K, None] = OrderedDict()
        # The methods of the order itself: one call fewer in each hit.
        self.touch = self._order.move_to_end  # type: ignore[method-assign]

    def add(self, key: K, size: int, until_ms: int) -> None:
        """Take a key as the most recently used."""
        self._order[key] = None

    def touch(self, key: K) -> None:
        """Make a key the most recently used."""
        self._order.move_to_end(key)

    def replace(self, key: K, size: int, until_ms: int) -> None:
        """Make a key the most recently used."""
        self._order.move_to_end(key)

    def remove(self, key: K) -> None:
        """Let go of a key."""
        del self._order[key]

    def evict(self) -> K:
        """Let go of the least recently used."""
        return self._order.popitem(last=False)[0]

    def __len__(self) -> int:
        return len(self._order)
