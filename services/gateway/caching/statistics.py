"""How often each model was answered from this gateway's cache, for the statistics that clients of KServe read."""

from collections import OrderedDict
from typing import Final

from scheduler.ports.clock import Clock
from services.gateway.direct import KnownModel
from services.gateway.direct.port import CacheCounts

MOST_MODELS: Final = 4096
"""Versions of models that are told apart; of more, the one that was counted first begins anew."""


class CacheStatistics:
    """Counts, by version of a model. What was computed is counted once, whoever waits for it; what was not is counted
    for each call, so that hits and the runners' own successes are all calls that succeeded.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._counts: OrderedDict[tuple[str, str, int], CacheCounts] = OrderedDict()
        self._latest: tuple[KnownModel | None, CacheCounts] = (None, CacheCounts())
        """Of the model that was counted last: most often the next one, too."""

    def of(self, known: KnownModel) -> CacheCounts:
        """Return what was counted of a model."""
        return self._counts.get(_place(known), _NOTHING)

    def hit(self, known: KnownModel, looked_s: float, took_s: float) -> None:
        """Count a call for which nothing was computed: how long it was looked for, and how long it took in all."""
        counts = self._own(known)
        counts.hits += 1
        counts.hit_ns += int(looked_s * 1e9)
        counts.hit_calls_ns += int(took_s * 1e9)
        counts.last_hit_ms = self._clock.now_ms()

    def miss(self, known: KnownModel, seconds: float) -> None:
        """Count an answer that was computed: how long it was looked for before, and how long it took to keep it."""
        counts = self._own(known)
        counts.misses += 1
        counts.miss_ns += int(seconds * 1e9)

    def _own(self, known: KnownModel) -> CacheCounts:
        latest, counts_of_latest = self._latest
        if latest is known:
            return counts_of_latest
        place = _place(known)
        counts = self._counts.get(place)
        if counts is None:
            if len(self._counts) >= MOST_MODELS:
                self._counts.popitem(last=False)
            counts = self._counts[place] = CacheCounts()
        self._latest = (known, counts)
        return counts


_NOTHING: Final = CacheCounts()


def _place(known: KnownModel) -> tuple[str, str, int]:
    return known.pool, known.name, known.version
