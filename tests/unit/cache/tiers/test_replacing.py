"""An answer that was computed anew takes the place of what is older, whatever was under way."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager

import pytest

from cache.adapters.memory import MemoryInvalidations
from cache.ports import Invalidation, InvalidationsAway, Key
from cache.tiers import LayeredCache, Met, hear_outdated, tell_outdated
from cache.tiers.invalidating import MOST_AT_ONCE
from cache.tiers.outdated import Outdated
from scheduler.adapters.clock import SystemClock
from tests.conformance.cache_tiers import NOW, new_entry, new_key
from tests.unit.cache.tiers.test_layers import Stack, small

KEY = new_key(1)
OLD, NEW = small(1), small(2, created_ms=NOW + 10)


@pytest.fixture
def stack() -> Stack:
    return Stack(promote_after=1)


@asynccontextmanager
async def telling(cache: LayeredCache, invalidations: MemoryInvalidations) -> AsyncIterator[None]:
    clock = SystemClock()
    tasks = [
        asyncio.ensure_future(each(cache, invalidations, clock)) for each in (tell_outdated, hear_outdated)
    ]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def until(done: Callable[[], bool]) -> None:
    while not done():  # noqa: ASYNC110  no event says it
        await asyncio.sleep(0)


async def test_a_look_up_that_began_before_does_not_bring_the_old_one_back(stack: Stack) -> None:
    await stack.redis.put([(KEY, OLD)], NOW)
    stack.redis.hold_replies()
    async with stack.running() as cache:
        look = asyncio.ensure_future(cache.get_below(KEY, NOW))
        await stack.redis.replied.wait()
        await cache.put_through(KEY, NEW, NOW + 20)
        stack.redis.free_replies()
        await look
        assert await cache.drained(5.0)
    assert cache.find(KEY, NOW + 21) == NEW
    for tier in (stack.redis, stack.disk):
        assert tier.glance(KEY, NOW + 21) == NEW


async def test_what_was_computed_too_large_for_the_memory_is_not_undone_by_a_look_up_either(
    stack: Stack,
) -> None:
    await stack.redis.put([(KEY, OLD)], NOW)
    stack.redis.hold_replies()
    async with stack.running() as cache:
        look = asyncio.ensure_future(cache.get_below(KEY, NOW))
        await stack.redis.replied.wait()
        cache.replacing.replaced(KEY, NOW + 10)
        stack.redis.free_replies()
        found = await look
        assert (found.entry, found.looks[0].met) == (None, Met.PURGED)
        assert await cache.drained(5.0)
    assert cache.find(KEY, NOW + 21) is None
    assert stack.has(KEY) == ["redis"]


async def test_an_earlier_entry_does_not_take_the_place_of_a_later_one_that_waits(stack: Stack) -> None:
    queue = stack.cache.queues()["disk"]
    assert queue.offer(KEY, NEW, NOW)
    assert queue.offer(KEY, OLD, NOW)
    assert (len(queue), queue.waiting_bytes) == (1, NEW.size)
    async with stack.running() as cache:
        assert await cache.drained(5.0)
    assert stack.disk.glance(KEY, NOW + 20) == NEW


async def test_who_hears_of_it_lets_go_of_what_is_older_and_of_nothing_else(stack: Stack) -> None:
    other = new_key(2)
    for tier in (stack.memory, stack.redis, stack.disk):
        await tier.put([(KEY, OLD), (other, OLD)], NOW)
    async with stack.running() as cache:
        cache.queues()["disk"].offer(KEY, OLD, NOW)
        await cache.replacing.outdate([Invalidation(KEY, NOW + 10)], NOW + 20)
        assert await cache.drained(5.0)
        assert stack.has(KEY) == ["redis"]
        assert (stack.has(other), stack.disk.glance(other, NOW)) == (["memory", "redis", "disk"], OLD)
        # Nor does it come from where it still is, nor from a computation that began before.
        assert (await cache.get_below(KEY, NOW + 20)).entry is None
        await cache.put_through(KEY, OLD, NOW + 21)
        cache.put_near(KEY, OLD, NOW + 21)
        assert cache.find(KEY, NOW + 21) is None
        await cache.put_through(KEY, NEW, NOW + 22)
        assert cache.find(KEY, NOW + 22) == NEW


async def test_it_is_told_to_everybody_and_taken_out_of_what_is_shared_also_when_that_was_away(
    stack: Stack,
) -> None:
    here, there = stack, Stack()
    shared = MemoryInvalidations()
    for tier in (here.redis, there.memory, there.disk):
        await tier.put([(KEY, OLD)], NOW)
    here.redis.gone = True
    assert not await here.cache.put_through(KEY, NEW, NOW + 20)
    here.cache.replacing.replaced(KEY, NEW.created_ms)
    async with telling(here.cache, MemoryInvalidations()):
        await until(lambda: here.redis.calls > 1)
        assert here.cache.replacing.outdated.untold(9)
        here.redis.gone = False
        await until(lambda: not here.cache.replacing.outdated.untold(9))
    assert here.redis.glance(KEY, NOW + 21) is None
    await shared.tell([Invalidation(KEY, NEW.created_ms)])
    async with telling(there.cache, shared):
        await until(lambda: there.has(KEY) == [])


async def test_of_two_times_of_a_key_that_are_heard_in_the_wrong_order_the_later_counts(stack: Stack) -> None:
    middle = small(1, created_ms=NOW + 5)
    both = [Invalidation(KEY, NOW + 10), Invalidation(KEY, NOW + 1)]
    for tier in (stack.memory, stack.disk, stack.redis):
        await tier.put([(KEY, middle)], NOW + 6)
    await stack.cache.replacing.outdate(both, NOW + 20)
    assert stack.has(KEY) == ["redis"]
    assert await stack.cache.replacing.outdate_shared(both, NOW + 20)
    assert stack.has(KEY) == []


class Telling(MemoryInvalidations):
    def __init__(self) -> None:
        super().__init__()
        self.parts: list[list[Key]] = []

    async def tell(self, outdated: Sequence[Invalidation]) -> None:
        self.parts.append([one.key for one in outdated])


async def test_while_a_tier_that_is_shared_is_away_others_are_told_once_and_nobody_waits_behind_it(
    stack: Stack,
) -> None:
    keys = [new_key(number) for number in range(MOST_AT_ONCE + 1)]
    shared = Telling()
    stack.redis.gone = True
    for key in keys:
        stack.cache.replacing.replaced(key, NOW)
    async with telling(stack.cache, shared):
        await until(lambda: len(shared.parts) == 2)
        assert shared.parts == [keys[:-1], keys[-1:]]
        stack.redis.gone = False
        await until(lambda: not stack.cache.replacing.outdated.untold(1))
    assert len(shared.parts) == 2


async def test_a_tier_with_a_fault_is_counted_and_keeps_nobody_from_being_told(stack: Stack) -> None:
    shared = Telling()

    async def outdate(before: Mapping[Key, int], now_ms: int) -> None:
        raise ValueError("the index of one namespace is damaged")

    stack.redis.outdate = outdate  # type: ignore[method-assign]  # a fault of one call
    async with telling(stack.cache, shared):
        for number in range(4):
            stack.cache.replacing.replaced(new_key(number), NOW)
            await until(lambda: not stack.cache.replacing.outdated.untold(1))
    assert shared.parts == [[new_key(number)] for number in range(4)]
    assert stack.cache.faults.counts["tier redis"] == 4
    # The tier is not left alone for it.
    assert (await stack.cache.get_below(KEY, NOW)).looks[0].met is Met.MISS


async def test_a_flood_of_it_is_told_in_few_parts(stack: Stack) -> None:
    told: list[int] = []

    class Counting(MemoryInvalidations):
        async def tell(self, outdated: object) -> None:
            assert isinstance(outdated, list)
            if not told:
                told.append(0)
                raise InvalidationsAway("not there")
            told.append(len(outdated))

    for number in range(1_300):
        stack.cache.replacing.replaced(new_key(number), NOW)
        stack.cache.replacing.replaced(new_key(number), NOW + 1)
    async with telling(stack.cache, Counting()):
        await until(lambda: not stack.cache.replacing.outdated.untold(1))
    assert told == [0, 512, 512, 276]


def test_what_is_remembered_is_bounded_and_the_latest() -> None:
    outdated = Outdated(most=2)
    for number in range(3):
        outdated.note(Invalidation(new_key(number), NOW + 10))
        outdated.tell(Invalidation(new_key(number), NOW + 10))
    outdated.note(Invalidation(new_key(2), NOW + 5))
    old = new_entry(0, 10, created_ms=NOW + 9)
    assert [outdated.covers(new_key(number), old) for number in range(3)] == [False, True, True]
    assert not outdated.covers(new_key(2), new_entry(0, 10, created_ms=NOW + 10))
    assert [one.key for one in outdated.untold(9)] == [new_key(1), new_key(2)]
    outdated.tell(Invalidation(new_key(1), NOW + 11))
    outdated.told([Invalidation(new_key(1), NOW + 10), Invalidation(new_key(2), NOW + 10)])
    assert outdated.untold(9) == [Invalidation(new_key(1), NOW + 11)]
