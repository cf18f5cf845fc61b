"""How much else is asked between two uses of the same key: what a cache must hold to still have it.

The distance of a use is the sum of the sizes of all different keys used since the last use of its own, its own
included. An LRU cache that holds at least as many bytes has it, a smaller one has not (Mattson, Gecsei, Slutz and
Traiger, "Evaluation Techniques for Storage Hierarchies", IBM Systems Journal, 1970). The sums come from a tree over
the latest use of each key (Bennett and Kruskal, IBM Journal of Research and Development, 1975): O(log n) each.
"""

from collections.abc import Sequence

from cache.advice.trace import Access
from cache.ports import Key


def reuse_distances(accesses: Sequence[Access]) -> list[int | None]:
    """Return the distance in bytes of each use; None for the first use of a key.

    Exact when the size of a key does not change; otherwise the size that it had at its last use counts.
    """
    sums = _Sums(len(accesses))
    last: dict[Key, tuple[int, int]] = {}
    distances: list[int | None] = []
    for place, access in enumerate(accesses):
        before = last.get(access.key)
        if before is None:
            distances.append(None)
        else:
            before_place, size = before
            distances.append(sums.total - sums.up_to(before_place) + size)
            sums.add(before_place, -size)
        sums.add(place, access.size)
        last[access.key] = place, access.size
    return distances


class _Sums:
    """Numbers at places and the sums of those up to a place (Fenwick, Software: Practice and Experience, 1994)."""

    def __init__(self, places: int) -> None:
        self._tree = [0] * (places + 1)
        self.total = 0

    def add(self, place: int, number: int) -> None:
        self.total += number
        place += 1
        while place < len(self._tree):
            self._tree[place] += number
            place += place & -place

    def up_to(self, place: int) -> int:
        """Return the sum of what is at this place and before."""
        total, place = 0, place + 1
        while place:
            total += self._tree[place]
            place -= place & -place
        return total
