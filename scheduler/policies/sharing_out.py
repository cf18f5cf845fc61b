"""Shares a number out among those who want parts of it, so that none gets more while another gets less than it wants:
max-min fairness (Bertsekas and Gallager, "Data Networks", 1987).
"""

from collections.abc import Hashable, Mapping
from typing import TypeVar

WhoT = TypeVar("WhoT", bound=Hashable)


def share_out(whole: int, wanted: Mapping[WhoT, int]) -> dict[WhoT, int]:
    """Return the parts, which add up to `whole` when as much is wanted; those in front get what cannot be divided."""
    parts = dict(wanted)
    left = whole
    by_want = sorted(wanted, key=wanted.__getitem__)
    for place, who in enumerate(by_want):
        equal, rest = divmod(left, len(by_want) - place)
        if wanted[who] > equal:
            # So does everybody behind.
            for short in by_want[place:]:
                parts[short] = equal
            for front in [each for each in wanted if parts[each] < wanted[each]][:rest]:
                parts[front] += 1
            break
        left -= wanted[who]
    return parts
