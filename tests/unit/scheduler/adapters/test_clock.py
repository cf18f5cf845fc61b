"""The clock that tests move."""

import asyncio

from scheduler.adapters.clock import FakeClock, SystemClock


async def test_sleepers_wake_in_order_when_their_time_has_come() -> None:
    clock, woken = FakeClock(), []

    async def sleeper(seconds: float) -> None:
        await clock.sleep(seconds)
        woken.append(seconds)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(sleeper(seconds)) for seconds in (3.0, 1.0, 2.0)]
        await clock.until_asleep(3)
        clock.advance(2.5)
        await asyncio.wait([tasks[1], tasks[2]])
        assert woken == [1.0, 2.0]
        clock.advance(0.5)
    assert woken == [1.0, 2.0, 3.0]


async def test_a_cancelled_sleeper_leaves_nothing_behind() -> None:
    clock = FakeClock()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(clock.sleep(1))
        await clock.until_asleep()
        task.cancel()
    clock.advance(2)
    assert task.cancelled()


async def test_sleeping_for_no_time_does_not_wait() -> None:
    await FakeClock().sleep(0)


def test_both_of_its_times_move_together() -> None:
    clock = FakeClock(now_ms=5_000)
    clock.advance(0.25)
    assert (clock.now_ms(), clock.monotonic()) == (5_250, 0.25)


async def test_the_machines_clock_goes_on() -> None:
    clock = SystemClock()
    before = clock.monotonic()
    await clock.sleep(0)
    assert clock.monotonic() >= before
    assert clock.now_ms() > 1_600_000_000_000
