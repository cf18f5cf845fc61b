"""A scheduler that dies after the outcomes are written and before it acknowledges their message: it comes again, and
nothing happens again. The same for what the outcomes left behind: dead letters, and their replays.
"""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from forebay.client import AsyncClient, NotFound, RetryPolicy, TaskInfo, TaskState, Unavailable
from forebay.tasks.v1.task_pb2 import TaskSpec
from tests.fault.back_door import ROUNDS, back, drained, frozen, letters, own_lanes, unmoved
from tests.fault.history import RUN_LABEL, History, watched
from tests.fault.kinds import add, countdown, picky
from tests.system import System, forebay_up

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

GOOD = picky(3)
"""What repairs a failing task."""
LONG = 1_500_000
"""Turns of a countdown: about a second, in which a scheduler can be frozen."""
WAIT_S = 30.0


def bundle(run: str) -> list[TaskSpec]:
    """Return tasks that travel in one message, which the slow one keeps from being acknowledged."""
    labels = {RUN_LABEL: run}
    quick = [*(add(place, labels=labels) for place in range(8)), countdown(1, labels=labels)]
    return [*quick, countdown(LONG, labels=labels)]


def dying(run: str) -> TaskSpec:
    """Return a task that its model cannot execute and that may be tried once."""
    return picky(9, max_attempts=1, labels={RUN_LABEL: run})


async def ended_unacknowledged(
    system: System, client: AsyncClient, history: History, specs: Sequence[TaskSpec]
) -> list[TaskInfo]:
    """Let a bundle end while the scheduler is frozen, kill the scheduler, and wait until it has had the bundle again;
    return the tasks as they were before that.
    """
    handles = await client.submit_many(specs)
    for spec, handle in zip(specs, handles, strict=True):
        history.accept(spec.idempotency_key or handle.id, handle)
    # Both runners have their part of it then: what is only leased would wait for the scheduler.
    await client.wait_many(handles[:-1], WAIT_S)
    with frozen(system.pid("scheduler")):
        frozen_at = datetime.now(UTC)
        await client.wait_many(handles, WAIT_S)
        before = [await client.get(handle) for handle in handles]
        printed = system.kill("scheduler")
    ends = [info.end_time for info in before if info.end_time]
    assert max(ends) > frozen_at, "the bundle had ended before the scheduler was frozen"
    await back(system, "scheduler", printed)
    await drained(system, client, own_lanes(), history.run)
    return before


async def replays(client: AsyncClient, run: str, dead: TaskInfo) -> set[str]:
    """Return the tasks that repeat a dead letter."""
    listed = client.list(labels={RUN_LABEL: run})
    return {info.id async for info in listed if (await client.get(info)).replay_of == dead.id}


async def cut_off(client: AsyncClient, dead: TaskInfo) -> None:
    """Ask for a replay that is not answered."""
    with pytest.raises(Unavailable):
        await client.dead_letters.replay([dead], edits=GOOD, edit_mask=["tensors"])


@pytest.mark.parametrize("number", ROUNDS)
async def test_a_message_delivered_again_after_its_outcomes_were_written_changes_nothing(
    data: Path, models: dict[str, Path], number: int
) -> None:
    with forebay_up(data, models) as system:
        async with AsyncClient(system.grpc) as client, watched(client, f"again {number}") as history:
            specs = bundle(history.run)
            before = await ended_unacknowledged(system, client, history, specs)
            for info in before:
                assert (info.state, info.attempt) == (TaskState.SUCCEEDED, 1)
                assert unmoved(info, await client.get(info))
            verdict = await history.check(client)
    assert verdict.attempts == {1: len(specs)}


@pytest.mark.parametrize("number", ROUNDS)
async def test_a_dead_letter_whose_message_is_delivered_again_stays_one_and_has_one_replay(
    data: Path, models: dict[str, Path], failing: dict[str, Path], number: int
) -> None:
    with forebay_up(data, models | failing) as system:
        async with AsyncClient(system.grpc) as client, watched(client, f"dead {number}") as history:
            specs = [dying(history.run), *bundle(history.run)]
            before = await ended_unacknowledged(system, client, history, specs)
            dead = before[0]
            assert dead.state is TaskState.FAILED
            for info in before:
                assert unmoved(info, await client.get(info))
            assert [letter.id for letter in await letters(client) if not letter.topic] == [dead.id]
            # Two calls at once, and a third when it is over.
            both = await asyncio.gather(
                *(client.dead_letters.replay([dead], edits=GOOD, edit_mask=["tensors"]) for _ in range(2))
            )
            made = {handle.id for answer in both for handle in answer.tasks.values()}
            assert len(made) == 1, both
            third = await client.dead_letters.replay([dead], edits=GOOD, edit_mask=["tensors"])
            assert not third.tasks and isinstance(third.errors[dead.id], NotFound)
            [replay] = await client.wait_many(made, WAIT_S)
            assert replay.tensors["found"].tolist() == [30.0]
            assert await replays(client, history.run, dead) == made
            assert [letter for letter in await letters(client) if not letter.topic] == []
            assert unmoved(dead, await client.get(dead))


@pytest.mark.parametrize("number", ROUNDS)
async def test_a_replay_cut_off_by_the_death_of_the_gateway_makes_one_task_when_it_is_repeated(
    data: Path, models: dict[str, Path], failing: dict[str, Path], number: int
) -> None:
    with forebay_up(data, failing) as system:
        async with (
            AsyncClient(system.grpc) as client,
            AsyncClient(system.grpc, retry=RetryPolicy(attempts=1)) as hasty,
            watched(client, f"replay {number}") as history,
        ):
            [handle] = await client.submit_many([dying(history.run)])
            dead = await client.wait(handle, WAIT_S)
            with frozen(system.pid("pulsar-lite")):
                async with asyncio.TaskGroup() as group:
                    call = group.create_task(cut_off(hasty, dead))
                    while not await replays(client, history.run, dead):
                        await history._next_change()
                    assert not call.done()
                    printed = system.kill("gateway")
            await back(system, "gateway", printed)
            again = await client.dead_letters.replay([dead], edits=GOOD, edit_mask=["tensors"])
            assert list(again.tasks) == [dead.id], again.errors
            [made] = again.tasks.values()
            await client.wait(made, WAIT_S)
            replay = await client.get(made)
            assert (replay.replay_of, replay.tensors["found"].tolist()) == (dead.id, [30.0])
            assert await replays(client, history.run, dead) == {replay.id}
            assert await letters(client) == []
