"""The tiers as one: down until one answers, up by use, behind the request, and past what is away."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import count
from random import Random
from typing import Any, TypeVar

import pytest

from cache.adapters.memory import MemoryTier
from cache.eviction import PolicyName
from cache.ports import Entry, Key, Tier, TierAway
from cache.tiers import Below, LayeredCache, Met, QueueSettings, TierSettings
from tests.conformance.cache_tiers import HOUR, NOW, look_up, new_entry, new_key, tier_settings

T = TypeVar("T")
SMALL = 100


class Fallible(MemoryTier):
    """A tier in memory under another name, which can go away, and be held up."""

    def __init__(self, name: str, settings: TierSettings) -> None:
        super().__init__(settings, Random(1))
        self.name = name
        self.gone = False
        self.free = asyncio.Event()
        self.free.set()
        self.calls = 0
        self.replied = asyncio.Event()
        self._replies = asyncio.Event()
        self._replies.set()
        self.batches: list[int] = []

    async def _through(self, call: Coroutine[Any, Any, T]) -> T:
        self.calls += 1
        try:
            await self.free.wait()
            if self.gone:
                raise TierAway(f"{self.name} is away")
        except BaseException:
            call.close()
            raise
        return await call

    def hold_replies(self) -> None:
        """Let what `get` found be on its way until `free_replies`; `replied` says that it is."""
        self._replies.clear()

    def free_replies(self) -> None:
        self._replies.set()

    async def get(self, keys: Sequence[Key], now_ms: int) -> list[Entry | None]:
        found = await self._through(super().get(keys, now_ms))
        self.replied.set()
        await self._replies.wait()
        return found

    async def peek(self, keys: Sequence[Key], now_ms: int) -> list[Entry | None]:
        return await self._through(super().peek(keys, now_ms))

    async def put(self, entries: Sequence[tuple[Key, Entry]], now_ms: int) -> None:
        await self._through(super().put(entries, now_ms))
        self.batches.append(len(entries))

    async def outdate(self, before: Mapping[Key, int], now_ms: int) -> None:
        await self._through(super().outdate(before, now_ms))

    async def sweep(self, now_ms: int, dead: Callable[[Key, Entry], bool], budget: int) -> int:
        return await self._through(super().sweep(now_ms, dead, budget))


class Stack:
    """Three tiers, and what a test does to them."""

    def __init__(self, promote_after: int = 2, queue: QueueSettings | None = None) -> None:
        settings = tier_settings(capacity=1 << 20)
        self.memory = MemoryTier(settings, Random(1))
        self.redis = Fallible("redis", settings)
        self.disk = Fallible("disk", settings)
        self.dead: Callable[[Key, Entry], bool] = lambda key, entry: False
        self.usable = True
        ticks = count()
        queue = queue or QueueSettings()
        self.cache = LayeredCache(
            self.memory,
            [
                Below(
                    self.redis,
                    shared=True,
                    usable=lambda: self.usable,
                    promote_after=promote_after,
                    queue=queue,
                ),
                Below(
                    self.disk,
                    shared=False,
                    holds=lambda key, now_ms: self.disk.glance(key, now_ms) is not None,
                    promote_after=promote_after,
                    queue=queue,
                ),
            ],
            dead=lambda key, entry: self.dead(key, entry),
            monotonic=lambda: float(next(ticks)),
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[LayeredCache]:
        task = asyncio.ensure_future(self.cache.run())
        try:
            yield self.cache
        finally:
            task.cancel()
            await asyncio.wait([task])

    def has(self, key: Key) -> list[str]:
        """The tiers that have a key."""
        tiers: list[MemoryTier] = [self.memory, self.redis, self.disk]
        return [tier.name for tier in tiers if tier._partitions.look(key) is not None]


@pytest.fixture
def stack() -> Stack:
    return Stack()


def small(n: int = 0, **fields: Any) -> Entry:
    return new_entry(n, SMALL, **fields)


async def test_a_fill_is_in_the_memory_and_in_what_is_shared_and_on_disk_behind_the_request(
    stack: Stack,
) -> None:
    async with stack.running() as cache:
        assert await cache.put_through(new_key(1), small(1), NOW)
        assert cache.find(new_key(1), NOW) == small(1)
        assert stack.has(new_key(1)) == ["memory", "redis"]
        assert await cache.drained(5.0)
        assert stack.has(new_key(1)) == ["memory", "redis", "disk"]


async def test_a_look_up_goes_down_until_a_tier_answers_and_says_which_and_why(stack: Stack) -> None:
    await stack.disk.put([(new_key(1), small(1))], NOW)
    found = await look_up(stack.cache, new_key(1), NOW)
    assert found.entry == small(1)
    assert found.tier == "disk"
    assert [(look.tier, look.met) for look in found.looks] == [("redis", Met.MISS), ("disk", Met.HIT)]
    assert all(look.took_s == 1.0 for look in found.looks)
    nothing = await look_up(stack.cache, new_key(2), NOW)
    assert (nothing.entry, nothing.tier) == (None, "")
    assert [look.met for look in nothing.looks] == [Met.MISS] * 2


async def test_an_entry_in_memory_is_found_without_asking_below(stack: Stack) -> None:
    await stack.memory.put([(new_key(1), small(1))], NOW)
    found = await look_up(stack.cache, new_key(1), NOW)
    assert (found.entry, found.tier) == (small(1), "memory")
    found = await stack.cache.look_again(new_key(1), NOW)
    assert (found.entry, found.tier) == (small(1), "memory")
    assert stack.redis.calls == stack.disk.calls == 0


async def test_an_entry_moves_up_on_its_second_use_below(stack: Stack) -> None:
    await stack.disk.put([(new_key(1), small(1))], NOW)
    async with stack.running() as cache:
        assert (await look_up(cache, new_key(1), NOW)).tier == "disk"
        assert await cache.drained(5.0)
        assert stack.has(new_key(1)) == ["disk"]
        assert (await look_up(cache, new_key(1), NOW)).tier == "disk"
        assert await cache.drained(5.0)
        assert stack.has(new_key(1)) == ["memory", "redis", "disk"]


Way = Callable[[LayeredCache, Key], Coroutine[Any, Any, Any]]
WAYS: dict[str, Way] = {
    "one": lambda cache, key: look_up(cache, key),
    "again": lambda cache, key: cache.look_again(key, NOW),
    "many": lambda cache, key: cache.look_all_below([key], NOW),
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
async def test_an_entry_found_in_redis_is_copied_down_once_and_moves_up_by_use(
    stack: Stack, way: Way
) -> None:
    await stack.redis.put([(new_key(1), small(1))], NOW)
    async with stack.running() as cache:
        await way(cache, new_key(1))
        await way(cache, new_key(1))
        # It is on its way, and waits there once.
        assert (len(cache.queues()["disk"]), len(cache.queues()["redis"])) == (1, 0)
        assert await cache.drained(5.0)
        assert stack.has(new_key(1)) == ["memory", "redis", "disk"]
        for _ in range(5):
            stack.memory.drop(new_key(1))
            await way(cache, new_key(1))
            assert await cache.drained(5.0)
    assert (stack.disk.stats().fills, stack.redis.stats().fills) == (1, 1)


async def test_an_entry_whose_copy_has_expired_is_copied_down_again(stack: Stack) -> None:
    await stack.disk.put([(new_key(1), small(1, fresh_until_ms=NOW + 5))], NOW)
    await stack.redis.put([(new_key(1), small(2))], NOW)
    async with stack.running() as cache:
        await look_up(cache, new_key(1), NOW + 4)
        assert not len(cache.queues()["disk"])
        await look_up(cache, new_key(1), NOW + 5)
        assert await cache.drained(5.0)
    assert await stack.disk.get([new_key(1)], NOW + 5) == [small(2)]


async def test_where_nobody_can_tell_what_a_tier_has_nothing_is_copied_down_into_it() -> None:
    tiers = [Fallible(name, tier_settings()) for name in ("memory", "redis", "disk")]
    cache = LayeredCache(
        tiers[0],
        [Below(tiers[1], shared=True), Below(tiers[2], shared=False)],
        dead=lambda key, entry: False,
        monotonic=lambda: 0.0,
    )
    await tiers[1].put([(new_key(1), small(1))], NOW)
    assert (await look_up(cache, new_key(1))).entry == small(1)
    assert not any(map(len, cache.queues().values()))


async def test_a_second_look_finds_what_came_meanwhile_and_no_tier_counts_it(stack: Stack) -> None:
    assert (await look_up(stack.cache, new_key(1))).entry is None
    before = [tier.stats() for tier in stack.cache.tiers()]
    assert [look.met for look in (await stack.cache.look_again(new_key(1), NOW)).looks] == [Met.MISS] * 2
    assert [tier.stats() for tier in stack.cache.tiers()] == before
    await stack.redis.put([(new_key(1), small(1))], NOW)
    found = await stack.cache.look_again(new_key(1), NOW)
    assert (found.entry, found.tier) == (small(1), "redis")
    assert [(tier.stats().hits, tier.stats().misses) for tier in stack.cache.tiers()] == [(0, 1)] * 3
    stack.dead = lambda key, entry: True
    assert (await stack.cache.look_again(new_key(1), NOW)).entry is None


async def test_a_scan_over_what_is_below_moves_nothing_up(stack: Stack) -> None:
    entries = [(new_key(n), small(n)) for n in range(500)]
    await stack.disk.put(entries, NOW)
    for key, _ in entries:
        assert (await look_up(stack.cache, key, NOW)).tier == "disk"
    assert stack.memory.stats().entries == 0


async def test_with_one_use_asked_for_an_entry_moves_up_at_once() -> None:
    stack = Stack(promote_after=1)
    await stack.redis.put([(new_key(1), small(1))], NOW)
    assert (await look_up(stack.cache, new_key(1), NOW)).tier == "redis"
    assert stack.has(new_key(1)) == ["memory", "redis"]


async def test_a_dead_entry_is_a_miss_in_every_tier_whatever_they_hold(stack: Stack) -> None:
    for tier in (stack.memory, stack.redis):
        await tier.put([(new_key(1), small(1))], NOW)
    await stack.disk.put([(new_key(1), small(1, created_ms=NOW + 1))], NOW)
    stack.dead = lambda key, entry: entry.created_ms <= NOW
    assert stack.cache.find(new_key(1), NOW) is None
    found = await look_up(stack.cache, new_key(1), NOW)
    assert found.tier == "disk"
    assert [look.met for look in found.looks] == [Met.PURGED, Met.HIT]
    assert stack.has(new_key(1)) == ["redis", "disk"]
    many = await stack.cache.look_all_below([new_key(1)], NOW)
    assert many.tiers == {new_key(1): "disk"}
    await stack.cache.look_again(new_key(1), NOW)
    counts = [(tier.stats().hits, tier.stats().misses) for tier in stack.cache.tiers()]
    assert counts == [(0, 2), (0, 2), (2, 0)]


async def test_a_tier_that_is_away_is_passed_by_and_the_others_go_on(stack: Stack) -> None:
    stack.redis.gone = True
    await stack.disk.put([(new_key(1), small(1))], NOW)
    found = await look_up(stack.cache, new_key(1), NOW)
    assert found.entry == small(1)
    assert [look.met for look in found.looks] == [Met.AWAY, Met.HIT]


async def test_a_tier_that_stays_away_is_not_asked_until_a_probe_finds_it_back(stack: Stack) -> None:
    stack.redis.gone = True
    for _ in range(10):
        await look_up(stack.cache, new_key(1), NOW)
    assert stack.redis.calls == 3
    assert stack.cache.away() == ["redis"]
    await look_up(stack.cache, new_key(1), NOW + 499)
    assert stack.redis.calls == 3
    await look_up(stack.cache, new_key(1), NOW + 500)
    assert stack.redis.calls == 4
    stack.redis.gone = False
    await look_up(stack.cache, new_key(1), NOW + 1_499)
    assert stack.cache.away() == ["redis"]
    found = await look_up(stack.cache, new_key(1), NOW + 1_500)
    assert found.looks[0].met is Met.MISS
    assert stack.cache.away() == []


async def test_a_tier_is_not_used_again_before_the_markers_were_read(stack: Stack) -> None:
    stack.redis.gone = True
    for _ in range(3):
        await look_up(stack.cache, new_key(1), NOW)
    stack.redis.gone = False
    stack.usable = False
    assert (await look_up(stack.cache, new_key(1), NOW + 500)).looks[0].met is Met.AWAY
    assert stack.redis.calls == 3
    stack.usable = True
    # Nothing was asked of it meanwhile, so nothing counts against it.
    assert (await look_up(stack.cache, new_key(1), NOW + 501)).looks[0].met is Met.MISS


async def test_a_tier_that_answers_is_not_used_while_it_is_not_known_what_was_purged_from_it(
    stack: Stack,
) -> None:
    await stack.redis.put([(new_key(1), small(1))], NOW)
    calls = stack.redis.calls
    stack.usable = False
    for _ in range(5):
        found = await look_up(stack.cache, new_key(1), NOW)
        assert (found.entry, found.looks[0].met) == (None, Met.AWAY)
    assert not await stack.cache.put_through(new_key(2), small(2), NOW)
    assert (await stack.cache.look_all_below([new_key(1)], NOW)).found == {}
    assert stack.cache.away() == ["redis"]
    assert stack.redis.calls == calls
    stack.usable = True
    assert (await look_up(stack.cache, new_key(1), NOW)).entry == small(1)


async def test_only_one_call_probes_at_a_time(stack: Stack) -> None:
    stack.redis.gone = True
    for _ in range(3):
        await look_up(stack.cache, new_key(1), NOW)
    stack.redis.gone = False
    stack.redis.free.clear()
    probing = asyncio.ensure_future(look_up(stack.cache, new_key(1), NOW + 500))
    await asyncio.sleep(0)
    assert (await look_up(stack.cache, new_key(1), NOW + 500)).looks[0].met is Met.AWAY
    probing.cancel()
    await asyncio.wait([probing])
    stack.redis.free.set()
    # A probe that was cancelled says nothing: the next call probes.
    assert (await look_up(stack.cache, new_key(1), NOW + 500)).looks[0].met is Met.MISS


async def test_what_is_put_through_is_in_the_shared_tiers_when_it_returns(stack: Stack) -> None:
    assert await stack.cache.put_through(new_key(1), small(1), NOW)
    assert stack.has(new_key(1)) == ["memory", "redis"]
    assert len(stack.cache.queues()["disk"]) == 1
    stack.redis.gone = True
    assert not await stack.cache.put_through(new_key(2), small(2), NOW)
    assert stack.has(new_key(2)) == ["memory"]


async def test_an_older_entry_that_waits_is_not_written_over_a_newer_one() -> None:
    stack = Stack(promote_after=1)
    await stack.disk.put([(new_key(1), small(1))], NOW)
    assert (await look_up(stack.cache, new_key(1))).tier == "disk"
    assert len(stack.cache.queues()["redis"]) == 1
    await stack.cache.put_through(new_key(1), small(2), NOW)
    async with stack.running() as cache:
        assert await cache.drained(5.0)
    assert await stack.redis.get([new_key(1)], NOW) == [small(2)]
    assert await stack.disk.get([new_key(1)], NOW) == [small(2)]


async def test_a_sweep_goes_over_all_tiers_but_those_that_are_away(stack: Stack) -> None:
    for tier in (stack.memory, stack.redis, stack.disk):
        await tier.put([(new_key(n), small(n, fresh_until_ms=NOW + 10)) for n in range(3)], NOW)
    stack.redis.gone = True
    assert await stack.cache.sweep(NOW + 10, 100) == 6
    stack.redis.gone = False
    assert await stack.cache.sweep(NOW + 10, 100) == 3


async def test_a_slow_tier_costs_its_own_entries_and_no_request() -> None:
    stack = Stack(queue=QueueSettings(entries=8, batch_entries=2))
    stack.disk.free.clear()
    async with stack.running() as cache:
        for n in range(20):
            assert await cache.put_through(new_key(n, "ab"[n % 2]), small(n), NOW)
            await asyncio.sleep(0)
        queues = cache.queues()
        assert len(queues["disk"]) == 8
        # The first went in a batch, which is held up.
        first = 20 - 8 - queues["disk"].dropped
        assert 1 <= first <= 2
        assert not await cache.drained(0.01)
        stack.disk.free.set()
        assert await cache.drained(5.0)
    assert stack.disk.stats().entries == 8 + first
    assert stack.redis.stats().entries == 20
    assert queues["disk"].waiting_bytes == 0
    assert max(stack.disk.batches) == 2


async def test_what_waits_for_a_tier_that_goes_away_is_dropped_and_counted(stack: Stack) -> None:
    stack.disk.gone = True
    async with stack.running() as cache:
        for n in range(5):
            assert await cache.put_through(new_key(n), small(n), NOW)
        assert await cache.drained(5.0)
        assert cache.queues()["disk"].dropped == 5
    assert stack.redis.stats().entries == 5


async def test_one_namespace_has_at_most_half_of_a_queue() -> None:
    stack = Stack(queue=QueueSettings(entries=10, waiting_bytes=10 << 20))
    for n in range(20):
        await stack.cache.put_through(new_key(n, "a"), small(n), NOW)
    for n in range(3):
        await stack.cache.put_through(new_key(n, "b"), small(n), NOW)
    queue = stack.cache.queues()["disk"]
    assert (len(queue), queue.dropped) == (8, 15)
    big = Stack(queue=QueueSettings(entries=100, waiting_bytes=4_000))
    for n in range(20):
        await big.cache.put_through(new_key(n, "a"), small(n), NOW)
    assert big.cache.queues()["disk"].waiting_bytes <= 2_000
    assert len(big.cache.queues()["disk"]) > 3


async def test_an_entry_above_the_bytes_of_a_batch_goes_alone() -> None:
    stack = Stack(queue=QueueSettings(batch_bytes=1_000))
    for n, size in enumerate((100, 100, 5_000, 100)):
        await stack.cache.put_through(new_key(n), new_entry(n, size), NOW)
    async with stack.running() as cache:
        assert await cache.drained(5.0)
    assert stack.disk.batches == [2, 1, 1]


async def test_closing_closes_every_tier(stack: Stack) -> None:
    await stack.cache.put_through(new_key(1), small(1), NOW)
    await stack.cache.close()
    assert stack.memory.stats().entries == 0
    assert [tier.name for tier in stack.cache.tiers()] == ["memory", "redis", "disk"]


def test_each_tier_has_its_own_time_to_live_and_the_entry_keeps_its_freshness() -> None:
    tier = MemoryTier(tier_settings(ttl_ms=1_000), Random(1))
    tier.keep(new_key(1), small(1), NOW)
    found = tier.find(new_key(1), NOW + 999)
    assert found is not None
    assert found.fresh_until_ms == NOW + HOUR
    assert tier.find(new_key(1), NOW + 1_000) is None


def test_settings_name_every_fault_at_once() -> None:
    with pytest.raises(
        ValueError, match="ttl_ms is 0; it must be at least 1; namespace_bytes is 20"
    ) as error:
        TierSettings(10, 20, 30, 0, PolicyName.LRU)
    assert "entry_bytes is 30, more than a namespace may have: namespace_bytes is 20" in str(error.value)
    with pytest.raises(ValueError, match="promote_after is 0"):
        TierSettings(30, 20, 10, 1, promote_after=0)
    with pytest.raises(ValueError, match=r"entries is 1; it must be at least 2; batch_bytes is 0"):
        QueueSettings(entries=1, batch_bytes=0)


def test_the_fakes_of_this_suite_are_tiers() -> None:
    tier: Tier = Fallible("redis", tier_settings())
    assert tier.name == "redis"
