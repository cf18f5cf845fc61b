"""Looks for a call's answer below the memory, where somebody looks for it already together with them.

A look is left out where it could find nothing: somebody here computes the answer, and has looked.
"""

from google.rpc import status_pb2

from cache.flights import SharedLooks
from cache.key import CacheMode
from cache.ports import Key
from cache.tiers import Met
from scheduler.errors import AnswerNotCached
from services.gateway.caching.asking import Asking
from services.gateway.caching.early import EarlyRefresh
from services.gateway.caching.journey import ABSENT, NEGATIVE, CacheObserver, Journey
from services.gateway.caching.landed import Landed, Looked
from services.gateway.caching.result_cache import ResultCache
from services.relayed import Relayed


class Finding:
    """Of one gateway."""

    def __init__(self, cache: ResultCache, early: EarlyRefresh, observer: CacheObserver) -> None:
        self._cache = cache
        self._early = early
        self._observer = observer
        self._looks = SharedLooks[Looked]()

    async def find(self, asking: Asking, mode: CacheMode, journey: Journey, *, shares: bool) -> Landed | None:
        """Return the answer that a tier below the memory has, where it is not; None when it must be computed, or was
        not looked for because nothing is shared of it. Raises AnswerNotCached, and the failure that this question is
        known for.
        """
        if not mode.reads:
            return None
        journey.looked_into_memory(Met.MISS)
        cache, key = self._cache, asking.key
        cache.part_purged(key, key, asking.known.name)
        if mode.computes and cache.flights.flies(key) and not self._early.runs(key):
            # Whoever began that has looked, and there was nothing.
            return None
        if cache.deep and shares:
            looked = await self._looks.look(key, self._look)
            journey.looks = (*journey.looks, *looked.looks)
            if looked.landed is not None:
                return looked.landed
        if (failure := cache.negative.find(key, cache.clock.now_ms())) is not None:
            journey.outcome = NEGATIVE
            raise Relayed(status_pb2.Status.FromString(failure))
        if not mode.computes:
            journey.outcome = ABSENT
            raise AnswerNotCached(asking.known.name)
        return None

    async def _look(self, key: Key) -> Looked:
        looked = await self._cache.get(key)
        for look in looked.looks:
            self._observer.cache.look(look.tier, look.met.value, look.took_s)
        return looked
