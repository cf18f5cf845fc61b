"""What expires first goes first, used or not: what is left would have had the shortest use."""

import heapq
from itertools import count

from cache.eviction.policy import K, Policy


class Ttl(Policy[K]):
    """Keys by the end of their time; of two that end together, the older goes first."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, K]] = []
        self._numbers: dict[K, int] = {}
        self._next = count()

    def add(self, key: K, size: int, until_ms: int) -> None:
        """Take a key."""
        number = self._numbers[key] = next(self._next)
        heapq.heappush(self._heap, (until_ms, number, key))

    def touch(self, key: K) -> None:
        """Uses change nothing."""

    def replace(self, key: K, size: int, until_ms: int) -> None:
        """A new value has a time of its own."""
        self.remove(key)
        self.add(key, size, until_ms)

    def remove(self, key: K) -> None:
        """Let go of a key; its place in the heap is left until it comes up or such places are the greater part."""
        del self._numbers[key]
        if len(self._heap) > 64 and len(self._heap) > 2 * len(self._numbers):
            self._heap = [item for item in self._heap if self._numbers.get(item[2]) == item[1]]
            heapq.heapify(self._heap)

    def evict(self) -> K:
        """Let go of what ends first."""
        while self._heap:
            _, number, key = heapq.heappop(self._heap)
            if self._numbers.get(key) == number:
                del self._numbers[key]
                return key
        raise LookupError("no key is held")

    def __len__(self) -> int:
        return len(self._numbers)
