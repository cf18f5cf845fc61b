"""Floods of what has no answer, and of answers that end together, by a clock that stands still."""

import asyncio
from collections import Counter
from random import Random

import pytest

from cache.negative import MOST_PER_NAMESPACE
from forebay.runner.v1.runner_service_pb2 import Answer
from scheduler.errors import InvalidInput
from scheduler.states import Level
from services.gateway.caching import CacheSettings
from services.gateway.caching.early import DOOR
from services.relayed import Relayed
from services.status import to_status
from tests.unit.services.gateway.caching.scripted import Front, Scripted, front_of, tensor_call

FAULT = Relayed(to_status(InvalidInput.of("x", "does not fit")))


def failing() -> Scripted:
    scripted = Scripted(outcome=FAULT)
    scripted.go.set()
    return scripted


async def fails(front: Front, number: int, tenant: str = "acme") -> None:
    with pytest.raises(Relayed, match="does not fit"):
        await front.calls.call(tensor_call(number.to_bytes(4, "little"), tenant))


async def test_five_thousand_different_inputs_that_fail_leave_nothing_and_push_out_no_failure_that_is_known() -> (
    None
):
    scripted = failing()
    async with front_of(scripted) as front:
        for tenant in ("acme", "other"):
            for _ in range(2):
                await fails(front, 0, tenant)
        for number in range(1, 5_001):
            await fails(front, number)
        assert len(scripted.calls) == 4 + 5_000
        # A doorkeeper takes one in a hundred for one that it has seen.
        assert len(front.cache.negative) <= 2 + 100 < MOST_PER_NAMESPACE
        [memory] = front.cache.layers.tiers()
        assert (memory.stats().entries, front.cache.flights.under_way) == (0, 0)
        for tenant in ("acme", "other"):
            await fails(front, 0, tenant)
    assert len(scripted.calls) == 4 + 5_000


async def test_of_more_inputs_that_fail_again_and_again_than_are_remembered_the_latest_are() -> None:
    scripted, most = failing(), MOST_PER_NAMESPACE
    async with front_of(scripted) as front:
        for _ in range(2):
            for number in range(most + 200):
                await fails(front, number)
        asked = len(scripted.calls)
        assert len(front.cache.negative) == most
        for number in range(200, most + 200):
            await fails(front, number)
        assert len(scripted.calls) == asked, "the latest are answered from memory"


async def test_ten_thousand_calls_with_fifty_inputs_that_fail_are_two_runs_each() -> None:
    scripted, chance = failing(), Random(3)
    async with front_of(scripted) as front:
        for _ in range(10_000):
            await fails(front, chance.randrange(50))
    assert len(scripted.calls) == 100


async def test_of_five_hundred_answers_in_use_that_end_soon_a_few_are_refreshed_at_a_time_behind_all_others() -> (
    None
):
    settings = CacheSettings()
    answer = Answer(started=True)
    answer.tensors.tensors.add(name="y", datatype="FP32", shape=[1], raw=bytes(4))
    scripted = Scripted(outcome=answer)
    tenants = [f"tenant-{number}" for number in range(10)]
    each = [(tenant, number.to_bytes(4, "little")) for tenant in tenants for number in range(50)]
    async with front_of(scripted, ttl_s=100.0) as front:

        async def use(tenant: str, raw: bytes) -> bool:
            wanted = tensor_call(raw, tenant, priority=Level.CRITICAL)
            await front.calls.call(wanted)
            return wanted.cached

        asked = [asyncio.ensure_future(use(*one)) for one in each]
        await scripted.until_asked(len(each))
        front.clock.advance(20.0)
        scripted.go.set()
        assert not any(await asyncio.gather(*asked))
        del scripted.calls[:]
        scripted.go.clear()
        front.clock.advance(70.0)
        # They took as long to compute as they stay fresh: the chance to be drawn is more than a third for each use.
        for _ in range(3):
            assert all([await use(*one) for one in each]), "nobody waits"
            await asyncio.sleep(0)
        running = Counter(call.tenant for call in scripted.calls)
        assert len(scripted.calls) == settings.most_refreshes
        assert set(running.values()) == {settings.most_refreshes_of_namespace}
        assert {(call.priority, call.door) for call in scripted.calls} == {(Level.LOW, DOOR)}
        assert front.cache.refreshes.refused > 100
        scripted.go.set()
