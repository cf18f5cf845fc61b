"""What is one caller's alone, and what nobody who asked is to blame for, leaves the others to those who come next."""

import asyncio
from collections.abc import Coroutine
from contextlib import aclosing
from itertools import pairwise
from typing import Any

from cache.flights import Abandoned, Answered, Chunk, Disbanded, FlightFailed, Interrupted, OnItsOwn
from cache.ports import Following, Landing, LandingKind
from tests.unit.cache.flights.gateways import (
    KEY,
    NORMAL,
    Gateways,
    SteeredCall,
    Store,
    gateways,
    settle,
)


async def _kept(coroutine: Coroutine[Any, Any, Any]) -> Any:
    try:
        return await coroutine
    except Exception as error:
        return error


def interrupted(cause: Exception) -> Interrupted:
    error = Interrupted(str(cause))
    error.__cause__ = cause
    return error


async def read(several: Gateways, number: int, call: SteeredCall) -> list[Any]:
    async with aclosing(several.each[number].stream(KEY, NORMAL, call)) as events:
        return [event async for event in events]


async def test_an_answer_to_something_else_is_its_callers_alone_and_the_next_computes() -> None:
    store = Store()
    async with gateways(2) as several, asyncio.TaskGroup() as group:
        moved, here, there = SteeredCall(store, "two"), SteeredCall(store, "three"), SteeredCall(store)
        moved.apart = True
        tasks = [group.create_task(several.each[0].do(KEY, NORMAL, call)) for call in (moved, here)]
        await settle()
        tasks.append(group.create_task(several.each[1].do(KEY, NORMAL, there)))
        await settle()
        moved.go.set()
        await settle()
        assert tasks[0].result() == "two"
        assert (here.computed, there.computed, store.answer) == (1, 0, None)
        here.go.set()
        await asyncio.wait(tasks)
        assert [task.result() for task in tasks] == ["two", "three", "three"]
        assert store.answer == "three"


async def test_an_answer_to_something_else_ends_nothing_at_other_gateways() -> None:
    store = Store()
    async with gateways(2) as several, asyncio.TaskGroup() as group:
        moved, there = SteeredCall(store, "two"), SteeredCall(store, "three")
        moved.apart = True
        tasks = [group.create_task(several.each[0].do(KEY, NORMAL, moved))]
        await settle()
        tasks.append(group.create_task(several.each[1].do(KEY, NORMAL, there)))
        await settle()
        moved.go.set()
        await settle()
        assert there.computed == 1
        there.go.set()
        await asyncio.wait(tasks)
        assert [task.result() for task in tasks] == ["two", "three"]


async def test_chunks_of_something_else_are_given_to_the_caller_alone_as_they_come() -> None:
    store = Store()
    async with gateways(2) as several, asyncio.TaskGroup() as group:
        moved, here, there = (
            SteeredCall(store, "two", [b"two@1", b"two@2"]),
            SteeredCall(store, "three", [b"three@1"]),
            SteeredCall(store, "three", [b"three@1"]),
        )
        moved.apart = True
        given: list[Any] = []

        async def lead() -> None:
            async with aclosing(several.each[0].stream(KEY, NORMAL, moved)) as events:
                async for event in events:
                    given.append(event)  # noqa: PERF401 - looked at while they come

        leading = group.create_task(lead())
        await settle()
        followers = [group.create_task(read(several, 0, here)), group.create_task(read(several, 1, there))]
        for _ in range(3):
            await several.tick()
        moved.publish_next.release()
        await settle()
        assert given == [Chunk(0, b"two@1")]
        moved.publish_next.release()
        moved.go.set()
        here.publish_next.release()
        here.go.set()
        await asyncio.wait([leading, *followers])
        assert given == [Chunk(0, b"two@1"), Chunk(1, b"two@2"), Answered("two")]
        assert [task.result() for task in followers] == [[Chunk(0, b"three@1"), Answered("three")]] * 2


