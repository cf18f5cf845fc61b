"""The direct way with a result cache in front of it: what doors use.

    judge ──▶ key ──▶ memory ──▶ tiers below ──▶ a seat in the key's flight ──▶ computed on the direct way, and kept
      │                └───────────┴── found: answered                 └── somebody else computes: shared
      └── not to be cached: the direct way alone

The cache fails no call: where it cannot help, the call goes on as if it were not there. One whose model changes while
it waits asks once more, and then goes the direct way alone.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Final

from cache.flights import OnItsOwn
from forebay.runner.v1.runner_service_pb2 import Answer
from services.gateway.caching.answers import answer_of
from services.gateway.caching.asking import Asker
from services.gateway.caching.beneath import Beneath
from services.gateway.caching.early import EarlyRefresh
from services.gateway.caching.hits import Hits
from services.gateway.caching.holdings import Holdings
from services.gateway.caching.journey import CacheObserver, Journey
from services.gateway.caching.missed import Missed
from services.gateway.caching.result_cache import ResultCache
from services.gateway.caching.statistics import CacheStatistics
from services.gateway.direct import DirectCall, KnownModel
from services.gateway.direct.port import CacheCounts, Calls

MOST_ASKED: Final = 2
"""How often a call asks whose model changes."""
MODEL_CHANGED: Final = "MODEL_CHANGED"
"""Why it is not cached then."""


@asynccontextmanager
async def cached_calls(
    calls: Calls, cache: ResultCache, observer: CacheObserver, timeout_s: float
) -> AsyncIterator["CachedCalls"]:
    """Put a cache in front of the direct way while the block lasts; leaving it ends refreshes.

    `timeout_s` is for calls whose client does not say how long it waits.
    """
    async with asyncio.TaskGroup() as group:
        statistics = CacheStatistics(cache.clock)
        early = EarlyRefresh(calls, cache, statistics, group, timeout_s)
        observer.cache.holds(Holdings(cache, early))
        try:
            yield CachedCalls(calls, cache, early, statistics, observer, timeout_s)
        finally:
            early.close()


class CachedCalls(Beneath):
    """Answers calls. Raises what the direct way raises, and AnswerNotCached."""

    def __init__(
        self,
        calls: Calls,
        cache: ResultCache,
        early: EarlyRefresh,
        statistics: CacheStatistics,
        observer: CacheObserver,
        timeout_s: float,
    ) -> None:
        super().__init__(calls)
        self._cache = cache
        self._asker = Asker(calls, cache, observer)
        self._missed = Missed(calls, cache, early, statistics, observer, timeout_s)
        self._hits = Hits(calls, cache, observer, self._missed.hit)
        self._statistics = statistics
        self._observer = observer

    def cache_counts(self, known: KnownModel) -> CacheCounts:
        """Return how often a model was answered from this gateway's cache."""
        return self._statistics.of(known)

    async def call(self, wanted: DirectCall) -> Answer:
        """Return the answer, which is no error and no chunk. Cancelling it stops the work, unless others wait."""
        asked = 0
        while (asking := self._asker.asking(wanted)) is not None:
            journey = Journey(wanted, asking.known.name, self._observer)
            if wanted.cache.reads and (landed := self._cache.find(asking.key)) is not None:
                self._missed.hit(asking, wanted, journey, landed)
                wanted.hit = self._hits.of(asking, wanted, landed)
                journey.end("OK", executed=False)
                return answer_of(landed.stored)
            try:
                return await self._missed.call(asking, wanted, journey)
            except OnItsOwn:
                asked += 1
            if asked == MOST_ASKED:
                journey.refused(MODEL_CHANGED)
                break
        return await self._calls.call(wanted)

    async def stream(self, wanted: DirectCall) -> AsyncGenerator[Answer, None]:
        """Yield chunks as they come, and the whole outcome, which is no chunk, as the last one.

        Whoever does not read it to its end must close it (`aclosing`), which stops the work, unless others wait.
        """
        asked = 0
        while (asking := self._asker.asking(wanted)) is not None:
            journey = Journey(wanted, asking.known.name, self._observer)
            try:
                async with aclosing(self._missed.stream(asking, wanted, journey)) as answers:
                    async for answer in answers:
                        yield answer
                return
            except OnItsOwn:
                asked += 1
            if asked == MOST_ASKED:
                journey.refused(MODEL_CHANGED)
                break
        async with aclosing(self._calls.stream(wanted)) as answers:
            async for answer in answers:
                yield answer
