"""The metrics of the result cache in one process: a gateway, or a scheduler for tasks that wait.

No label is a tenant or a namespace: whose entries take how much of a tier is what `forebay cache stats` tells. What the
cache counts itself is read when the page is asked for; a call costs a microsecond.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from observability import cache_holdings, cache_troubles, names
from observability.cache_holdings import CacheHoldings
from observability.cache_troubles import CacheTroubles
from observability.histogram import BatchHistogram

__all__ = ["CacheHoldings", "CacheMetrics", "CacheTroubles"]

LOOK_SECONDS: Final = (
    *(0.000002, 0.000005, 0.00001, 0.00002, 0.00005, 0.0001, 0.0002, 0.0005),
    *(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25),
)


class CacheMetrics(Collector):
    """What one process's cache counts. For one event loop; the page may be asked for on any thread."""

    def __init__(self, registry: CollectorRegistry, model: Callable[[str], str]) -> None:
        """`model` keeps the names of models few."""
        self._model = model
        self._calls: Counter[tuple[str, str]] = Counter()
        self._uncached: Counter[str] = Counter()
        self._holdings: CacheHoldings | None = None
        self._troubles: CacheTroubles | None = None
        self._looks = BatchHistogram(
            names.CACHE_LOOK_DURATION,
            "Time of a look into one tier of the result cache, by what it said",
            (names.LABEL_TIER, names.LABEL_RESULT),
            LOOK_SECONDS,
            registry,
        )
        registry.register(self)

    def holds(self, holdings: CacheHoldings) -> None:
        """Show what this cache holds from now on."""
        self._holdings = holdings

    def suffers(self, troubles: CacheTroubles) -> None:
        """Show what is wrong with this cache from now on."""
        self._troubles = troubles

    def call(self, model: str, outcome: str, count: int = 1) -> None:
        """Count calls or tasks that may be cached, at their end, by what came of them."""
        self._calls[self._model(model), outcome] += count

    def uncached(self, reason: str, count: int = 1) -> None:
        """Count calls or tasks that cannot be cached, or do not want to be."""
        self._uncached[reason] += count

    def look(self, tier: str, result: str, seconds: float, count: int = 1) -> None:
        """Count a look into one tier, or one for `count` keys together, each of which waited that long."""
        self._looks.observe_alike(seconds, count, tier, result)

    def describe(self) -> Iterator[Metric]:
        """Name the metrics, so that the registry refuses second ones of the same names."""
        return self.collect()

    def collect(self) -> Iterator[Metric]:
        """Yield what is read when the page is asked for."""
        calls = CounterMetricFamily(
            names.CACHE_CALLS,
            "Calls and tasks that may be cached, by what came of them",
            labels=(names.LABEL_MODEL, names.LABEL_OUTCOME),
        )
        for labels, count in dict(self._calls).items():
            calls.add_metric(labels, count)
        yield calls
        uncached = CounterMetricFamily(
            names.CACHE_UNCACHED, "Calls and tasks that were not cached, by why", labels=(names.LABEL_REASON,)
        )
        for reason, count in dict(self._uncached).items():
            uncached.add_metric((reason,), count)
        yield uncached
        if self._holdings is not None:
            yield from cache_holdings.metrics_of(self._holdings)
        if self._troubles is not None:
            yield from cache_troubles.metrics_of(self._troubles)
