"""How a call's way through the cache is counted, and told in its trace."""

import time
from collections.abc import Sequence
from typing import Final, Protocol

from cache.tiers import Look, Met
from observability import names, tracing
from observability.caching import CacheHoldings
from services.gateway.direct import DirectCall
from services.gateway.direct.table import CallObserver

MEMORY: Final = "memory"
HIT: Final = "hit"
COMPUTED: Final = "computed"
SHARED: Final = "shared"
NEGATIVE: Final = "negative"
ABSENT: Final = "absent"
FAILED: Final = "failed"
BYPASSED: Final = "bypassed"


class CacheCounter(Protocol):
    """What counts what comes of the cache."""

    def call(self, model: str, outcome: str, count: int = 1) -> None:
        """Count calls or tasks that may be cached, at their end."""
        ...

    def uncached(self, reason: str, count: int = 1) -> None:
        """Count calls or tasks that cannot be cached, or do not want to be."""
        ...

    def look(self, tier: str, result: str, seconds: float, count: int = 1) -> None:
        """Count a look into one tier, or one for many keys together, each of which waited that long."""
        ...

    def holds(self, holdings: CacheHoldings) -> None:
        """Show what this cache holds from now on."""
        ...


class CacheObserver(CallObserver, Protocol):
    """What counts calls and what comes of the cache."""

    @property
    def cache(self) -> CacheCounter:
        """What counts what comes of the cache."""
        ...


class Journey:
    """One call's way, from its arrival to its end."""

    __slots__ = (
        "_began_ns",
        "_began_s",
        "_model",
        "_observer",
        "_wanted",
        "leader",
        "looks",
        "outcome",
        "tier",
    )

    def __init__(self, wanted: DirectCall, model: str, observer: CacheObserver) -> None:
        """`model` is without a version."""
        self._wanted = wanted
        self._model = model
        self._observer = observer
        self._began_s = time.perf_counter()
        self._began_ns = time.time_ns() if wanted.traceparent and tracing.enabled() else 0
        self.looks: Sequence[Look] = ()
        """What each tier said that was asked for this call or, at the same time, for another with the same key."""
        self.outcome = FAILED
        self.tier = ""
        self.leader = ""
        """The traceparent of the call that computed what this one shared; empty where that is not known."""

    @property
    def seconds(self) -> float:
        """How long it took so far."""
        return time.perf_counter() - self._began_s

    def looked_into_memory(self, met: Met) -> float:
        """Take in what the memory said, the first to be asked; return how long that took, in seconds."""
        took_s = time.perf_counter() - self._began_s
        if self._began_ns:
            self.looks = (Look(MEMORY, met, took_s),)
        self._observer.cache.look(MEMORY, met.value, took_s)
        return took_s

    def end(self, code: str, *, executed: bool) -> None:
        """Tell of its end; `executed`: the direct way has counted it."""
        self._observer.cache.call(self._model, self.outcome)
        took_s = time.perf_counter() - self._began_s
        if not executed:
            self._wanted.took_s = took_s
            self._observer.direct(self._wanted.door, self._model, code, took_s)
        if self._began_ns:
            looks = " ".join([f"{look.tier}={look.met.value}" for look in self.looks])
            self._emit({names.CACHE_TIER: self.tier, names.CACHE_LOOKS: looks}, code)

    def refused(self, why: str) -> None:
        """Tell that the call cannot be cached, or does not want to be."""
        self._observer.cache.uncached(why)
        if self._began_ns:
            self.outcome = BYPASSED
            self._emit({names.CACHE_REFUSAL: why}, "OK")

    def _emit(self, found: dict[str, str], code: str) -> None:
        attributes = {names.MODEL_NAME: self._model, names.CACHE_OUTCOME: self.outcome}
        tracing.emit(
            names.SPAN_CACHE,
            parent=self._wanted.traceparent,
            start_ns=self._began_ns,
            end_ns=time.time_ns(),
            attributes=attributes | {name: value for name, value in found.items() if value},
            links=(self.leader,) if self.leader else (),
            failed="" if code == "OK" else code,
        )