async def test_a_stream_that_is_its_callers_alone_ends_when_its_process_does() -> None:
    store = Store()
    moved = SteeredCall(store, chunks=[b"two@1"])
    moved.apart = True
    async with gateways() as several:
        reading = asyncio.ensure_future(_kept(read(several, 0, moved)))
        await settle()
    assert "given up" in str(await reading)


async def test_when_two_were_given_something_else_the_others_are_sent_on_their_own_and_not_in_a_row() -> None:
    store = Store()
    async with gateways() as several:
        calls = [SteeredCall(store, str(number)) for number in range(6)]
        for call in calls:
            call.apart = True
            call.go.set()
        ends = await asyncio.gather(*(_kept(several.each[0].do(KEY, NORMAL, call)) for call in calls))
        assert ends[:2] == ["0", "1"]
        assert [type(end) for end in ends[2:]] == [OnItsOwn] * 4
        assert several.each[0].under_way == 0


async def test_what_nobody_is_to_blame_for_is_one_callers_alone_and_the_next_computes() -> None:
    store = Store()
    async with gateways() as several, asyncio.TaskGroup() as group:
        first, second, third = (SteeredCall(store) for _ in range(3))
        first.failure = interrupted(gone := RuntimeError("the runner went"))
        second.go.set()
        tasks = [
            group.create_task(_kept(several.each[0].do(KEY, NORMAL, call))) for call in (first, second, third)
        ]
        await settle()
        first.go.set()
        await asyncio.wait(tasks)
        assert [task.result() for task in tasks] == [gone, "answer", "answer"]
        assert third.computed == 0


async def test_two_try_again_what_was_interrupted_and_then_it_is_the_failure_of_all() -> None:
    store = Store()
    async with gateways() as several:
        calls = [SteeredCall(store) for _ in range(20)]
        for call in calls:
            call.failure = interrupted(RuntimeError("the runner went"))
            call.go.set()
        ends = await asyncio.gather(*(_kept(several.each[0].do(KEY, NORMAL, call)) for call in calls))
    assert sum(call.computed for call in calls) == 3
    assert [type(end) for end in ends] == [RuntimeError] * 3 + [FlightFailed] * 17


async def test_what_was_interrupted_is_not_tried_again_by_each_gateway() -> None:
    store = Store()
    async with gateways(8) as several, asyncio.TaskGroup() as group:
        calls = [SteeredCall(store) for _ in range(8)]
        tasks = []
        for each, call in zip(several.each, calls, strict=True):
            call.failure = interrupted(RuntimeError("the runner went"))
            tasks.append(group.create_task(_kept(each.do(KEY, NORMAL, call))))
            await settle()
        for _ in range(3):
            [running] = [call for call in calls if call.computed and not call.go.is_set()]
            running.go.set()
            await settle()
        await asyncio.wait(tasks)
    assert sum(call.computed for call in calls) == 3
    assert [type(task.result()) for task in tasks].count(FlightFailed) == 5


async def test_who_takes_what_is_kept_is_given_it_while_who_leads_computes_anew() -> None:
    store = Store()
    async with gateways() as several, asyncio.TaskGroup() as group:
        cable = several.cables[0]
        other = await several.shared.begin(KEY, "elsewhere", 4_000, NORMAL)
        refresh, usual = SteeredCall(store, "new"), SteeredCall(store)
        refresh.reads = False

        async def nothing() -> None:
            return None

        refresh.find = nothing  # type: ignore[method-assign]
        renewing = group.create_task(several.each[0].do(KEY, NORMAL, refresh))
        await settle()
        asked = group.create_task(several.each[0].do(KEY, NORMAL, usual))
        await settle()
        assert not isinstance(other, Following) and cable.begins == [NORMAL]
        store.answer = "kept"
        await several.shared.land(KEY, other.fence, Landing(LandingKind.STORED))
        await settle()
        assert asked.result() == "kept"
        assert (refresh.computed, renewing.done()) == (1, False)
        refresh.go.set()
        await asyncio.wait({renewing})
        assert renewing.result() == "new"


