"""Any key goes, by chance: no order to keep, and no pattern of use that is worst."""

from random import Random

from cache.eviction.policy import K, Policy


class Chance(Policy[K]):
    """Keys in a row without gaps, from which one is drawn."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._row: list[K] = []
        self._places: dict[K, int] = {}

    def add(self, key: K, size: int, until_ms: int) -> None:
        """Take a key."""
        self._places[key] = len(self._row)
        self._row.append(key)

    def touch(self, key: K) -> None:
        """Uses change nothing."""

    def replace(self, key: K, size: int, until_ms: int) -> None:
        """A new value changes nothing."""

    def remove(self, key: K) -> None:
        """Let go of a key; the last of the row takes its place."""
        place = self._places.pop(key)
        last = self._row.pop()
        if place < len(self._row):
            self._row[place] = last
            self._places[last] = place

    def evict(self) -> K:
        """Let go of one that is drawn."""
        if not self._row:
            raise LookupError("no key is held")
        key = self._row[int(self._random.random() * len(self._row))]
        self.remove(key)
        return key

    def __len__(self) -> int:
        return len(self._row)
