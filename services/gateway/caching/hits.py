"""Hits in the memory that doors may give again; see `ready.py`."""

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from cache.ports import Entry
from forebay.cache.v1.stored_answer_pb2 import StoredAnswer
from scheduler.errors import ForebayError
from services.gateway.caching.asking import Asking
from services.gateway.caching.journey import CacheObserver, Journey
from services.gateway.caching.landed import Landed
from services.gateway.caching.result_cache import ResultCache
from services.gateway.direct import DirectCall
from services.gateway.direct.port import Calls

Used = Callable[[Asking, DirectCall, Journey, Landed], None]
"""Notes that an answer was used."""


class Hits:
    """Makes them, for calls of one gateway."""

    def __init__(self, calls: Calls, cache: ResultCache, observer: CacheObserver, used: Used) -> None:
        self.calls: Final = calls
        self.cache: Final = cache
        self.observer: Final = observer
        self.used: Final = used

    def of(self, asking: Asking, wanted: DirectCall, landed: Landed) -> "MemoryHit | None":
        """Return the hit of a call that was answered from the memory."""
        return None if landed.entry is None else MemoryHit(self, asking, wanted, landed, landed.entry)


class MemoryHit:
    """A `Hit`. It holds its first call, and so that call's request, for whoever computes the answer anew."""

    __slots__ = ("_asking", "_entry", "_hits", "_known", "_landed", "_wanted")

    def __init__(self, hits: Hits, asking: Asking, wanted: DirectCall, landed: Landed, entry: Entry) -> None:
        self._hits = hits
        self._asking = asking
        self._wanted = wanted
        self._landed = landed
        self._entry = entry
        self._known = asking.known

    def held(self) -> int:
        """See `Hit`. What was read of the entry goes; the entry itself may outlive its place in the memory."""
        stored = self._landed.stored
        slim = StoredAnswer(version=stored.version, sampled=stored.sampled)
        self._landed = replace(self._landed, stored=slim)
        return self._entry.size

    def again(self, traceparent: str) -> float | None:
        """See `Hit`. The answer stands as long as its entry does, for a model that is as it was."""
        hits, wanted = self._hits, self._wanted
        wanted.traceparent = traceparent
        journey = Journey(wanted, self._known.name, hits.observer)
        try:
            known = hits.calls.model(wanted.model, wanted.version, wanted.pool)
        except ForebayError:
            return None
        if known is not self._known:
            if not self._asking.stands(known):
                return None
            self._known = known
        if not hits.cache.used_again(self._asking.key, self._entry):
            return None
        hits.used(self._asking, wanted, journey, self._landed)
        journey.end("OK", executed=False)
        return wanted.took_s
