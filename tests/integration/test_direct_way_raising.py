"""Calls that become more urgent while they are under way: those that wait here, and those that a runner has."""

import asyncio
from collections.abc import Sequence

from forebay.runner.v1.runner_service_pb2 import Answer
from scheduler.errors import ShuttingDown
from scheduler.states import Level
from services.gateway.direct import DirectCall
from tests.direct_runners import FakeRunner, Way, echo, never, refusing, tensor_call, way_to


def begun(way: Way, wanted: DirectCall) -> "asyncio.Task[Answer]":
    return asyncio.ensure_future(way.calls.call(wanted))


async def test_a_call_that_waits_to_be_sent_goes_before_those_that_were_more_urgent_than_it() -> None:
    runner = FakeRunner("r1", answer=never, acknowledges=False)
    async with way_to(runner) as way:
        first = begun(way, tensor_call())
        await runner.until(lambda: len(runner.calls) == 1)
        low = tensor_call(priority=Level.LOW)
        waiting = [begun(way, low), begun(way, tensor_call(priority=Level.NORMAL))]
        await asyncio.sleep(0)
        way.calls.raise_level(low, Level.HIGH)
        runner.answer = echo
        runner.send(echo(runner.calls[0]))
        await asyncio.gather(first, *waiting)
    assert [Level(one.priority) for one in runner.calls[1:]] == [Level.HIGH, Level.NORMAL]
    assert runner.raised == []


async def test_the_runner_is_told_at_once_of_a_call_that_it_has() -> None:
    runner = FakeRunner("r1", answer=never)
    async with way_to(runner) as way:
        low = tensor_call(priority=Level.LOW)
        asked = begun(way, low)
        await runner.until(lambda: len(runner.calls) == 1)
        way.calls.raise_level(low, Level.CRITICAL)
        await runner.until(lambda: bool(runner.raised))
        # What is no rise is not told, and neither is one of a call that has ended.
        way.calls.raise_level(low, Level.HIGH)
        runner.send(echo(runner.calls[0]))
        await asked
        low.priority = Level.LOW
        way.calls.raise_level(low, Level.HIGH)
        runner.answer = echo
        await way.calls.call(tensor_call())
    assert runner.raised == [(runner.calls[0].id, Level.CRITICAL)]
    assert Level(runner.calls[0].priority) is Level.LOW


async def test_a_call_that_goes_to_another_runner_keeps_the_level_to_which_it_rose() -> None:
    runners = [FakeRunner(name, answer=never) for name in ("r1", "r2")]
    async with way_to(*runners) as way:
        low = tensor_call(priority=Level.LOW)
        asked = begun(way, low)
        has = await first_to_be_asked(runners)
        other = next(one for one in runners if one is not has)
        way.calls.raise_level(low, Level.HIGH)
        await has.until(lambda: bool(has.raised))
        refused = refusing(ShuttingDown("it goes"))(has.calls[0])
        assert refused is not None
        other.answer = echo
        has.send(refused)
        await asked
    assert [Level(one.priority) for one in other.calls] == [Level.HIGH]


async def first_to_be_asked(runners: Sequence[FakeRunner]) -> FakeRunner:
    """Return the runner that got a call, once one did."""
    waiting = [asyncio.ensure_future(one.until(lambda one=one: bool(one.calls))) for one in runners]  # type: ignore[misc]
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    return next(one for one in runners if one.calls)
