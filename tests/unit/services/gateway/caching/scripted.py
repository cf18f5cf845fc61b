"""A direct way that answers as a test says, and a cache in memory in front of it, by a clock that stands still."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Any

from cache.adapters.memory import MemoryFlights, MemoryTier
from cache.flights import Sharing, single_flight
from cache.key import Keys
from cache.ports import Entry, Key, TierAway
from cache.purges import Markers
from cache.tiers import Below, LayeredCache, TierSettings
from forebay.models.v1 import model_service_pb2 as models
from forebay.runner.v1.runner_service_pb2 import Answer, Call, ReadStatisticsResponse, WatchStatusResponse
from observability.caching import CacheMetrics
from observability.metrics import new_registry
from scheduler.adapters.clock import FakeClock
from scheduler.adapters.memory import MemoryStore
from scheduler.errors import ForebayError
from services.gateway.caching import CachedCalls, CacheSettings, ResultCache, cached_calls
from services.gateway.caching.landed import Landed
from services.gateway.direct import DEFAULT_POOL, DirectCall, KnownModel
from services.gateway.direct.admission import Admission, Room
from services.gateway.direct.lineup import Lineup
from services.gateway.direct.port import CacheCounts
from services.gateway.expected_work import ExpectedWork
from services.gateway.quotas import Quotas

SECRET = b"s" * 16


def known_model(digest: str = "weights", **fields: Any) -> KnownModel:
    runner = models.Runner(
        id="r1", model="m", state=models.RUNNER_STATE_READY, answers_digest=digest, **fields
    )
    card = WatchStatusResponse(runner=runner, model=models.Model(name="m"))
    return Lineup({"r1": card}).model("m")


def tensor_call(raw: bytes = b"\0\0\0\0", tenant: str = "acme", **fields: Any) -> DirectCall:
    def fill(call: Call) -> None:
        call.tensors.tensors.add(name="x", datatype="FP32", shape=[1], raw=raw)

    return DirectCall(tenant, "m", fill, **fields)


def prompt_call(text: str = "hello", **fields: Any) -> DirectCall:
    def fill(call: Call) -> None:
        call.generate.prompt = text

    return DirectCall("acme", "m", fill, **fields)


def admission(max_calls: int, max_bytes: int) -> Admission:
    """Return the room of a gateway, where no policy limits anything."""
    clock = FakeClock()
    store = MemoryStore(clock)
    quotas = Quotas(store.lines, store.keys, clock, ExpectedWork(store.membership))
    return Admission(quotas, max_calls, max_bytes)


@dataclass
class Scripted:
    """The direct way: every call waits until the test lets it go, unless it answers at once."""

    known: KnownModel = field(default_factory=known_model)
    outcome: Answer | ForebayError = field(default_factory=Answer)
    chunks: Sequence[Answer] = ()
    once: list[ForebayError] = field(default_factory=list)
    """Failures of the first calls, before there is an outcome."""
    runner: str = "r1"
    runs: str = "weights"
    """What that says that it runs."""
    calls: list[DirectCall] = field(default_factory=list)
    raised: list[tuple[DirectCall, int]] = field(default_factory=list)
    go: asyncio.Event = field(default_factory=asyncio.Event)
    asked: asyncio.Condition = field(default_factory=asyncio.Condition)
    closing: asyncio.Event = field(default_factory=asyncio.Event)
    costs_ms: float = 1.0
    """What a call costs."""
    open: bool = True
    admission: Admission = field(default_factory=lambda: admission(1_000, 1 << 20))

    def model(self, name: str, version: int = 0, pool: str = DEFAULT_POOL) -> KnownModel:
        return self.known

    def models(self, pool: str = DEFAULT_POOL) -> Sequence[KnownModel]:
        return [self.known]

    def by_prefix(self, model: str) -> bool:
        return False

    def raise_level(self, wanted: DirectCall, level: int) -> None:
        self.raised.append((wanted, level))

    def room(self, wanted: DirectCall) -> Room:
        return Room(self.admission, wanted)

    def work_ms(self, known: KnownModel) -> float:
        return self.costs_ms

    def cache_counts(self, known: KnownModel) -> CacheCounts:
        raise AssertionError("the direct way has no cache")

    async def statistics(self, known: KnownModel) -> Sequence[ReadStatisticsResponse]:
        return []

    async def call(self, wanted: DirectCall) -> Answer:
        await self._ask(wanted)
        if self.once:
            raise self.once.pop(0)
        if isinstance(self.outcome, ForebayError):
            raise self.outcome
        return self.outcome

    async def stream(self, wanted: DirectCall) -> AsyncGenerator[Answer, None]:
        for chunk in self.chunks:
            wanted.runner, wanted.answers_digest = self.runner, self.runs
            yield chunk
        yield await self.call(wanted)

    async def until_asked(self, times: int) -> None:
        """Wait until so many calls came."""
        async with self.asked, asyncio.timeout(5):
            await self.asked.wait_for(lambda: len(self.calls) >= times)

    async def _ask(self, wanted: DirectCall) -> None:
        self.calls.append(wanted)
        async with self.asked:
            self.asked.notify_all()
        await self.go.wait()
        wanted.runner, wanted.answers_digest = self.runner, self.runs


class Counted:
    """Counts calls."""

    def __init__(self) -> None:
        self.ended: list[tuple[str, str, str]] = []
        self.registry = new_registry()
        self.cache = CacheMetrics(self.registry, lambda model: model)

    def sample(self, name: str, **labels: str) -> float | None:
        """Return what a metric shows."""
        return self.registry.get_sample_value(name, labels)

    def direct(self, door: str, model: str, code: str, seconds: float) -> None:
        self.ended.append((door, model, code))

    def batch(self, hop: str, tasks: int) -> None:
        raise AssertionError("the cache sends nothing")


@dataclass
class Front:
    """The cache in front of it."""

    calls: CachedCalls
    cache: ResultCache
    clock: FakeClock
    markers: Markers
    counted: Counted
    flights: MemoryFlights


class SlowTier(MemoryTier):
    """A tier below the memory that answers when it is let, or not at all."""

    name = "redis"

    def __init__(self) -> None:
        super().__init__(TierSettings(1 << 20, 1 << 20, 1 << 20, 3_600_000), Random(1))
        self.go = asyncio.Event()
        self.looking = asyncio.Event()
        self.looks = 0
        self.gone = False

    async def get(self, keys: Sequence[Key], now_ms: int) -> list[Entry | None]:
        self.looks += 1
        self.looking.set()
        await self.go.wait()
        if self.gone:
            raise TierAway("it does not answer")
        return await super().get(keys, now_ms)


@asynccontextmanager
async def front_of(
    scripted: Scripted,
    below: Sequence[MemoryTier] = (),
    *,
    beside: Front | None = None,
    **settings: Any,
) -> AsyncIterator[Front]:
    """Run a cache in memory, above these tiers, in front of a direct way while the block lasts. With that of another
    gateway, `beside` it, it shares flights and purges, and the clock.
    """
    clock, markers, counted = FakeClock(), Markers(), Counted()
    flights, who = MemoryFlights(clock), "here"
    if beside is not None:
        clock, markers, flights, who = beside.clock, beside.markers, beside.flights, "there"
    chosen = CacheSettings(enabled=True, **settings)

    layers = LayeredCache(
        MemoryTier(chosen.memory(), Random(1)),
        [Below(tier, shared=True, promote_after=1_000) for tier in below],
        dead=markers.dead,
        monotonic=clock.monotonic,
    )
    async with single_flight(Sharing(flights, flights, clock, who), Landed) as flying:
        keys = Keys(SECRET, chosen.shared)
        cache = ResultCache(layers, keys, flying, clock, chosen, Random(1), lambda: markers.changes)
        async with cached_calls(scripted, cache, counted, 10.0) as calls:
            yield Front(calls, cache, clock, markers, counted, flights)
