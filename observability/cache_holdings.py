"""What a result cache holds and has counted, as metrics. It is read when the page is asked for."""

from collections.abc import Collection, Iterator, Mapping
from operator import attrgetter
from typing import Final, Protocol

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from observability import names

_OF_TIER: Final = (names.LABEL_TIER,)


class TierHoldings(Protocol):
    """What one tier holds now, and has counted so far."""

    @property
    def entries(self) -> int:
        """Entries in it."""

    @property
    def held_bytes(self) -> int:
        """What they take."""

    @property
    def hits(self) -> int:
        """Looks that found something."""

    @property
    def misses(self) -> int:
        """Looks that did not."""

    @property
    def fills(self) -> int:
        """Entries taken."""

    @property
    def evictions(self) -> int:
        """Entries dropped for room before their time."""

    @property
    def refusals(self) -> int:
        """Entries not taken."""

    @property
    def damaged(self) -> int:
        """Entries found damaged and removed."""

    @property
    def expired(self) -> int:
        """Entries removed after their time."""

    @property
    def purged(self) -> int:
        """Entries removed because somebody wanted it."""

    @property
    def away(self) -> int:
        """Calls that it did not answer in its time."""


class CacheHoldings(Protocol):
    """What a result cache holds now, and has counted so far."""

    def tiers(self) -> Mapping[str, TierHoldings]:
        """Return the tiers by name, from the top."""

    def away(self) -> Collection[str]:
        """Return the tiers that are left alone at present."""

    def writes(self) -> Mapping[str, tuple[int, int]]:
        """Return by tier the bytes that wait to be written, and how many entries were dropped instead."""

    def refreshes(self) -> Mapping[str, int]:
        """Return how many answers were computed anew before their end, by result."""

    def flights(self) -> tuple[int, int]:
        """Return how many computations are under way, and how often those that gateways share did not answer."""


_COUNTED: Final[Mapping[str, tuple[str, str]]] = {
    names.CACHE_HITS: ("hits", "Looks that found an answer"),
    names.CACHE_MISSES: ("misses", "Looks that did not"),
    names.CACHE_FILLS: ("fills", "Entries taken"),
    names.CACHE_EVICTIONS: ("evictions", "Entries dropped for room before their time"),
    names.CACHE_REFUSED: ("refusals", "Entries not taken: too large, or no room of their namespace's own"),
    names.CACHE_DAMAGED: ("damaged", "Entries found damaged and removed"),
    names.CACHE_EXPIRED: ("expired", "Entries removed after their time"),
    names.CACHE_PURGED: ("purged", "Entries removed because of a purge"),
    names.CACHE_UNANSWERED: ("away", "Calls that the tier did not answer in its time"),
}


def metrics_of(holdings: CacheHoldings) -> Iterator[Metric]:
    """Yield the metrics of what a cache holds."""
    yield from _of_tiers(holdings)
    yield from _of_writes(holdings)
    yield from _of_computations(holdings)


def _of_tiers(holdings: CacheHoldings) -> Iterator[Metric]:
    tiers = holdings.tiers()
    for name, (field, documentation) in _COUNTED.items():
        counted = CounterMetricFamily(name, documentation, labels=_OF_TIER)
        for tier, stats in tiers.items():
            counted.add_metric((tier,), attrgetter(field)(stats))
        yield counted
    entries = GaugeMetricFamily(names.CACHE_ENTRIES, "Entries held", labels=_OF_TIER)
    held = GaugeMetricFamily(names.CACHE_BYTES, "Bytes of the entries held", labels=_OF_TIER)
    gone = GaugeMetricFamily(names.CACHE_AWAY, "1 while a tier is left alone", labels=_OF_TIER)
    away = holdings.away()
    for tier, stats in tiers.items():
        entries.add_metric((tier,), stats.entries)
        held.add_metric((tier,), stats.held_bytes)
        gone.add_metric((tier,), tier in away)
    yield from (entries, held, gone)


def _of_writes(holdings: CacheHoldings) -> Iterator[Metric]:
    waiting = GaugeMetricFamily(
        names.CACHE_WRITES_WAITING, "Bytes that wait to be written into a tier", labels=_OF_TIER
    )
    dropped = CounterMetricFamily(
        names.CACHE_WRITES_DROPPED,
        "Entries that were not written: too many, or the tier away",
        labels=_OF_TIER,
    )
    for tier, (waiting_bytes, drops) in holdings.writes().items():
        waiting.add_metric((tier,), waiting_bytes)
        dropped.add_metric((tier,), drops)
    yield from (waiting, dropped)


def _of_computations(holdings: CacheHoldings) -> Iterator[Metric]:
    refreshes = CounterMetricFamily(
        names.CACHE_REFRESHES, "Answers computed anew before their end", labels=(names.LABEL_RESULT,)
    )
    for result, count in holdings.refreshes().items():
        refreshes.add_metric((result,), count)
    yield refreshes
    under_way, outages = holdings.flights()
    yield GaugeMetricFamily(
        names.CACHE_FLIGHTS, "Computations under way that others may share", value=under_way
    )
    yield CounterMetricFamily(
        names.CACHE_FLIGHTS_OUTAGES, "How often the flights of all gateways did not answer", value=outages
    )
