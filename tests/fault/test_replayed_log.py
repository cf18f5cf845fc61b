"""Everything that the log keeps, published again: nothing happens a second time that anybody can see."""

import asyncio
import random
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import pytest

from forebay.client import AsyncClient, TaskInfo
from forebay.tasks.v1.envelope_pb2 import Bundle
from scheduler.bundles import Checked, check_bundle
from scheduler.lanes import Lane
from scheduler.ports.log import Kept
from tests.fault.back_door import (
    ROUNDS,
    drained,
    every_lane,
    kept,
    killed,
    letters,
    publisher,
    unmoved,
    unreadable,
)
from tests.fault.history import RUN_LABEL, watched
from tests.fault.kinds import LIMIT_S, add, picky
from tests.fault.load import Load
from tests.system import System, forebay_up

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

SHORT = timedelta(milliseconds=20)


async def everything(client: AsyncClient, run: str) -> dict[str, TaskInfo]:
    """Return all tasks of a run."""
    return {info.id: await client.get(info) async for info in client.list(labels={RUN_LABEL: run})}


async def publish_again(system: System, messages: Sequence[tuple[Lane, Kept]]) -> None:
    """Publish messages once more."""
    async with publisher(system) as log:
        for lane, message in messages:
            await log.publish(lane, message.payload, message.properties)


def tasks_in(messages: Sequence[tuple[Lane, Kept]]) -> int:
    """Return how many tasks messages carry. Each is what a publisher of ours wrote."""
    for lane, message in messages:
        assert check_bundle(lane, message.payload, message.properties) is Checked.WHOLE
    return sum(len(Bundle.FromString(message.payload).publications) for _, message in messages)


@pytest.mark.parametrize("number", ROUNDS)
async def test_a_log_that_is_replayed_from_its_beginning_moves_no_task(
    data: Path, models: dict[str, Path], failing: dict[str, Path], chance: random.Random, number: int
) -> None:
    with forebay_up(data, models | failing) as system:
        async with AsyncClient(system.grpc) as client, watched(client, f"replayed {number}") as history:
            labels = {RUN_LABEL: history.run}
            load = Load(client, history, tasks=200)
            others = [
                *(picky(9, max_attempts=2, initial_backoff=SHORT, labels=labels) for _ in range(5)),
                *(add(not_before=SHORT, labels=labels) for _ in range(5)),
            ]
            parent = len(others)
            others += [
                add(labels=labels),
                add(depends_on=[parent], inputs_from={"x": (0, "y")}, labels=labels),
            ]
            others[-1].tensors.Clear()
            later = await client.submit_many(
                [add(not_before=timedelta(hours=1), labels=labels) for _ in range(5)]
            )
            await load.run()
            await client.wait_many(await client.submit_many(others), LIMIT_S)
            await client.cancel(later)
            before = await everything(client, history.run)
            dead = {letter.id for letter in await letters(client)}
            assert len(before) == load.tasks + len(others) + len(later) and len(dead) == 5
            messages = await kept(system, every_lane())
            # Retries were published more than once; what was cancelled never came so far.
            assert tasks_in(messages) >= load.tasks + len(others)
            await publish_again(system, messages)
            await drained(system, client, every_lane(), "once")
            await same(client, history.run, before, dead)


@pytest.mark.parametrize("number", ROUNDS)
async def test_a_scheduler_killed_while_messages_pour_in_for_its_lanes_comes_back_and_takes_them(
    data: Path, models: dict[str, Path], chance: random.Random, number: int
) -> None:
    with forebay_up(data, models) as system:
        async with AsyncClient(system.grpc) as client, watched(client, f"poured {number}") as history:
            load = Load(client, history, tasks=100, slow_every=0)
            await load.run()
            before = await everything(client, history.run)
            messages = await kept(system, every_lane())
            async with asyncio.TaskGroup() as group:
                for _ in range(4):
                    group.create_task(publish_again(system, messages * 10))
                await asyncio.sleep(chance.uniform(0.1, 0.3))
                await killed(system, "scheduler")
            await drained(system, client, every_lane(), "poured")
            await same(client, history.run, before, set())


async def same(client: AsyncClient, run: str, before: dict[str, TaskInfo], dead: set[str]) -> None:
    """Check that no task has moved and that none came."""
    after = await everything(client, run)
    assert after.keys() == before.keys()
    assert [task_id for task_id in before if not unmoved(before[task_id], after[task_id])] == []
    assert {letter.id for letter in await letters(client) if not letter.topic} == dead
    assert await unreadable(client) == []
