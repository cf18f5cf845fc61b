import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from cache.flights import ALONE, Abandoned, FlightFailed
from cache.ports import Key, Landing, Leading
from tests.unit.cache.flights.gateways import HIGH, KEY, LOW, NORMAL, SteeredCall, Store, gateways, settle


def start(group: asyncio.TaskGroup, coroutine: Coroutine[Any, Any, str]) -> asyncio.Task[object]:
    return group.create_task(_kept(coroutine))


async def _kept(coroutine: Coroutine[Any, Any, str]) -> object:
    try:
        return await coroutine
    except Exception as error:
        return error


async def test_five_hundred_identical_cold_requests_at_five_gateways_are_one_computation() -> None:
    store = Store()
    calls = [SteeredCall(store) for _ in range(500)]
    async with gateways(5) as several, asyncio.TaskGroup() as group:
        tasks = [start(group, several.each[n % 5].do(KEY, NORMAL, call)) for n, call in enumerate(calls)]
        await settle()
        [first] = [call for call in calls if call.computing.is_set()]
        first.go.set()
        await asyncio.wait(tasks)
        assert [task.result() for task in tasks] == ["answer"] * 500
        assert sum(call.computed for call in calls) == 1
        # One look for each gateway that followed, and not for each request.
        assert store.looks == 4
        assert [each.under_way for each in several.each] == [0] * 5


async def test_a_process_that_shares_with_nobody_asks_nobody_and_still_computes_once() -> None:
    store = Store()
    calls = [SteeredCall(store) for _ in range(50)]
    async with gateways(1, ALONE) as several, asyncio.TaskGroup() as group:
        tasks = [start(group, several.each[0].do(KEY, NORMAL, call)) for call in calls]
        await settle()
        several.clock.advance(3_600.0)
        await settle()
        calls[0].go.set()
        await asyncio.wait(tasks)
        late = SteeredCall(store)
        assert await several.each[0].do(KEY, NORMAL, late) == "answer"
        cable = several.cables[0]
        assert (cable.begins, cable.renewals) == ([], 0)
        assert sum(call.computed for call in [*calls, late]) == 1


async def test_one_who_comes_just_after_the_landing_finds_the_answer_and_does_not_compute() -> None:
    store = Store()
    async with gateways(2) as several:
        first, late, elsewhere = SteeredCall(store), SteeredCall(store), SteeredCall(store)
        first.go.set()
        assert await several.each[0].do(KEY, NORMAL, first) == "answer"
        assert await several.each[0].do(KEY, NORMAL, late) == "answer"
        assert await several.each[1].do(KEY, NORMAL, elsewhere) == "answer"
        assert (first.computed, late.computed, elsewhere.computed) == (1, 0, 0)


async def test_a_failure_is_everybodys_and_the_next_request_computes_again() -> None:
    store = Store()
    async with gateways(2) as several, asyncio.TaskGroup() as group:
        calls = [SteeredCall(store) for _ in range(4)]
        calls[0].failure = error = RuntimeError("bad input")
        tasks = [start(group, several.each[n % 2].do(KEY, NORMAL, call)) for n, call in enumerate(calls)]
        await settle()
        calls[0].go.set()
        await asyncio.wait(tasks)
        own, *others = [task.result() for task in tasks]
        assert own is error
        assert [type(other) for other in others] == [FlightFailed] * 3
        assert {other.status for other in others if isinstance(other, FlightFailed)} == {
            b"status of bad input"
        }
        again = SteeredCall(store)
        again.go.set()
        assert await several.each[1].do(KEY, NORMAL, again) == "answer"


async def test_a_leader_that_leaves_hands_over_to_those_who_wait_without_computing_twice() -> None:
    store = Store()
    async with gateways() as several, asyncio.TaskGroup() as group:
        first, second = SteeredCall(store), SteeredCall(store)
        leaving = start(group, several.each[0].do(KEY, NORMAL, first))
        staying = start(group, several.each[0].do(KEY, NORMAL, second))
        await settle()
        leaving.cancel()
        await asyncio.wait({leaving})
        assert leaving.cancelled()
        first.go.set()
        await asyncio.wait({staying})
        assert staying.result() == "answer"
        assert (first.computed, first.cancelled, second.computed) == (1, 0, 0)


