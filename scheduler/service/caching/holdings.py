"""What one scheduler's part of the cache holds, as its metrics show it."""

from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Final

from cache.ports import TierStats
from scheduler.service.caching.answers import Answers
from scheduler.service.caching.flights import FlightBoard

_NONE: Final[Mapping[str, int]] = MappingProxyType({})


class Holdings:
    """See `CacheHoldings` in observability/cache_holdings.py. Nothing here waits."""

    def __init__(self, answers: Answers, board: FlightBoard) -> None:
        self._answers = answers
        self._board = board

    def tiers(self) -> Mapping[str, TierStats]:
        """Return the tiers that are shared with gateways: a scheduler has none of its own."""
        layers = self._answers.layers
        return {} if layers is None else {tier.name: tier.stats() for tier in layers.tiers()[1:]}

    def away(self) -> Collection[str]:
        """Return the tiers that are left alone at present."""
        layers = self._answers.layers
        return () if layers is None else layers.away()

    def writes(self) -> Mapping[str, tuple[int, int]]:
        """Return nothing: a scheduler waits until what it keeps is written."""
        return {}

    def refreshes(self) -> Mapping[str, int]:
        """Return nothing: tasks are not computed anew before their end."""
        return _NONE

    def flights(self) -> tuple[int, int]:
        """Return how many runs are under way that others may share, and how often the shared flights did not answer."""
        return len(self._board), self._answers.sharing.outages
