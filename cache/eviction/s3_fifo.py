"""Scan resistant: what is not used again soon after it came goes before anything that was.

S3-FIFO (Yang, Zhang, Qiu, Yue and Rashmi, "FIFO queues are all you need for cache eviction", SOSP 2023), counted in
bytes. New keys enter a small queue, a tenth of the bytes; a key that was used twice when it comes to the end of it
moves to the main queue, any other leaves and is remembered for a while by its key alone. A key that comes back while
it is remembered enters the main queue at once, where a used key gets another round for each use, up to three.
"""

from collections import OrderedDict
from typing import Final

from cache.eviction.policy import K, Policy

_SMALL_PART: Final = 10
"""The small queue has one part in so many of the bytes."""
_MOST_USES: Final = 3
_USES_TO_STAY: Final = 2


class S3Fifo(Policy[K]):
    """Two queues of keys and the memory of those that left."""

    def __init__(self) -> None:
        self._small: OrderedDict[K, int] = OrderedDict()
        self._main: OrderedDict[K, int] = OrderedDict()
        self._left: OrderedDict[K, int] = OrderedDict()
        self._uses: dict[K, int] = {}
        self._small_bytes = 0
        self._main_bytes = 0
        self._left_bytes = 0

    def add(self, key: K, size: int, until_ms: int) -> None:
        """Take a key: into the main queue when it left lately, else into the small one."""
        left = self._left.pop(key, None)
        self._uses[key] = 0
        if left is None:
            self._small[key] = size
            self._small_bytes += size
        else:
            self._left_bytes -= left
            self._main[key] = size
            self._main_bytes += size

    def touch(self, key: K) -> None:
        """Count a use, of which few are worth knowing."""
        uses = self._uses[key]
        if uses < _MOST_USES:
            self._uses[key] = uses + 1

    def replace(self, key: K, size: int, until_ms: int) -> None:
        """A new value counts as a use, and leaves a key where it is."""
        if key in self._small:
            self._small_bytes += size - self._small[key]
            self._small[key] = size
        else:
            self._main_bytes += size - self._main[key]
            self._main[key] = size
        self.touch(key)

    def remove(self, key: K) -> None:
        """Let go of a key."""
        del self._uses[key]
        size = self._small.pop(key, None)
        if size is not None:
            self._small_bytes -= size
        else:
            self._main_bytes -= self._main.pop(key)

    def evict(self) -> K:
        """Let go of the first of a queue that was not used enough; those that were move on."""
        while self._small or self._main:
            held = self._small_bytes + self._main_bytes
            if self._small and (not self._main or self._small_bytes * _SMALL_PART >= held):
                key, size = self._small.popitem(last=False)
                self._small_bytes -= size
                if self._uses[key] < _USES_TO_STAY:
                    del self._uses[key]
                    self._remember(key, size, held)
                    return key
                self._uses[key] = 0
            else:
                key, size = self._main.popitem(last=False)
                self._main_bytes -= size
                if not self._uses[key]:
                    del self._uses[key]
                    return key
                self._uses[key] -= 1
            self._main[key] = size
            self._main_bytes += size
        raise LookupError("no key is held")

    def __len__(self) -> int:
        return len(self._uses)

    def _remember(self, key: K, size: int, held: int) -> None:
        """Remember a key that left, for as long as what left after it would have fitted here."""
        self._left[key] = size
        self._left_bytes += size
        while self._left_bytes > held:
            self._left_bytes -= self._left.popitem(last=False)[1]
