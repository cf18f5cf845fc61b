"""The direct way without a result cache."""

from collections.abc import AsyncGenerator
from typing import Final

from cache.key import CacheMode
from forebay.runner.v1.runner_service_pb2 import Answer
from scheduler.errors import AnswerNotCached
from services.gateway.caching.beneath import Beneath
from services.gateway.direct import DirectCall, KnownModel
from services.gateway.direct.port import CacheCounts

_OFF: Final = "there is no cache"


class UncachedCalls(Beneath):
    """Every call is computed; one that wants a cached answer or none is refused."""

    def cache_counts(self, known: KnownModel) -> CacheCounts:
        """Return nothing."""
        return self._calls.cache_counts(known)

    async def call(self, wanted: DirectCall) -> Answer:
        """Return the answer. Raises AnswerNotCached, and what the direct way raises."""
        _check(wanted)
        return await self._calls.call(wanted)

    def stream(self, wanted: DirectCall) -> AsyncGenerator[Answer, None]:
        """Yield chunks as they come, and the whole outcome as the last one. Raises as `call` does, at once."""
        _check(wanted)
        return self._calls.stream(wanted)


def _check(wanted: DirectCall) -> None:
    if wanted.cache is CacheMode.ONLY:
        raise AnswerNotCached(wanted.model, _OFF)
