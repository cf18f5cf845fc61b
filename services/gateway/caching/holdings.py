"""What the cache holds, as its metrics show it."""

from collections.abc import Collection, Mapping

from cache.ports import TierStats
from services.gateway.caching.early import EarlyRefresh
from services.gateway.caching.result_cache import ResultCache


class Holdings:
    """Of one gateway; see `CacheHoldings` in observability/caching.py. Nothing here waits."""

    def __init__(self, cache: ResultCache, early: EarlyRefresh) -> None:
        self._cache = cache
        self._early = early

    def tiers(self) -> Mapping[str, TierStats]:
        """Return the tiers by name, from the top."""
        return {tier.name: tier.stats() for tier in self._cache.layers.tiers()}

    def away(self) -> Collection[str]:
        """Return the tiers that are left alone at present."""
        return self._cache.layers.away()

    def writes(self) -> Mapping[str, tuple[int, int]]:
        """Return by tier the bytes that wait to be written, and how many entries were dropped instead."""
        queues = self._cache.layers.queues()
        return {tier: (queue.waiting_bytes, queue.dropped) for tier, queue in queues.items()}

    def refreshes(self) -> Mapping[str, int]:
        """Return how many answers were computed anew before their end, by result."""
        return {**self._early.ended, "refused": self._cache.refreshes.refused}

    def flights(self) -> tuple[int, int]:
        """Return how many computations are under way, and how often those that gateways share did not answer."""
        return self._cache.flights.under_way, self._cache.flights.outages
