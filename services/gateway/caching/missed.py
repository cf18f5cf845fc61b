"""The way of a call that the memory has no answer for: looked for below it, shared with who asks the same, computed.

Streams take it whether or not the memory has their answer. Whoever waits here, or is told a stream, takes room of this
gateway as a call does that is given to a runner.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

from cache.flights import Chunk, OnItsOwn, Restarted
from cache.key import CacheMode
from cache.ports import Key
from cache.replay import replay
from cache.tiers import Met
from forebay.cache.v1.stored_answer_pb2 import StoredChunk
from forebay.runner.v1.runner_service_pb2 import Answer
from services.gateway.caching.answers import answer_of
from services.gateway.caching.asking import Asking
from services.gateway.caching.computing import Computation
from services.gateway.caching.early import EarlyRefresh
from services.gateway.caching.ends import mark_cached, pauses, told, too_late, went_another_way
from services.gateway.caching.finding import Finding
from services.gateway.caching.journey import COMPUTED, HIT, MEMORY, SHARED, CacheObserver, Journey
from services.gateway.caching.landed import Landed
from services.gateway.caching.result_cache import ResultCache
from services.gateway.caching.statistics import CacheStatistics
from services.gateway.direct import DirectCall
from services.gateway.direct.port import Calls


class Missed:
    """Of one gateway. Raises what the direct way raises, AnswerNotCached, and OnItsOwn for a call that must ask once
    more: nothing was given to it, and its time is what it has left.
    """

    def __init__(
        self,
        calls: Calls,
        cache: ResultCache,
        early: EarlyRefresh,
        statistics: CacheStatistics,
        observer: CacheObserver,
        timeout_s: float,
    ) -> None:
        """`timeout_s` is for calls whose client does not say how long it waits."""
        self._calls = calls
        self._cache = cache
        self._early = early
        self._finding: Final = Finding(cache, early, observer)
        self._statistics = statistics
        self._timeout_s = timeout_s

    async def call(self, asking: Asking, wanted: DirectCall, journey: Journey) -> Answer:
        """Return the answer, which is no error and no chunk. Cancelling it stops the work, unless others wait."""
        own = self._computation(asking, wanted)
        with told(journey, own):
            landed = await self._found(asking, wanted, journey, own)
            if landed is None:
                own.looked_s = journey.seconds
                own.room = room = self._calls.room(wanted)
                try:
                    async with asyncio.timeout(own.left_s):
                        landed = await self._cache.flights.do(
                            self._flight(asking, wanted), int(wanted.priority), own
                        )
                except TimeoutError:
                    raise too_late()
                finally:
                    room.end()
            return self._answer(asking, wanted, journey, own, landed)

    async def stream(
        self, asking: Asking, wanted: DirectCall, journey: Journey
    ) -> AsyncGenerator[Answer, None]:
        """Yield chunks as they come, and the whole outcome, which is no chunk, as the last one. To be closed."""
        own = self._computation(asking, wanted)
        with told(journey, own):
            own.room = room = self._calls.room(wanted)
            try:
                landed = self._cache.find(asking.key) if wanted.cache.reads else None
                if landed is not None:
                    self.hit(asking, wanted, journey, landed)
                else:
                    landed = await self._found(asking, wanted, journey, own)
                if landed is not None:
                    sleep = pauses(own, self._cache.clock, self._calls.closing)
                    async with aclosing(replay(landed.stored, self._cache.pace, sleep)) as pieces:
                        async for new in pieces:
                            yield Answer(chunk=new)
                else:
                    own.looked_s = journey.seconds
                    async with aclosing(self._shared(asking, wanted, own)) as events:
                        async for event in events:
                            if isinstance(event, Landed):
                                landed = event
                            else:
                                yield event
            finally:
                room.end()
            assert landed is not None, "a flight ends with the answer, or raises"
            answer = self._answer(asking, wanted, journey, own, landed)
        # Told of before that: doors that have sent every chunk do not come back for more.
        yield answer

    def hit(self, asking: Asking, wanted: DirectCall, journey: Journey, landed: Landed) -> None:
        """Take in that a call was answered from a tier."""
        took_s = journey.looked_into_memory(Met.HIT) if landed.tier == MEMORY else journey.seconds
        journey.outcome, journey.tier = HIT, landed.tier
        self._statistics.hit(asking.known, took_s, took_s)
        mark_cached(wanted, landed)
        self._early.used(asking, wanted, landed)

    async def _shared(
        self, asking: Asking, wanted: DirectCall, own: Computation
    ) -> AsyncGenerator[Answer | Landed, None]:
        """Yield the chunks of a generation that somebody computes, and what it is in all."""
        given = False
        flight = self._cache.flights.stream(self._flight(asking, wanted), int(wanted.priority), own)
        async with aclosing(flight) as events:
            while True:
                try:
                    async with asyncio.timeout(own.left_s):
                        event = await anext(events)
                except TimeoutError:
                    raise too_late()
                except OnItsOwn:
                    if given:
                        raise went_another_way()
                    raise
                if isinstance(event, Chunk):
                    # Doors say it with each piece; who takes over computes after all.
                    wanted.cached = not own.begun
                    given = True
                    yield Answer(chunk=StoredChunk.FromString(event.body).new)
                elif isinstance(event, Restarted):
                    raise went_another_way()
                else:
                    yield event.answer
                    return

    def _computation(self, asking: Asking, wanted: DirectCall) -> Computation:
        within_s = wanted.timeout_ms / 1000 if wanted.timeout_ms else self._timeout_s
        ends_s = self._cache.clock.monotonic() + within_s
        return Computation(self._cache, self._calls, asking, wanted, self._statistics, ends_s)

    def _flight(self, asking: Asking, wanted: DirectCall) -> Key:
        """Return the flight that a call takes: those that insist on a new answer share none with those that do not, and
        nobody one that began before a purge that they came after.
        """
        flight = asking.refresh_key if wanted.cache is CacheMode.REFRESH else asking.key
        self._cache.part_purged(flight, asking.key, asking.known.name)
        return flight

    async def _found(
        self, asking: Asking, wanted: DirectCall, journey: Journey, own: Computation
    ) -> Landed | None:
        """Return the answer that a tier below the memory has; None when it must be computed. Raises as `Finding`."""
        landed = await self._finding.find(asking, wanted.cache, journey, shares=own.shares)
        if landed is not None:
            self.hit(asking, wanted, journey, landed)
        return landed

    def _answer(
        self, asking: Asking, wanted: DirectCall, journey: Journey, own: Computation, landed: Landed
    ) -> Answer:
        """Return the answer, and write into the call who gave it."""
        executed = own.answer
        if executed is not None:
            journey.outcome = COMPUTED
            wanted.cached = False
            wanted.runner, wanted.served_version = own.wanted.runner, own.wanted.served_version
            wanted.took_s = own.wanted.took_s
            return executed
        if journey.outcome != HIT:
            journey.outcome, journey.tier = (SHARED, "") if own.shared else (HIT, landed.tier)
            self._statistics.hit(asking.known, own.looked_s, journey.seconds)
            mark_cached(wanted, landed)
        return answer_of(landed.stored)
