"""Faults of what is behind the cache's ports: each is seen, and none is a request's."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import pytest

from cache.adapters.memory import MemoryFlights, MemoryPurges, MemoryTier
from cache.faults import QUIET_S, Faults
from cache.flights import Sharing, single_flight
from cache.ports import Entry, Key, Purge, PurgesAway, TierAway
from cache.purge_board import PurgeBoard
from cache.tiers import Below, LayeredCache, Met
from scheduler.adapters.clock import FakeClock
from tests.conformance.cache_tiers import NOW, new_entry, new_key, tier_settings
from tests.unit.cache.flights.gateways import KEY, NORMAL, SteeredCall, Store, settle

PORTS = ("begin", "land", "renew", "ended")


class FaultyFlights(MemoryFlights):
    """Flights one of whose methods has a fault."""

    def __init__(self, clock: FakeClock, faulty: str) -> None:
        super().__init__(clock)

        async def fails(*_: Any) -> None:
            raise ValueError("that cannot be read")

        setattr(self, faulty, fails)


class FaultyTier(MemoryTier):
    name = "redis"
    fault: BaseException | None = ValueError("that cannot be read")

    async def get(self, keys: Sequence[Key], now_ms: int) -> list[Entry | None]:
        if self.fault is not None:
            raise self.fault
        return await super().get(keys, now_ms)

    async def put(self, entries: Sequence[tuple[Key, Entry]], now_ms: int) -> None:
        if self.fault is not None:
            raise self.fault
        await super().put(entries, now_ms)


@asynccontextmanager
async def layers(*, shared: bool) -> AsyncIterator[tuple[LayeredCache, FaultyTier]]:
    settings = tier_settings(capacity=1 << 20)
    tier = FaultyTier(settings, Random(1))
    cache = LayeredCache(
        MemoryTier(settings, Random(1)),
        [Below(tier, shared=shared, promote_after=1_000)],
        dead=lambda key, entry: False,
        monotonic=lambda: 0.0,
    )
    async with asyncio.TaskGroup() as group:
        running = group.create_task(cache.run())
        yield cache, tier
        running.cancel()


@pytest.mark.parametrize("faulty", PORTS)
async def test_a_fault_of_the_shared_flights_fails_no_call(faulty: str) -> None:
    clock = FakeClock()
    flights = FaultyFlights(clock, faulty)
    sharing = Sharing(flights, flights, clock, "here")
    if faulty == "ended":
        await flights.begin(KEY, "another", 60_000, NORMAL)
    async with single_flight(sharing, str) as here:
        call = SteeredCall(Store())
        asked = asyncio.ensure_future(here.do(KEY, NORMAL, call))
        await call.computing.wait()
        if faulty == "renew":
            await settle()
            clock.advance(sharing.renew_s)
            await settle()
        call.go.set()
        assert await asked == "answer"
    assert sharing.faults.counts["flights"] >= 1
    assert call.computed == 1


@pytest.mark.parametrize("shared", [True, False])
async def test_a_fault_of_a_tier_is_a_tier_that_is_away_for_this_call_alone(shared: bool) -> None:
    key, entry = new_key(1), new_entry()
    async with layers(shared=shared) as (cache, tier):
        found = await cache.get_below(key, NOW)
        assert found.entry is None and found.looks[0].met is Met.AWAY
        assert await cache.put_through(key, entry, NOW) is not shared
        assert await cache.drained(5.0)
        tier.fault = None
        await cache.put_through(key, entry, NOW)
        assert await cache.drained(5.0)
        assert (await cache.get_below(key, NOW)).entry == entry
    assert cache.faults.counts["tier redis"] == 2
    assert cache.away() == []


async def test_a_cancellation_is_no_fault() -> None:
    async with layers(shared=True) as (cache, tier):
        tier.fault = asyncio.CancelledError()
        with pytest.raises(asyncio.CancelledError):
            await cache.get_below(new_key(1), NOW)
    assert not cache.faults.counts


class FaultyPurges:
    """Markers with a fault, until the test says otherwise."""

    def __init__(self) -> None:
        self.view = MemoryPurges().view()
        self.faulty = True

    async def add(self, purge: Purge, keep_until_ms: int) -> None:
        self._check()
        await self.view.add(purge, keep_until_ms)

    async def read(self, now_ms: int) -> list[Purge]:
        self._check()
        return await self.view.read(now_ms)

    async def changed(self) -> None:
        await self.view.changed()

    def _check(self) -> None:
        if self.faulty:
            raise ValueError("that cannot be read")


async def test_markers_that_cannot_be_read_are_read_again_and_end_nothing() -> None:
    clock, purges = FakeClock(), FaultyPurges()
    board = PurgeBoard(purges, clock, longest_ttl_ms=1_000)
    following = asyncio.ensure_future(board.follow())
    await settle()
    assert (following.done(), board.current) == (False, False)
    purges.faulty = False
    clock.advance(1.0)
    await settle()
    assert (following.done(), board.current) == (False, True)
    assert board.faults.counts["purge markers"] == 1
    following.cancel()


async def test_a_marker_that_could_not_be_shared_for_a_fault_holds_here() -> None:
    board = PurgeBoard(FaultyPurges(), FakeClock(), longest_ttl_ms=1_000)
    with pytest.raises(PurgesAway):
        await board.purge(model="m")
    assert len(board.markers) == 1


def test_a_kind_of_fault_is_counted_each_time_and_logged_once_a_minute(
    caplog: pytest.LogCaptureFixture,
) -> None:
    now_s = [1_000.0]
    faults = Faults(lambda: now_s[0])
    with caplog.at_level(logging.ERROR):
        for fault in (ValueError("a"), ValueError("b"), TypeError("c")):
            faults.note("flights", fault)
        now_s[0] += QUIET_S
        faults.note("flights", ValueError("d"))
    told = [str(record.exc_info[1]) for record in caplog.records if record.exc_info]
    assert told == ["a", "c", "d"]
    assert faults.counts == {"flights": 4}


async def test_a_tier_that_is_away_is_no_fault() -> None:
    async with layers(shared=True) as (cache, tier):
        tier.fault = TierAway("it does not answer")
        await cache.get_below(new_key(1), NOW)
    assert not cache.faults.counts
