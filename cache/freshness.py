"""How long answers stay fresh, and which of them are computed anew before they end.

Two things keep many entries from ending together (an avalanche). Each time to live is shortened by chance, so entries
that were made together do not end together. And an entry that is in use is refreshed before its end, with a
probability that rises as the end comes near and as the answer is costly: then hardly anybody ever waits for it.
(XFetch: Vattani, Chierichetti and Lowenstein, "Optimal Probabilistic Cache Stampede Prevention", VLDB 2015.) A cap
bounds the refreshes that run at one time.

Chance is a generator that the caller seeds; times are milliseconds.
"""

from collections import Counter
from math import log
from random import Random
from typing import Final

from cache.ports import Key

JITTER: Final = 0.25
"""The part of a time to live by which it is shortened at most. Of entries made at once, any window as long as 5 % of
the time to live then sees a fifth end, in the mean.
"""
BETA: Final = 1.0
"""How early to refresh: above 1 earlier, below 1 later. 1 is optimal for costs that are exponentially distributed."""


def fresh_until_ms(now_ms: int, ttl_ms: int, chance: Random, jitter: float = JITTER) -> int:
    """Return when an entry that is made now stops being fresh: never later than its time to live allows."""
    return now_ms + ttl_ms - int(ttl_ms * jitter * chance.random())


def refresh_early(
    now_ms: int, fresh_until_ms: int, cost_ms: float, chance: Random, beta: float = BETA
) -> bool:
    """Draw whether whoever uses an entry now should have it refreshed; `cost_ms` is what it took to compute."""
    # 1 - random() is above 0, so its logarithm exists.
    return now_ms - cost_ms * beta * log(1.0 - chance.random()) >= fresh_until_ms


class Refreshes:
    """The refreshes that run: one for each key, so many for each namespace, so many in all. What does not get a place
    is not refreshed: the entry is still fresh, and its next use draws again.
    """

    def __init__(self, most: int, most_per_namespace: int) -> None:
        self._most, self._most_per_namespace = most, most_per_namespace
        self._running: set[Key] = set()
        self._by_namespace: Counter[bytes] = Counter()
        self.refused = 0
        """How many got no place."""

    def begin(self, key: Key) -> bool:
        """Take a place for a key's refresh; False when it runs already, or there is none."""
        if key in self._running:
            return False
        if len(self._running) >= self._most or self._by_namespace[key.namespace] >= self._most_per_namespace:
            self.refused += 1
            return False
        self._running.add(key)
        self._by_namespace[key.namespace] += 1
        return True

    def end(self, key: Key) -> None:
        """Give a place back, however the refresh ended."""
        self._running.remove(key)
        self._by_namespace[key.namespace] -= 1
        if not self._by_namespace[key.namespace]:
            del self._by_namespace[key.namespace]
