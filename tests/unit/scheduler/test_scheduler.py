"""The scheduler's parts together, over memory adapters and a clock that only the test moves."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from forebay.dispatch.v1.dispatch_service_pb2 import AttachRequest, AttachResponse, Hello, Settled
from forebay.queues.v1.queue_service_pb2 import ListQueuesResponse
from forebay.tasks.v1.envelope_pb2 import Envelope
from scheduler.errors import InvalidInput, ShuttingDown
from scheduler.lanes import Lane
from scheduler.ports.records import Cancelled, LeaseReply, Wanted, Written
from scheduler.service import runner_stream
from scheduler.states import Level, TaskState

from .world import Runner, World, ended


@pytest.fixture
def world() -> World:
    return World()


async def test_tasks_are_assigned_within_credit_and_acknowledged_when_all_have_ended(world: World) -> None:
    ids = await world.submit(3)
    async with world.scheduler() as scheduler, world.attached(scheduler, credits=2) as runner:
        first = await runner.assigned(2)
        assert [i for i, _ in first] == ids[:2]
        await world.finish(first)
        runner.settle(*ended(first))
        last = await runner.assigned(1)
        assert world.log.unacknowledged(Lane("default", Level.NORMAL, 0)) == 1
        await world.finish(last)
        runner.settle(*ended(last))
        await world.acknowledged()
    assert await world.states(ids) == [TaskState.SUCCEEDED] * 3


async def test_the_highest_level_is_assigned_first(world: World) -> None:
    low = await world.submit(5, Level.LOW)
    critical = await world.submit(1, Level.CRITICAL)
    async with world.scheduler() as scheduler, world.attached(scheduler) as runner:
        await world.pass_time(0.5)
        runner.grant(1)
        assert [i for i, _ in await runner.assigned(1)] == critical
        runner.grant(1)
        assert [i for i, _ in await runner.assigned(1)] == low[:1]


async def test_a_runner_full_of_other_work_has_room_for_critical_tasks(world: World) -> None:
    low = await world.submit(9, Level.LOW)
    async with world.scheduler() as scheduler, world.attached(scheduler, credits=6, reserve=2) as runner:
        assert [i for i, _ in await runner.assigned(4)] == low[:4]
        await world.pass_time(2)
        assert runner.answers.empty()
        critical = await world.submit(3, Level.CRITICAL)
        assert [i for i, _ in await runner.assigned(2)] == critical[:2]
        # Credit that comes back goes by the levels' shares again.
        runner.grant(1)
        assert [i for i, _ in await runner.assigned(1)] == critical[2:]


async def test_a_reserve_never_takes_all_that_a_runner_grants(world: World) -> None:
    low = await world.submit(3, Level.LOW)
    async with world.scheduler() as scheduler, world.attached(scheduler, credits=2, reserve=16) as runner:
        assert [i for i, _ in await runner.assigned(2)] == low[:2]


async def test_a_cancelled_task_is_not_assigned_and_its_message_is_dropped(world: World) -> None:
    ids = await world.submit(2)
    assert await world.store.records.cancel(ids[:1], "t", b"e", b"") == [Cancelled.CANCELLED]
    async with world.scheduler() as scheduler, world.attached(scheduler, credits=5) as runner:
        held = await runner.assigned(1)
        assert held == [(ids[1], 1)]
        await world.finish(held)
        runner.settle(*ended(held))
        await world.acknowledged()


async def test_the_runner_is_told_of_a_task_cancelled_while_it_runs(world: World) -> None:
    ids = await world.submit(1)
    async with world.scheduler() as scheduler, world.attached(scheduler, credits=1) as runner:
        held = await runner.assigned(1)
        await world.store.records.cancel(ids, "t", b"e", b"")
        assert await runner.cancelled() == ids
        assert await world.finish(held) == [Written.FENCED]


async def test_the_runner_is_told_of_a_task_whose_cancellation_is_heard_before_its_lease(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = await world.submit(2)
    records = world.store.records
    lease = records.lease

    async def answered_late(*given: Any) -> list[LeaseReply]:
        replies = list(await lease(*given))
        await records.cancel(ids[:1], "t", b"e", b"")
        for _ in range(50):
            await asyncio.sleep(0)
        return replies

    monkeypatch.setattr(records, "lease", answered_late)
    async with world.scheduler() as scheduler, world.attached(scheduler, credits=2) as runner:
        held = await runner.assigned(2)
        assert await runner.cancelled() == ids[:1]
        assert await world.finish(held) == [Written.FENCED, Written.WRITTEN]


async def test_a_dead_runners_task_is_leased_again_with_the_next_attempt(world: World) -> None:
    ids = await world.submit(1)
    async with world.scheduler() as scheduler:
        async with world.attached(scheduler, credits=1) as dying:
            first = await dying.assigned(1)
        async with world.attached(scheduler, credits=1, name="r2") as runner:
            await world.pass_time(12)
            second = await runner.assigned(1)
            assert second == [(ids[0], 2)]
            assert await world.finish(first) == [Written.FENCED]
            assert await world.finish(second) == [Written.WRITTEN]
            runner.settle(*ended(second))
            await world.pass_time(3)
            await world.acknowledged()


async def test_a_runner_that_lost_its_lease_gets_nothing_more_until_it_speaks(world: World) -> None:
    ids = await world.submit(1)
    async with world.scheduler() as scheduler, world.attached(scheduler, credits=5) as frozen:
        first = await frozen.assigned(1)
        await world.pass_time(14)
        later = await world.submit(1)
        await world.pass_time(2)
        assert frozen.answers.empty()
        frozen.settle(Settled(id=ids[0], attempt=1, fate=Settled.FATE_FENCED))
        again = await frozen.assigned(2)
        assert sorted(again) == sorted([(ids[0], 2), (later[0], 1)])
        assert await world.finish(first) == [Written.FENCED]
        await world.finish(again)
        frozen.settle(*ended(again))
        # The message of the lost attempt, too.
        await world.acknowledged()


async def test_a_runner_that_leaves_while_its_tasks_are_leased_and_the_log_is_away_ends_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = await world.submit(1)
    records, lease = world.store.records, world.store.records.lease
    leasing, go_on = asyncio.Event(), asyncio.Event()

    async def slow(wanted: Sequence[Wanted], runner: str, lease_ms: int) -> list[LeaseReply]:
        leasing.set()
        await go_on.wait()
        return await lease(wanted, runner, lease_ms)

    monkeypatch.setattr(records, "lease", slow)
    async with world.scheduler() as scheduler:
        async with world.attached(scheduler, credits=1):
            await leasing.wait()
        world.log.available = False
        go_on.set()
        await world.pass_time(2)
        world.log.available = True
        async with world.attached(scheduler, credits=1, name="r2") as runner:
            await world.pass_time(8)
            assert [i for i, _ in await runner.assigned(1)] == ids


async def test_a_task_that_loses_its_runner_at_every_attempt_fails_once(world: World) -> None:
    ids = await world.submit(1, max_attempts=2)
    async with world.scheduler() as scheduler:
        for attempt in (1, 2):
            async with world.attached(scheduler, credits=1) as runner:
                assert await runner.assigned(1) == [(ids[0], attempt)]
            await world.pass_time(13)
        async with world.attached(scheduler, credits=1) as idle:
            await world.acknowledged()
            assert idle.answers.empty()
    (record,) = await world.store.records.get(ids, False)
    assert record is not None
    assert (record.state, record.attempt, record.error) == (TaskState.FAILED, 2, b"lost")


async def test_a_restarted_scheduler_keeps_the_message_of_a_running_task_until_it_ends(world: World) -> None:
    ids = await world.submit(1)
    async with world.scheduler() as first, world.attached(first, credits=1) as runner:
        held = await runner.assigned(1)
    async with world.scheduler("s2") as second, world.attached(second, credits=5) as runner:
        await world.pass_time(3)
        assert runner.answers.empty()
        assert world.log.unacknowledged(Lane("default", Level.NORMAL, 0)) == 1
        await world.finish(held)
        await world.pass_time(3)
        await world.acknowledged()
        assert runner.answers.empty()
    assert await world.states(ids) == [TaskState.SUCCEEDED]


async def test_the_same_bundle_twice_executes_each_task_once(world: World) -> None:
    ids = await world.submit(4)
    (records) = await world.store.records.get(ids, False)
    await world.publish(Level.NORMAL, [Envelope.FromString(r.envelope) for r in records if r])
    async with world.scheduler() as scheduler, world.attached(scheduler, credits=20) as runner:
        held = await runner.assigned(4)
        await world.finish(held)
        runner.settle(*ended(held))
        await world.pass_time(3)
        await world.acknowledged()
        assert runner.answers.empty()


async def test_a_publication_that_never_reached_the_log_is_made_again(world: World) -> None:
    ids = await world.submit(2, publish=False)
    async with world.scheduler() as scheduler, world.attached(scheduler, credits=9) as runner:
        await world.pass_time(8)
        assert [i for i, _ in await runner.assigned(2)] == ids


async def test_tasks_handed_back_by_a_draining_runner_go_to_another_uncharged(world: World) -> None:
    ids = await world.submit(1, max_attempts=1)
    async with world.scheduler() as scheduler:
        async with world.attached(scheduler, credits=1) as draining:
            ((task_id, attempt),) = await draining.assigned(1)
            draining.settle(Settled(id=task_id, attempt=attempt, fate=Settled.FATE_RETURNED))
            draining.grant(-5)
            async with world.attached(scheduler, credits=1, name="r2") as runner:
                held = await runner.assigned(1)
                assert held[0][0] == ids[0]
                assert held[0][1] > attempt
                assert await world.finish(held) == [Written.WRITTEN]


async def test_a_runner_that_leaves_gets_nothing_of_what_it_handed_back(world: World) -> None:
    ids = await world.submit(2)
    async with world.scheduler() as scheduler, world.attached(scheduler, credits=9) as leaving:
        held = await leaving.assigned(2)
        returned = [Settled(id=i, attempt=attempt, fate=Settled.FATE_RETURNED) for i, attempt in held]
        # One message, as a runner sends it that gives up everything at once.
        leaving.requests.put_nowait(AttachRequest(credits=-7, settled=returned, leaving=True))
        assert (await leaving.answers.get()).no_more
        await world.entered(TaskState.QUEUED, *ids)
        await world.pass_time(3)
        assert leaving.answers.empty()
        async with world.attached(scheduler, credits=2, name="r2") as runner:
            assert await runner.assigned(2) == [(i, 2) for i in ids]


async def test_a_lease_granted_while_its_runner_leaves_is_undone_and_not_charged(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = await world.submit(1, max_attempts=1)
    records = world.store.records
    lease = records.lease
    granted, told = asyncio.Event(), asyncio.Event()

    async def answered_late(*given: Any) -> list[LeaseReply]:
        replies = list(await lease(*given))
        granted.set()
        await told.wait()
        return replies

    monkeypatch.setattr(records, "lease", answered_late)
    async with world.scheduler() as scheduler, world.attached(scheduler, credits=1) as leaving:
        await granted.wait()
        leaving.requests.put_nowait(AttachRequest(leaving=True))
        assert (await leaving.answers.get()).no_more
        told.set()
        async with world.attached(scheduler, credits=1, name="r2") as runner:
            assert await runner.assigned(1) == [(ids[0], 2)]
        assert leaving.answers.empty()


async def test_a_stream_that_breaks_while_its_tasks_are_handed_back_keeps_no_message_for_ever(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.submit(1)
    records = world.store.records
    give_back = records.give_back
    asked = asyncio.Event()

    async def answered_never(*given: Any) -> Any:
        await give_back(*given)
        asked.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(records, "give_back", answered_never)
    async with world.scheduler() as scheduler, asyncio.TaskGroup() as group:
        leaving = Runner("r1")
        hello = Hello(runner="r1", model="m", pool="default")
        leaving.requests.put_nowait(AttachRequest(hello=hello, credits=1))
        call = group.create_task(scheduler.servicer.Attach(leaving.sent(), leaving))  # type: ignore[arg-type]
        ((task_id, attempt),) = await leaving.assigned(1)
        leaving.settle(Settled(id=task_id, attempt=attempt, fate=Settled.FATE_RETURNED))
        await asked.wait()
        call.cancel()
        await asyncio.wait([call])
        await world.pass_time(8)
        async with world.attached(scheduler, credits=1, name="r2") as runner:
            held = await runner.assigned(1)
            await world.finish(held)
            runner.settle(*ended(held))
            await world.pass_time(3)
            await world.acknowledged()


async def test_a_message_that_cannot_be_read_is_set_aside_and_its_neighbours_complete(world: World) -> None:
    lane = Lane("default", Level.NORMAL, 0)
    await world.publisher.publish(lane, b"\xff not a bundle", {})
    ids = await world.submit(1)
    async with world.scheduler() as scheduler, world.attached(scheduler, credits=1) as runner:
        assert [i for i, _ in await runner.assigned(1)] == ids
        assert [aside.payload for aside in world.log.set_aside] == [b"\xff not a bundle"]


async def test_a_message_that_cannot_be_read_waits_for_a_log_that_is_away(world: World) -> None:
    await world.publisher.publish(Lane("default", Level.NORMAL, 0), b"\xff not a bundle", {})
    ids = await world.submit(1)
    world.log.available = False
    async with world.scheduler() as scheduler, world.attached(scheduler, credits=1) as runner:
        await world.pass_time(2)
        assert world.log.set_aside == []
        world.log.available = True
        await world.pass_time(2)
        assert [i for i, _ in await runner.assigned(1)] == ids
        assert len(world.log.set_aside) == 1


async def test_a_backlog_beyond_the_window_stays_on_the_log(world: World) -> None:
    for _ in range(4):
        await world.submit(200)
    async with world.scheduler() as scheduler, world.attached(scheduler) as runner:
        await world.pass_time(0.5)
        view = ListQueuesResponse.FromString((await world.store.membership.members("queues"))[0][1])
        assert {q.priority for q in view.queues if q.HasField("oldest_age")} == {int(Level.NORMAL)}
        runner.grant(1_000)
        assert len(await runner.assigned(800)) == 800


async def test_a_runner_that_does_not_say_hello_is_refused(world: World) -> None:
    async with world.scheduler() as scheduler:
        runner = Runner("r")
        runner.grant(1)
        with pytest.raises(InvalidInput, match="say hello"):
            await scheduler.servicer.Attach(runner.sent(), runner)  # type: ignore[arg-type]


async def test_a_runner_that_reads_nothing_is_given_up_and_costs_nobody_else_anything(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner_stream, "OUTBOX", 2)
    reads_nothing = asyncio.Event()

    class Deaf(Runner):
        async def write(self, message: AttachResponse) -> None:
            await super().write(message)
            await reads_nothing.wait()

    async with world.scheduler() as scheduler:
        deaf = Deaf("deaf")
        deaf.requests.put_nowait(
            AttachRequest(hello=Hello(runner="deaf", model="m", pool="default"), credits=1)
        )
        async with asyncio.TaskGroup() as group:
            call = group.create_task(scheduler.servicer.Attach(deaf.sent(), deaf))  # type: ignore[arg-type]
            for _ in range(4):
                await world.submit(1)
                await world.pass_time(0.5)
                deaf.grant(1)
            async with world.attached(scheduler, credits=9, name="r2") as runner:
                # Two were in the outbox, the third found no room; the fourth was never meant for the deaf one.
                free = await runner.assigned(1)
                await world.finish(free)
                runner.settle(*ended(free))
                await world.pass_time(12)
                assert [attempt for _, attempt in await runner.assigned(3)] == [2, 2, 2]
            # What is being written cannot be broken off; once it is taken, or the connection lost, the stream ends.
            assert not call.done()
            reads_nothing.set()
            async with asyncio.timeout(5):
                await asyncio.wait([call])


async def test_a_scheduler_that_shuts_down_takes_no_more_runners(world: World) -> None:
    async with world.scheduler() as scheduler:
        pass
    with pytest.raises(ShuttingDown):
        await scheduler.servicer.Attach(Runner("r").sent(), Runner("r"))  # type: ignore[arg-type]
