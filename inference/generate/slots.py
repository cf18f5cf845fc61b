"""Which slot of the attention cache a row has, and how far the decode run reaches. Pure.

A decode run covers slots 0 to n - 1 for one of a few sizes n, so that the runtime meets the same shapes again and
again. Rows therefore take the lowest free slot, and when the last one of a run could stand in a gap further down, and
fewer slots would do, it is moved there. A row is moved for no other reason.
"""

import heapq
from collections.abc import Iterable
from typing import Final

_SIZES: Final = (1, 2, 4, 8, 12, 16, 24, 32)
_BEYOND: Final = 16
"""Sizes grow by this after the last of those above."""


def run_sizes(slots: int) -> tuple[int, ...]:
    """Return the sizes of decode runs for a number of slots, smallest first; the last one is that number."""
    sizes = [size for size in _SIZES if size < slots]
    sizes += range(_SIZES[-1] + _BEYOND, slots, _BEYOND)
    return (*sizes, slots)


class SlotTable:
    """The slots of one engine: free, or taken by a row."""

    def __init__(self, slots: int) -> None:
        """Take their number, at least 1."""
        self._free = list(range(slots))
        self._sizes = run_sizes(slots)

    @property
    def free(self) -> int:
        """How many slots no row has."""
        return len(self._free)

    def take(self) -> int:
        """Return the lowest free slot, which is taken from now on. Raises IndexError when there is none."""
        return heapq.heappop(self._free)

    def give_back(self, slot: int) -> None:
        """Note that a slot is free again."""
        heapq.heappush(self._free, slot)

    def reach(self, decoding: Iterable[int]) -> int:
        """Return the size of a run that covers these slots."""
        last = max(decoding)
        return next(size for size in self._sizes if size > last)

    def better_place(self, decoding: Iterable[int]) -> tuple[int, int] | None:
        """Return (slot, free slot) of a row that should move down, because its run could be smaller; else None.

        Moving one row may not be enough: asked again after every step, the run shrinks within a few.
        """
        taken = list(decoding)
        if not taken or not self._free:
            return None
        last, gap = max(taken), self._free[0]
        if gap > last:
            return None
        enough = next(size for size in self._sizes if size >= len(taken))
        return (last, gap) if enough < self.reach(taken) else None

    def move(self, source: int, target: int) -> None:
        """Note that a row went from one slot to the lowest free one."""
        assert self._free[0] == target
        heapq.heapreplace(self._free, source)
