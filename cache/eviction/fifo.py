"""First in, first out: the oldest goes first, used or not."""

from collections import OrderedDict

from cache.eviction.policy import K, Policy


class Fifo(Policy[K]):
    """Keys in the order in which they came."""

    def __init__(self) -> None:
        self._order: OrderedDict[K, None] = OrderedDict()

    def add(self, key: K, size: int, until_ms: int) -> None:
        """Take a key as the youngest."""
        self._order[key] = None

    def touch(self, key: K) -> None:
        """Uses change nothing."""

    def replace(self, key: K, size: int, until_ms: int) -> None:
        """A new value makes a key the youngest."""
        self._order.move_to_end(key)

    def remove(self, key: K) -> None:
        """Let go of a key."""
        del self._order[key]

    def evict(self) -> K:
        """Let go of the oldest."""
        return self._order.popitem(last=False)[0]

    def __len__(self) -> int:
        return len(self._order)
