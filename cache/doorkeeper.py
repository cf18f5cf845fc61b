"""Tells what was probably seen before, in a fixed amount of memory: a hint, and never more.

A Bloom filter (Bloom, CACM 1970) in two generations: what is noted goes into the younger; when that has taken as many
as it is made for, the older is dropped and a new one begins. So it forgets, and never fills up. "No" is certain for
the last `most` that were noted; "yes" is wrong for one in about a hundred. (As a doorkeeper before a table: Einziger,
Friedman and Manes, "TinyLFU", ACM Transactions on Storage, 2017.)
"""

from typing import Final

BITS_EACH: Final = 10
PROBES: Final = 5


class Doorkeeper:
    """What was noted lately. Items are digests: evenly distributed bytes, 16 at least, that nobody can choose."""

    def __init__(self, most: int) -> None:
        """`most`: how many items a generation takes. Memory: 2 * 10 bits for each."""
        self._most = most
        self._bits = max(64, most * BITS_EACH)
        self._young, self._old = self._empty(), self._empty()
        self._noted = 0

    @property
    def memory_bytes(self) -> int:
        """What it takes, whatever it has seen."""
        return len(self._young) + len(self._old)

    def note(self, digest: bytes) -> bool:
        """Note an item, and return whether it was probably noted before."""
        places = self._places(digest)
        if self._has(self._young, places):
            return True
        known = self._has(self._old, places)
        if self._noted >= self._most:
            self._old, self._young, self._noted = self._young, self._empty(), 0
        for place in places:
            self._young[place >> 3] |= 1 << (place & 7)
        self._noted += 1
        return known

    def _empty(self) -> bytearray:
        return bytearray((self._bits + 7) // 8)

    def _places(self, digest: bytes) -> list[int]:
        # Two numbers make all probes (Kirsch and Mitzenmacher, "Less Hashing, Same Performance", ESA 2006).
        first, step = int.from_bytes(digest[:8], "big"), int.from_bytes(digest[8:16], "big") | 1
        return [(first + probe * step) % self._bits for probe in range(PROBES)]

    @staticmethod
    def _has(bits: bytearray, places: list[int]) -> bool:
        return all(bits[place >> 3] & (1 << (place & 7)) for place in places)
