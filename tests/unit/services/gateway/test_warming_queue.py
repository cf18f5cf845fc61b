"""Who may warm the cache when."""

import asyncio
from contextlib import ExitStack

import pytest

from scheduler.errors import Overloaded
from services.gateway.cache_control.warming_queue import (
    MOST_BYTES_OF_TENANT,
    MOST_CALLS,
    MOST_CALLS_OF_TENANT,
    WarmingQueue,
)


def test_a_tenant_has_few_calls_and_they_leave_room_for_others() -> None:
    queue = WarmingQueue(1)
    with ExitStack() as calls:
        for _ in range(MOST_CALLS_OF_TENANT):
            calls.enter_context(queue.taken("a", 1))
        with pytest.raises(Overloaded), queue.taken("a", 1):
            pass
        for number in range(MOST_CALLS - MOST_CALLS_OF_TENANT):
            calls.enter_context(queue.taken(f"b{number}", 1))
        with pytest.raises(Overloaded), queue.taken("c", 1):
            pass
    with queue.taken("c", 1), queue.taken("a", 1):
        pass


def test_bytes_are_bounded_and_one_call_is_taken_however_large() -> None:
    queue = WarmingQueue(1)
    with queue.taken("a", 10 * MOST_BYTES_OF_TENANT), pytest.raises(Overloaded), queue.taken("a", 1):
        pass
    with queue.taken("a", MOST_BYTES_OF_TENANT - 1), queue.taken("b", MOST_BYTES_OF_TENANT):
        with queue.taken("a", 1):
            pass
        with pytest.raises(Overloaded), queue.taken("a", 2):
            pass


async def test_nobody_waits_behind_all_that_another_tenant_wants() -> None:
    queue = WarmingQueue(2)
    order = []

    async def warm(tenant: str) -> None:
        async with queue.seat(tenant):
            await asyncio.sleep(0)
            order.append(tenant)

    with queue.taken("a", 1), queue.taken("b", 1):
        async with asyncio.TaskGroup() as group:
            for _ in range(40):
                group.create_task(warm("a"))
            await asyncio.sleep(0)
            group.create_task(warm("b"))
    assert len(order) == 41
    assert order.index("b") <= 6


async def test_a_turn_that_does_not_come_is_refused_and_takes_no_turn_from_others() -> None:
    queue = WarmingQueue(1, wait_s=0.01)
    with queue.taken("a", 1), queue.taken("b", 1):
        async with queue.seat("a"):
            with pytest.raises(Overloaded):
                async with queue.seat("b"):
                    raise AssertionError("there is one seat")
        async with asyncio.timeout(1.0), queue.seat("b"):
            pass


async def test_what_takes_long_once_it_has_its_turn_is_not_cut_off() -> None:
    queue = WarmingQueue(1, wait_s=0.01)
    with queue.taken("a", 1):
        async with queue.seat("a"):
            await asyncio.sleep(0.02)
        with pytest.raises(TimeoutError):
            async with queue.seat("a"):
                raise TimeoutError("of the computation")
