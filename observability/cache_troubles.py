"""What is wrong behind a result cache, as metrics: no request fails for it, so nobody would see it otherwise."""

from collections.abc import Iterator, Mapping
from typing import Protocol

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from observability import names


class CacheTroubles(Protocol):
    """What is wrong now, and was so far."""

    def faults(self) -> Mapping[str, int]:
        """Return how many faults there were by place; a place that has had none may be left out."""

    @property
    def unread(self) -> bool:
        """Whether purges of others are not known now, so that what is shared with them is not used."""

    @property
    def unwritten(self) -> bool:
        """Whether a purge that holds is not yet written beside the entries on disk."""


def metrics_of(troubles: CacheTroubles) -> Iterator[Metric]:
    """Yield the metrics of what is wrong."""
    faults = CounterMetricFamily(
        names.CACHE_FAULTS, "Faults behind the cache that no request failed for", labels=(names.LABEL_PLACE,)
    )
    for place, count in troubles.faults().items():
        faults.add_metric((place.replace(" ", "_"),), count)
    yield faults
    yield GaugeMetricFamily(
        names.CACHE_PURGES_UNREAD,
        "1 while purges of others are not known: the tiers that are shared with them are not used",
        value=float(troubles.unread),
    )
    yield GaugeMetricFamily(
        names.CACHE_PURGES_UNWRITTEN,
        "1 while a purge is not written beside the entries on disk: a restart could bring them back",
        value=float(troubles.unwritten),
    )