async def test_a_computation_that_only_others_may_wait_for_ends_after_a_while_and_one_of_them_takes_over() -> (
    None
):
    store = Store()
    async with gateways(2) as several, asyncio.TaskGroup() as group:
        first, second = SteeredCall(store), SteeredCall(store)
        leaving = group.create_task(_kept(several.each[0].do(KEY, NORMAL, first)))
        await settle()
        staying = group.create_task(several.each[1].do(KEY, NORMAL, second))
        await several.tick()
        leaving.cancel()
        await settle()
        for _ in range(598):
            await several.tick()
        assert (first.cancelled, second.computed) == (0, 0)
        for _ in range(6):
            await several.tick()
        assert (first.cancelled, second.computed) == (1, 1)
        second.go.set()
        assert await staying == "answer"


async def test_who_hands_over_without_having_waited_leaves_the_event_loop_to_others_in_between() -> None:
    store = Store()
    async with gateways() as several:
        calls = [SteeredCall(store) for _ in range(500)]
        for call in calls:
            call.failure = Abandoned("no room")
            call.go.set()
        asked = [asyncio.ensure_future(_kept(several.each[0].do(KEY, NORMAL, call))) for call in calls]
        computed = [0]
        while not all(one.done() for one in asked):
            await asyncio.sleep(0)
            computed.append(sum(call.computed for call in calls))
        assert computed[-1] == 500
        assert max(after - before for before, after in pairwise(computed)) <= 64


async def test_what_all_of_a_process_would_meet_is_met_by_one_and_another_process_takes_over() -> None:
    store = Store()
    async with gateways(2) as several, asyncio.TaskGroup() as group:
        here, there = [SteeredCall(store) for _ in range(20)], SteeredCall(store)
        cause = RuntimeError("it is closing")
        here[0].failure = disbanded = Disbanded("it is closing")
        disbanded.__cause__ = cause
        asked = [group.create_task(_kept(several.each[0].do(KEY, NORMAL, call))) for call in here]
        await settle()
        following = group.create_task(several.each[1].do(KEY, NORMAL, there))
        await settle()
        here[0].go.set()
        await asyncio.wait(asked)
        assert [task.result() for task in asked] == [cause] * 20
        assert sum(call.computed for call in here) == 1
        there.go.set()
        assert await following == "answer"


async def test_a_stream_that_takes_what_is_kept_ends_while_others_go_on_to_wait_elsewhere() -> None:
    store = Store()
    async with gateways() as several, asyncio.TaskGroup() as group:
        refresh, usual = SteeredCall(store), SteeredCall(store, chunks=[b"kept@1"])
        refresh.reads = False

        async def nothing() -> None:
            """Find nothing newer, and let yet another process lead by then."""
            await several.shared.begin(KEY, "yet another", 4_000, NORMAL)

        refresh.find = nothing  # type: ignore[method-assign]
        other = await several.shared.begin(KEY, "another", 4_000, NORMAL)
        renewing = group.create_task(_kept(several.each[0].do(KEY, NORMAL, refresh)))
        reading = group.create_task(read(several, 0, usual))
        await settle()
        store.answer = "answer"
        await several.shared.land(KEY, other.fence, Landing(LandingKind.STORED))
        await settle()
        assert not renewing.done()
        assert reading.done() and reading.result() == [Chunk(0, b"kept@1"), Answered("answer")]
        renewing.cancel()


async def test_one_that_cannot_take_in_whose_answer_it_is_given_fails_alone() -> None:
    store = Store()
    async with gateways() as several:
        calls = [SteeredCall(store) for _ in range(4)]
        fault = ValueError("what was told of it cannot be read")

        def followed(trace: bytes) -> None:
            raise fault

        calls[1].followed = followed  # type: ignore[method-assign]
        calls[0].go.set()
        async with asyncio.timeout(5):
            ends = await asyncio.gather(*(_kept(several.each[0].do(KEY, NORMAL, call)) for call in calls))
    assert ends == ["answer", fault, "answer", "answer"]
