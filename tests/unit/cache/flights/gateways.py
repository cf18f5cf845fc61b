"""Gateways that share flights, and calls whose computation a test steers."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from cache.adapters.memory.flights import MemoryFlights
from cache.flights import Lead, Sharing, SingleFlight, single_flight
from cache.ports import FlightsAway, Following, Key, Landing, Leading, Renewed
from scheduler.adapters.clock import FakeClock

KEY = Key(b"n" * 16, b"d" * 32)
HIGH, NORMAL, LOW = 2, 3, 4


class Store:
    """The tier that all gateways share: one answer."""

    def __init__(self) -> None:
        self.answer: str | None = None
        self.looks = 0


class SteeredCall:
    """A call that computes chunk by chunk, as its test lets it."""

    def __init__(self, store: Store, answer: str = "answer", chunks: Sequence[bytes] = ()) -> None:
        self.store, self.text, self.pieces = store, answer, chunks
        self.computing = asyncio.Event()
        self.go = asyncio.Event()
        self.publish_next = asyncio.Semaphore(0)
        self.computed = 0
        self.cancelled = 0
        self.failure: BaseException | None = None
        self.stores = True
        self.levels: list[int] = []
        self.lead: Lead | None = None
        self.trace = b""
        self.shares = True
        self.reads = True
        self.apart = False
        """Whether it finds out, before its first chunk, that it computes something else than was asked for."""
        self.heard: list[bytes] = []
        """What was told of the computations of others."""
        self.since_ms = 0
        """What began before it is not wanted."""
        self.offered: list[int] = []
        """When the flights began that it was to join."""

    def followed(self, trace: bytes) -> None:
        self.heard.append(trace)

    def accepts(self, began_ms: int) -> bool:
        self.offered.append(began_ms)
        return began_ms >= self.since_ms

    async def find(self) -> str | None:
        self.store.looks += 1
        return self.store.answer

    async def compute(self, lead: Lead) -> str:
        self.computed += 1
        self.lead = lead
        lead.when_raised(self.levels.append)
        self.computing.set()
        if self.apart:
            lead.set_apart()
        try:
            for chunk in self.pieces:
                await self.publish_next.acquire()
                lead.publish(chunk)
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.failure is not None:
            raise self.failure
        return self.text

    async def keep(self, answer: str) -> None:
        if self.stores:
            self.store.answer = answer

    def status_of(self, failure: Exception) -> bytes:
        return f"status of {failure}".encode()

    def chunks_of(self, answer: str) -> Sequence[bytes]:
        return self.pieces

    def content_of(self, chunk: bytes) -> bytes:
        return chunk.split(b"@")[0]


class Cable:
    """Shared flights as one gateway reaches them; a test may pull it out."""

    def __init__(self, flights: MemoryFlights) -> None:
        self._flights = flights
        self.cut = False
        self.refused = 0
        self.renewals = 0
        self.through = asyncio.Event()
        """While it is not set, beginning and landing take their time."""
        self.through.set()
        self.begins: list[int] = []
        """The levels with which flights were begun or joined."""

    async def begin(
        self, key: Key, who: str, lease_ms: int, level: int, began_ms: int = 0, past: int = 0
    ) -> Leading | Following:
        self._check()
        self.begins.append(level)
        turn = await self._flights.begin(key, who, lease_ms, level, began_ms, past)
        await self.through.wait()
        return turn

    async def begin_all(
        self, wanted: Sequence[tuple[Key, int]], who: str, lease_ms: int, began_ms: int = 0
    ) -> list[Leading | Following]:
        return [await self.begin(key, who, lease_ms, level, began_ms) for key, level in wanted]

    async def renew(self, held: Sequence[tuple[Key, int]], lease_ms: int) -> list[Renewed]:
        self._check()
        self.renewals += 1
        return await self._flights.renew(held, lease_ms)

    async def land(self, key: Key, fence: int, outcome: Landing) -> bool:
        self._check()
        landed = await self._flights.land(key, fence, outcome)
        await self.through.wait()
        return landed

    async def land_all(self, ends: Sequence[tuple[Key, int, Landing]]) -> list[bool]:
        return [await self.land(key, fence, outcome) for key, fence, outcome in ends]

    async def ended(self, key: Key, fence: int) -> Landing | None:
        self._check()
        return await self._flights.ended(key, fence)

    def _check(self) -> None:
        if self.cut:
            self.refused += 1
            raise FlightsAway("the cable is out")


class Gateways:
    """Any number of gateways on one clock."""

    def __init__(self, clock: FakeClock, count: int) -> None:
        self.clock = clock
        self.shared = MemoryFlights(clock)
        self.cables = [Cable(self.shared) for _ in range(count)]
        self.running: list[AsyncExitStack] = []
        self.each: list[SingleFlight[str]] = []

    async def stop(self, number: int) -> None:
        """Stop one gateway as its process would at SIGTERM."""
        await self.running[number].aclose()

    async def tick(self, seconds: float = 0.5) -> None:
        """Let the clock go on once the renewals of all leads wait for it."""
        await settle()
        self.clock.advance(seconds)
        await settle()


@asynccontextmanager
async def gateways(count: int = 1, away_until_s: float = 0.0) -> AsyncIterator[Gateways]:
    async with AsyncExitStack() as stack:
        clock = FakeClock()
        several = Gateways(clock, count)
        for number, cable in enumerate(several.cables):
            who = f"gateway {number}"
            sharing = Sharing(cable, several.shared, clock, who, away_until_s=away_until_s)
            several.running.append(await stack.enter_async_context(AsyncExitStack()))
            several.each.append(await several.running[-1].enter_async_context(single_flight(sharing, str)))
        yield several


async def settle() -> None:
    """Let everything run that can run without the clock."""
    for _ in range(60):
        await asyncio.sleep(0)
