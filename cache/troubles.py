"""What is wrong behind one process's cache, gathered from its parts: for metrics."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

from cache.faults import Faults
from cache.purge_board import PurgeBoard

_PLACES: Final = ("purge markers", "purge copy", "flights", "looking for an answer", "keeping an answer")
"""Told of also while there were no faults, so that the first one is a change."""


class Troubles:
    """See `CacheTroubles` in observability/cache_troubles.py. Nothing here waits."""

    def __init__(self, board: PurgeBoard, faults: Sequence[Faults], tiers: Sequence[str] = ()) -> None:
        """`faults` are those of the other parts, `tiers` the names of the tiers that there are."""
        self._board = board
        self._places = (*_PLACES, *(f"tier {tier}" for tier in tiers))
        self._faults = (board.faults, *faults)

    def faults(self) -> Mapping[str, int]:
        """Return how many faults there were, by place."""
        found = Counter(dict.fromkeys(self._places, 0))
        for each in self._faults:
            found.update(each.counts)
        return found

    @property
    def unread(self) -> bool:
        """Whether purges of others are not known now, so that tiers that are shared with them are not used."""
        return not self._board.current

    @property
    def unwritten(self) -> bool:
        """Whether a purge that holds is not yet in the copy beside the entries that outlive this process."""
        return self._board.unwritten
