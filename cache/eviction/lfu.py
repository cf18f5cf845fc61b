"""Least frequently used: what was used least often goes first, and of those the one that was not used for longest.

Keys lie in one ordered bucket for each number of uses, so that every step takes constant time (Shah, Mitra and Matani,
"An O(1) algorithm for implementing the LFU cache eviction scheme", 2010). Uses are never forgotten while a key is held:
what was popular long ago stays until its time to live is over.
"""

from collections import OrderedDict

from cache.eviction.policy import K, Policy


class Lfu(Policy[K]):
    """Keys by how often they were used."""

    def __init__(self) -> None:
        self._uses: dict[K, int] = {}
        self._buckets: dict[int, OrderedDict[K, None]] = {}

    def add(self, key: K, size: int, until_ms: int) -> None:
        """Take a key with its first use."""
        self._place(key, 1)

    def touch(self, key: K) -> None:
        """Count a use."""
        self._place(key, self._leave(key) + 1)

    def replace(self, key: K, size: int, until_ms: int) -> None:
        """A new value of a key counts as a use; earlier ones are kept."""
        self.touch(key)

    def remove(self, key: K) -> None:
        """Let go of a key and its count."""
        self._leave(key)
        del self._uses[key]

    def evict(self) -> K:
        """Let go of the least used."""
        if not self._buckets:
            raise LookupError("no key is held")
        # A new key is in the first bucket; where there is none, there are few others to choose from.
        key = next(iter(self._buckets[1 if 1 in self._buckets else min(self._buckets)]))
        self.remove(key)
        return key

    def __len__(self) -> int:
        return len(self._uses)

    def _place(self, key: K, uses: int) -> None:
        self._uses[key] = uses
        bucket = self._buckets.get(uses)
        if bucket is None:
            bucket = self._buckets[uses] = OrderedDict()
        bucket[key] = None

    def _leave(self, key: K) -> int:
        """Take a key out of its bucket and return its uses."""
        uses = self._uses[key]
        bucket = self._buckets[uses]
        del bucket[key]
        if not bucket:
            del self._buckets[uses]
        return uses