async def test_a_leader_that_leaves_goes_on_for_a_follower_at_another_gateway() -> None:
    store = Store()
    async with gateways(2) as several, asyncio.TaskGroup() as group:
        first, second = SteeredCall(store), SteeredCall(store)
        leaving = start(group, several.each[0].do(KEY, NORMAL, first))
        await settle()
        staying = start(group, several.each[1].do(KEY, NORMAL, second))
        await settle()
        leaving.cancel()
        await settle()
        assert first.cancelled == 0
        first.go.set()
        await asyncio.wait({staying})
        assert staying.result() == "answer"
        assert second.computed == 0


async def test_when_the_last_who_waits_has_left_the_computation_is_cancelled_at_once() -> None:
    store = Store()
    async with gateways() as several, asyncio.TaskGroup() as group:
        call = SteeredCall(store)
        leaving = start(group, several.each[0].do(KEY, NORMAL, call))
        await settle()
        leaving.cancel()
        await settle()
        assert (call.computed, call.cancelled) == (1, 1)
        assert several.each[0].under_way == 0
        # Nothing of it is left behind: the next leads at once.
        assert isinstance(await several.shared.begin(KEY, "next", 1_000, LOW), Leading)


async def test_a_deadline_of_the_leaders_own_hands_over_to_the_next_who_waits() -> None:
    store = Store()
    async with gateways(2) as several, asyncio.TaskGroup() as group:
        calls = [SteeredCall(store) for _ in range(3)]
        late = TimeoutError("my deadline")
        calls[0].failure = Abandoned("its caller's deadline passed")
        calls[0].failure.__cause__ = late
        tasks = [start(group, several.each[n // 2].do(KEY, NORMAL, call)) for n, call in enumerate(calls)]
        await settle()
        calls[0].go.set()
        await settle()
        assert tasks[0].result() is late
        assert [call.computed for call in calls] == [1, 1, 0]
        calls[1].go.set()
        await asyncio.wait(tasks)
        assert [task.result() for task in tasks[1:]] == ["answer"] * 2


async def test_a_computation_that_is_cancelled_from_outside_hands_over_too() -> None:
    store = Store()
    async with gateways(2) as several, asyncio.TaskGroup() as group:
        here, there = SteeredCall(store), SteeredCall(store)
        here.failure = asyncio.CancelledError()
        tasks = [start(group, several.each[0].do(KEY, NORMAL, here))]
        await settle()
        tasks.append(start(group, several.each[1].do(KEY, NORMAL, there)))
        await settle()
        here.go.set()
        await settle()
        assert isinstance(tasks[0].result(), Abandoned)
        assert there.computed == 1
        there.go.set()
        await asyncio.wait(tasks)
        assert tasks[1].result() == "answer"


async def test_a_follower_takes_over_when_the_leaders_gateway_falls_silent_and_only_one_of_them() -> None:
    store = Store()
    async with gateways(4) as several, asyncio.TaskGroup() as group:
        calls = [SteeredCall(store) for _ in range(4)]
        tasks = []
        for gateway, call in zip(several.each, calls, strict=True):
            tasks.append(start(group, gateway.do(KEY, NORMAL, call)))
            await settle()
        several.cables[0].cut = True
        for _ in range(10):
            await several.tick()
        assert calls[0].computed == 1 and sum(call.computed for call in calls) == 2
        [second] = [call for call in calls[1:] if call.computed]
        second.go.set()
        await asyncio.wait(tasks[1:])
        assert [task.result() for task in tasks[1:]] == ["answer"] * 3
        # The first one still serves those who waited at its own gateway.
        calls[0].go.set()
        await asyncio.wait(tasks)
        assert tasks[0].result() == "answer"


async def test_a_lease_is_renewed_for_as_long_as_the_computation_takes() -> None:
    store = Store()
    async with gateways(2) as several, asyncio.TaskGroup() as group:
        first, second = SteeredCall(store), SteeredCall(store)
        tasks = [start(group, several.each[0].do(KEY, NORMAL, first))]
        await settle()
        tasks.append(start(group, several.each[1].do(KEY, NORMAL, second)))
        for _ in range(60):
            await several.tick()
        assert second.computed == 0
        first.go.set()
        await asyncio.wait(tasks)
        assert [task.result() for task in tasks] == ["answer"] * 2


async def test_followers_of_a_higher_level_raise_the_leaders_here_and_elsewhere() -> None:
    store = Store()
    async with gateways(2) as several, asyncio.TaskGroup() as group:
        call = SteeredCall(store)
        here, there = several.each
        tasks = [start(group, here.do(KEY, LOW, call))]
        await settle()
        tasks.append(start(group, there.do(KEY, LOW, SteeredCall(store))))
        await several.tick()
        assert call.levels == []
        tasks.append(start(group, here.do(KEY, NORMAL, SteeredCall(store))))
        await settle()
        assert call.levels == [NORMAL]
        tasks.append(start(group, there.do(KEY, HIGH, SteeredCall(store))))
        await several.tick()
        assert call.levels == [NORMAL, HIGH]
        assert several.cables[1].begins == [LOW, HIGH]
        call.go.set()
        await asyncio.wait(tasks)
        assert [task.result() for task in tasks] == ["answer"] * 4


async def test_without_shared_flights_each_process_computes_once() -> None:
    store = Store()
    async with gateways(2) as several, asyncio.TaskGroup() as group:
        for cable in several.cables:
            cable.cut = True
        calls = [SteeredCall(store) for _ in range(20)]
        tasks = [start(group, several.each[n % 2].do(KEY, NORMAL, call)) for n, call in enumerate(calls)]
        await settle()
        assert sum(call.computed for call in calls) == 2
        for call in calls:
            call.go.set()
        await asyncio.wait(tasks)
        assert [task.result() for task in tasks] == ["answer"] * 20


async def test_a_follower_whose_shared_flights_go_away_computes_by_itself() -> None:
    store = Store()
    async with gateways(2) as several, asyncio.TaskGroup() as group:
        first, second = SteeredCall(store), SteeredCall(store)
        tasks = [start(group, several.each[0].do(KEY, NORMAL, first))]
        await settle()
        several.cables[1].cut = True
        tasks.append(start(group, several.each[1].do(KEY, NORMAL, second)))
        await settle()
        assert second.computed == 1
        for call in (first, second):
            call.go.set()
        await asyncio.wait(tasks)
        assert [task.result() for task in tasks] == ["answer"] * 2


async def test_an_answer_that_nobody_could_store_is_computed_by_one_gateway_after_another() -> None:
    store = Store()
    async with gateways(2) as several, asyncio.TaskGroup() as group:
        calls = [SteeredCall(store), SteeredCall(store)]
        for call in calls:
            call.stores = False
        tasks = [start(group, several.each[0].do(KEY, NORMAL, calls[0]))]
        await settle()
        tasks.append(start(group, several.each[1].do(KEY, NORMAL, calls[1])))
        await settle()
        calls[0].go.set()
        await settle()
        assert [call.computed for call in calls] == [1, 1]
        calls[1].go.set()
        await asyncio.wait(tasks)
        assert [task.result() for task in tasks] == ["answer"] * 2


async def test_a_call_that_breaks_its_contract_fails_and_hurts_no_other_flight() -> None:
    class Broken(SteeredCall):
        def status_of(self, failure: Exception) -> bytes:
            raise ValueError("no status")

    store = Store()
    async with gateways() as several, asyncio.TaskGroup() as group:
        broken = Broken(store)
        broken.failure = RuntimeError("first")
        task = start(group, several.each[0].do(KEY, NORMAL, broken))
        await settle()
        broken.go.set()
        await asyncio.wait({task})
        assert isinstance(task.result(), ValueError)
        good = SteeredCall(store)
        good.go.set()
        assert await several.each[0].do(KEY, NORMAL, good) == "answer"


async def test_a_gateway_that_stops_lets_a_follower_elsewhere_take_over_without_waiting_for_the_lease() -> (
    None
):
    store = Store()
    async with gateways(2) as several, asyncio.TaskGroup() as group:
        first, second = SteeredCall(store), SteeredCall(store)
        tasks = [start(group, several.each[0].do(KEY, NORMAL, first))]
        await settle()
        tasks.append(start(group, several.each[1].do(KEY, NORMAL, second)))
        await settle()
        assert second.computed == 0
        await several.stop(0)
        await settle()
        assert isinstance(tasks[0].result(), Abandoned)
        assert second.computed == 1
        second.go.set()
        await asyncio.wait(tasks)
        assert tasks[1].result() == "answer"


async def test_one_who_waits_has_a_deadline_of_its_own() -> None:
    store = Store()
    async with gateways() as several, asyncio.TaskGroup() as group:
        call = SteeredCall(store)
        task = start(group, several.each[0].do(KEY, NORMAL, call))
        await settle()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await several.each[0].do(KEY, NORMAL, SteeredCall(store))
        call.go.set()
        await asyncio.wait({task})
        assert task.result() == "answer"


async def test_without_shared_flights_one_who_comes_just_after_the_landing_looks_again_too() -> None:
    store = Store()
    async with gateways() as several:
        several.cables[0].cut = True
        first, late = SteeredCall(store), SteeredCall(store)
        first.go.set()
        assert await several.each[0].do(KEY, NORMAL, first) == "answer"
        assert await several.each[0].do(KEY, NORMAL, late) == "answer"
        assert (first.computed, late.computed) == (1, 0)


async def test_shared_flights_that_do_not_answer_are_left_alone_for_a_moment_and_then_asked_again() -> None:
    store = Store()
    async with gateways() as several:
        several.cables[0].cut = True
        for number in range(3):
            call = SteeredCall(store)
            call.go.set()
            store.answer = None
            assert (
                await several.each[0].do(Key(KEY.namespace, bytes([number]) * 32), NORMAL, call) == "answer"
            )
        assert several.cables[0].refused == 1
        several.cables[0].cut = False
        several.clock.advance(1.0)
        call = SteeredCall(store)
        call.go.set()
        store.answer = None
        assert await several.each[0].do(KEY, NORMAL, call) == "answer"
        assert several.cables[0].begins == [NORMAL]


async def test_one_that_leaves_while_it_is_asked_whose_turn_it_is_keeps_nobody_waiting() -> None:
    store = Store()
    async with gateways() as several, asyncio.TaskGroup() as group:
        call = SteeredCall(store)
        several.cables[0].through.clear()
        leaving = start(group, several.each[0].do(KEY, NORMAL, call))
        await settle()
        leaving.cancel()
        await settle()
        several.cables[0].through.set()
        await settle()
        assert isinstance(await several.shared.begin(KEY, "next", 1_000, LOW), Leading)
        assert (call.computed, several.each[0].under_way) == (0, 0)


async def test_a_computation_that_is_cancelled_from_outside_hands_over_within_its_process() -> None:
    store = Store()
    async with gateways() as several, asyncio.TaskGroup() as group:
        first, second = SteeredCall(store), SteeredCall(store)
        first.failure = asyncio.CancelledError()
        tasks = [start(group, several.each[0].do(KEY, NORMAL, call)) for call in (first, second)]
        await settle()
        first.go.set()
        second.go.set()
        await asyncio.wait(tasks)
        assert isinstance(tasks[0].result(), Abandoned)
        assert tasks[1].result() == "answer"


async def test_one_who_comes_while_other_gateways_are_told_is_answered_at_once() -> None:
    store = Store()
    async with gateways() as several, asyncio.TaskGroup() as group:
        first, late = SteeredCall(store), SteeredCall(store)
        leading = start(group, several.each[0].do(KEY, NORMAL, first))
        await settle()
        several.cables[0].through.clear()
        first.go.set()
        await settle()
        assert leading.result() == "answer"
        assert await several.each[0].do(KEY, NORMAL, late) == "answer"
        assert (late.computed, store.looks) == (0, 0)
        several.cables[0].through.set()


async def test_a_lead_that_was_lost_is_not_renewed_any_more() -> None:
    store = Store()
    async with gateways() as several, asyncio.TaskGroup() as group:
        call = SteeredCall(store)
        task = start(group, several.each[0].do(KEY, NORMAL, call))
        await settle()
        several.clock.advance(0.1)
        several.shared._flights.clear()
        for _ in range(4):
            await several.tick()
        assert several.cables[0].renewals == 1
        call.go.set()
        await asyncio.wait({task})
        assert task.result() == "answer"


async def test_those_who_come_after_a_parting_are_computed_for_anew_here_and_elsewhere() -> None:
    store = Store()
    old, new, other = SteeredCall(store, "old"), SteeredCall(store, "new"), SteeredCall(store, "other")
    async with gateways(2) as (several), asyncio.TaskGroup() as group:
        here, there = several.each
        before = group.create_task(here.do(KEY, NORMAL, old))
        await old.computing.wait()
        elsewhere = group.create_task(there.do(KEY, NORMAL, other))
        await settle()
        assert here.began_ms(KEY) == several.clock.now_ms()
        here.part(KEY)
        assert here.began_ms(KEY) is None
        after = group.create_task(here.do(KEY, NORMAL, new))
        await new.computing.wait()
        assert here.under_way == 2
        old.stores = False
        old.go.set()
        assert await before == "old"
        new.go.set()
        assert await after == "new"
        assert await elsewhere == "new"
        await settle()
        assert (here.under_way, other.computed) == (0, 0)


async def test_a_parted_computation_is_cancelled_when_nobody_waits_and_at_the_end() -> None:
    store = Store()
    calls = [SteeredCall(store) for _ in range(2)]
    async with gateways(1) as several:
        [here] = several.each
        tasks = []
        for call in calls:
            tasks.append(asyncio.ensure_future(here.do(KEY, NORMAL, call)))
            await call.computing.wait()
            here.part(KEY)
        tasks[0].cancel()
        await settle()
        assert [call.cancelled for call in calls] == [1, 0]
        await several.stop(0)
        assert [call.cancelled for call in calls] == [1, 1]
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_one_that_leaves_while_its_higher_level_is_told_keeps_nobody_waiting() -> None:
    store = Store()
    async with gateways(2) as several:
        here, there = several.each
        leading = asyncio.ensure_future(here.do(KEY, LOW, leader := SteeredCall(store)))
        await leader.computing.wait()
        cable = several.cables[1]
        silent = asyncio.Event()

        async def ended(key: Key, fence: int) -> Landing | None:
            await silent.wait()
            return None

        cable.ended = ended  # type: ignore[method-assign]
        following = asyncio.ensure_future(there.do(KEY, LOW, SteeredCall(store)))
        await settle()
        leading.cancel()
        await several.stop(0)
        cable.through.clear()
        urgent = asyncio.ensure_future(there.do(KEY, HIGH, SteeredCall(store)))
        await settle()
        # The other one is gone, so this gateway leads by now, and has not been told.
        for task in (following, urgent):
            task.cancel()
        await settle()
        cable.through.set()
        await settle()
        assert isinstance(await several.shared.begin(KEY, "another", 4_000, NORMAL), Leading)
        await asyncio.gather(leading, following, urgent, return_exceptions=True)
