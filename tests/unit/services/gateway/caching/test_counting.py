"""What the metrics and the statistics say of calls."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest

from cache.key import CacheMode
from cache.ports import Entry, Key, Purge
from forebay.runner.v1.runner_service_pb2 import Answer
from observability import names
from scheduler.errors import AnswerNotCached, InvalidInput
from services.gateway.caching.early import REFRESHED
from services.relayed import Relayed
from services.status import to_status
from tests.unit.services.gateway.caching.scripted import (
    Front,
    Scripted,
    SlowTier,
    front_of,
    tensor_call,
)


def answering(outcome: Answer | Relayed | None = None) -> Scripted:
    answer = Answer(started=True)
    answer.tensors.tensors.add(name="y", datatype="FP32", shape=[1], raw=b"\1\1\1\1")
    scripted = Scripted(outcome=outcome or answer)
    scripted.go.set()
    return scripted


async def ask(front: Front, raw: bytes = b"\0\0\0\0", mode: CacheMode = CacheMode.DEFAULT) -> None:
    await front.calls.call(tensor_call(raw, cache=mode))


def calls(front: Front, outcome: str) -> float | None:
    return front.counted.sample(names.CACHE_CALLS, model="m", outcome=outcome)


def looks(front: Front, tier: str, result: str) -> float | None:
    return front.counted.sample(f"{names.CACHE_LOOK_DURATION}_count", tier=tier, result=result)


async def test_each_call_is_counted_by_what_came_of_it() -> None:
    scripted = answering()
    async with front_of(scripted) as front:
        scripted.go.clear()
        two = [asyncio.ensure_future(ask(front)) for _ in range(2)]
        await scripted.until_asked(1)
        scripted.go.set()
        await asyncio.gather(*two)
        for _ in range(3):
            await ask(front)
        await ask(front, mode=CacheMode.REFRESH)
        await ask(front, mode=CacheMode.BYPASS)
        with pytest.raises(AnswerNotCached):
            await ask(front, b"\7\7\7\7", CacheMode.ONLY)
        await front.calls.call(tensor_call(sequence_key="s"))
        outcomes = {name: calls(front, name) for name in ("hit", "computed", "shared", "absent")}
        assert outcomes == {"hit": 3, "computed": 2, "shared": 1, "absent": 1}
        assert front.counted.sample(names.CACHE_UNCACHED, reason="BYPASS") == 1
        assert front.counted.sample(names.CACHE_UNCACHED, reason="SEQUENCE") == 1


async def test_a_failure_from_memory_is_counted_apart_from_one_that_was_computed() -> None:
    scripted = answering(Relayed(to_status(InvalidInput.of("x", "does not fit"))))
    async with front_of(scripted) as front:
        for _ in range(5):
            with pytest.raises(Relayed):
                await ask(front)
        assert (calls(front, "failed"), calls(front, "negative")) == (2, 3)


async def test_what_tiers_hold_and_say_is_shown_by_tier_and_never_by_tenant() -> None:
    scripted, tier = answering(), SlowTier()
    tier.go.set()
    async with front_of(scripted, [tier]) as front:
        await ask(front)
        await ask(front)
        assert front.counted.sample(names.CACHE_ENTRIES, tier="memory") == 1
        assert (front.counted.sample(names.CACHE_BYTES, tier="memory") or 0) > 800
        assert front.counted.sample(names.CACHE_FILLS, tier="redis") == 1
        assert front.counted.sample(names.CACHE_FLIGHTS) == 0
        assert (looks(front, "memory", "hit"), looks(front, "memory", "miss")) == (1, 1)
        assert looks(front, "redis", "miss") == 1
        front.markers.add(Purge(front.clock.now_ms() + 1))
        await ask(front)
        assert looks(front, "redis", "purged") == 1
        tier.gone = True
        for number in range(3):
            await ask(front, bytes([number]) * 4)
        assert looks(front, "redis", "away") == 3
        labels = {
            label
            for metric in front.counted.registry.collect()
            if metric.name.startswith("forebay_cache")
            for sample in metric.samples
            for label in sample.labels
        }
    assert labels == {"tier", "result", "model", "outcome", "le"}


class LateTier(SlowTier):
    """A tier whose answer to a look-up takes so long that it is not so any more when it comes."""

    async def get(self, keys: Sequence[Key], now_ms: int) -> list[Entry | None]:
        found = [self.find(key, now_ms) for key in keys]
        self.looking.set()
        await self.go.wait()
        return found


async def test_who_leads_and_looks_once_more_has_missed_once() -> None:
    tier = SlowTier()
    tier.go.set()
    async with front_of(answering(), [tier], ttl_s=5.0) as front:
        for _ in range(3):
            await ask(front)
            # So soon after the last computation a leader looks whether its answer is there.
            front.clock.advance(6.0)
        stats = [each.stats() for each in front.cache.layers.tiers()]
    assert [(each.hits, each.misses, each.fills) for each in stats] == [(0, 3, 3), (0, 3, 3)]
    assert calls(front, "computed") == 3


async def test_a_leader_that_finds_the_answer_itself_has_a_hit_and_shares_nothing() -> None:
    scripted, tier = answering(), LateTier()
    tier.go.set()
    async with front_of(scripted, [tier], ttl_s=5.0) as front:
        await ask(front)
        [(key, slot)] = tier._partitions.walk(1)
        front.clock.advance(6.0)
        tier.go.clear()
        tier.looking.clear()
        late = asyncio.ensure_future(ask(front))
        await tier.looking.wait()
        # Another gateway has computed it since this one asked its tiers.
        tier.keep(key, replace(slot.value, fresh_until_ms=front.clock.now_ms() + 5_000), front.clock.now_ms())
        tier.go.set()
        await late
        assert (calls(front, "computed"), calls(front, "hit"), calls(front, "shared")) == (1, 1, None)
        assert (tier.stats().hits, tier.stats().misses) == (0, 2)
    assert len(scripted.calls) == 1


async def test_a_refresh_is_counted_once_it_has_ended() -> None:
    scripted = Scripted(outcome=answering().outcome)
    async with front_of(scripted, ttl_s=100.0) as front:
        asked = asyncio.ensure_future(ask(front))
        await scripted.until_asked(1)
        front.clock.advance(5.0)
        scripted.go.set()
        await asked
        front.clock.advance(74.0)
        async with asyncio.timeout(5):
            while not front.counted.sample(names.CACHE_REFRESHES, result=REFRESHED):
                await ask(front)
                await asyncio.sleep(0)
    assert len(scripted.calls) == 2


async def test_hits_and_misses_of_the_statistics_are_all_calls_that_succeeded() -> None:
    scripted = answering()
    async with front_of(scripted) as front:
        scripted.go.clear()
        four = [asyncio.ensure_future(ask(front)) for _ in range(4)]
        await scripted.until_asked(1)
        scripted.go.set()
        await asyncio.gather(*four)
        await ask(front)
        await ask(front, b"\1\1\1\1")
        await ask(front, mode=CacheMode.BYPASS)
        with pytest.raises(AnswerNotCached):
            await ask(front, b"\7\7\7\7", CacheMode.ONLY)
        counts = front.calls.cache_counts(scripted.known)
    # Four shared one computation, one was found, one was another question; the runner executed three.
    assert (counts.hits, counts.misses) == (4, 2)
    assert counts.hits + len(scripted.calls) == 7
    assert 0 < counts.hit_ns <= counts.hit_calls_ns
    assert counts.miss_ns > 0
    assert counts.last_hit_ms == front.clock.now_ms()
