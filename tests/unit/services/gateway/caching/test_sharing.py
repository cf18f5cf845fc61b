"""What calls with one key share: the look-up, the computation, and its level."""

import asyncio
from collections.abc import Sequence
from typing import Any

from cache.key import CacheMode
from cache.ports import Entry, Key
from forebay.runner.v1.runner_service_pb2 import Answer
from scheduler.states import Level
from services.gateway.direct import DirectCall
from tests.unit.services.gateway.caching.scripted import Front, Scripted, SlowTier, front_of, tensor_call


def tensors(raw: bytes = b"\1\1\1\1") -> Answer:
    answer = Answer(started=True, execute_us=10)
    answer.tensors.tensors.add(name="y", datatype="FP32", shape=[1], raw=raw)
    return answer


async def ask(front: Front, **fields: Any) -> DirectCall:
    wanted = tensor_call(**fields)
    await front.calls.call(wanted)
    return wanted


async def settle() -> None:
    for _ in range(30):
        await asyncio.sleep(0)


async def test_fifty_cold_calls_at_once_are_one_look_into_the_tier_below_and_one_computation() -> None:
    scripted, tier = Scripted(outcome=tensors()), SlowTier()
    async with front_of(scripted, [tier]) as front:
        asked = [asyncio.ensure_future(ask(front)) for _ in range(50)]
        await tier.looking.wait()
        await settle()
        tier.go.set()
        await scripted.until_asked(1)
        scripted.go.set()
        ends = await asyncio.gather(*asked)
    assert (tier.looks, len(scripted.calls)) == (1, 1)
    assert sum(not end.cached for end in ends) == 1


async def test_what_costs_less_than_looking_for_it_stays_in_the_memory_and_is_still_computed_once() -> None:
    for costs_ms, below in ((0.4, 0), (0.5, 1)):
        scripted, tier = Scripted(outcome=tensors(), costs_ms=costs_ms), SlowTier()
        tier.go.set()
        async with (
            front_of(scripted, [tier], least_call_work_ms=0.5) as here,
            front_of(scripted, beside=here, least_call_work_ms=0.5) as there,
        ):
            asked = [asyncio.ensure_future(ask(front)) for front in (here, here, there)]
            # Each gateway for itself, or one for both.
            await scripted.until_asked(2 - below)
            await settle()
            assert len(scripted.calls) == 2 - below
            scripted.go.set()
            await asyncio.gather(*asked[:2])
            assert (await ask(here)).cached
            assert (tier.looks, tier.stats().entries) == (below, below)
            asked[2].cancel()


async def test_who_insists_on_a_new_answer_shares_it_however_little_it_costs() -> None:
    scripted, tier = Scripted(outcome=tensors(), costs_ms=0.1), SlowTier()
    tier.go.set()
    scripted.go.set()
    async with front_of(scripted, [tier], least_call_work_ms=0.5) as front:
        await ask(front, cache=CacheMode.REFRESH)
    assert tier.stats().entries == 1


async def test_who_comes_while_it_is_computed_joins_without_a_look_of_its_own() -> None:
    scripted, tier = Scripted(outcome=tensors()), SlowTier()
    tier.go.set()
    async with front_of(scripted, [tier]) as front:
        first = asyncio.ensure_future(ask(front))
        await scripted.until_asked(1)
        others = [asyncio.ensure_future(ask(front)) for _ in range(50)]
        await settle()
        scripted.go.set()
        assert not (await first).cached
        assert all(end.cached for end in await asyncio.gather(*others))
    assert (tier.looks, len(scripted.calls)) == (1, 1)


async def test_who_comes_while_an_answer_is_refreshed_gets_the_one_that_stands() -> None:
    scripted, tier = Scripted(outcome=tensors()), SlowTier()
    tier.go.set()
    async with front_of(scripted, [tier], ttl_s=100.0) as front:
        asked = asyncio.ensure_future(ask(front))
        await scripted.until_asked(1)
        front.clock.advance(5.0)
        scripted.go.set()
        await asked
        scripted.go.clear()
        front.clock.advance(74.0)
        async with asyncio.timeout(5):
            while len(scripted.calls) == 1:
                assert (await ask(front)).cached
                await asyncio.sleep(0)
        # The memory drops it; the tier below has it still.
        for key in list(front.cache.flights._flights):
            front.cache.layers._front.drop(key)
        async with asyncio.timeout(5):
            assert (await ask(front)).cached
        assert tier.looks == 2
        scripted.go.set()


async def test_a_higher_call_that_joins_makes_the_one_that_is_computed_more_urgent() -> None:
    scripted = Scripted(outcome=tensors())
    async with front_of(scripted) as front:
        asked = [asyncio.ensure_future(ask(front, priority=Level.LOW))]
        await scripted.until_asked(1)
        for level in (Level.NORMAL, Level.LOW, Level.CRITICAL, Level.HIGH):
            asked.append(asyncio.ensure_future(ask(front, priority=level)))
            await settle()
        scripted.go.set()
        await asyncio.gather(*asked)
    assert [(wanted, Level(level)) for wanted, level in scripted.raised] == [
        (scripted.calls[0], Level.NORMAL),
        (scripted.calls[0], Level.CRITICAL),
    ]


class FullTier(SlowTier):
    """A tier below the memory that takes what it is given when it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.putting = asyncio.Event()
        self.take = asyncio.Event()

    async def put(self, entries: Sequence[tuple[Key, Entry]], now_ms: int) -> None:
        self.putting.set()
        await self.take.wait()
        await super().put(entries, now_ms)


async def test_nobody_here_waits_until_the_tier_that_gateways_share_has_taken_the_answer() -> None:
    scripted, tier = Scripted(outcome=tensors()), FullTier()
    scripted.go.set()
    tier.go.set()
    async with front_of(scripted, [tier]) as front:
        async with asyncio.timeout(5):
            ends = await asyncio.gather(*(ask(front) for _ in range(3)))
            assert sorted(end.cached for end in ends) == [False, True, True]
            # It is on its way there, and in the memory.
            await tier.putting.wait()
            assert (await ask(front)).cached
        [key] = front.cache.flights._flights
        assert tier.stats().entries == 0
        assert front.cache.flights.flies(key)
        tier.take.set()
        await settle()
        assert tier.stats().entries == 1
        assert not front.cache.flights.under_way
    assert len(scripted.calls) == 1
