"""SIGKILL of the scheduler while a long chain of tasks goes on link by link, and while schedules fire."""

import asyncio
import random
import time
from datetime import timedelta
from pathlib import Path

import pytest

from forebay.client import AsyncClient, TaskState
from tests.fault.back_door import ROUNDS, back, killed, until_seen
from tests.fault.history import RUN_LABEL, watched
from tests.fault.kinds import add
from tests.system import forebay_up

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

SETTINGS = {"FOREBAY_SCHEDULER_LEASE_MS": "1500", "FOREBAY_SCHEDULER_REPUBLISH_AFTER_MS": "1000"}
"""Repairs begin soon, so that the test ends soon."""
LINKS = 200
SMALLEST = 2.0**-100
"""What the chain begins with: after 200 doublings it is still a number of 32 bits."""
TIMES = 8
SECOND = timedelta(seconds=1)
WAIT_S = 60.0


@pytest.mark.parametrize("number", ROUNDS)
async def test_a_chain_of_200_tasks_goes_on_past_two_deaths_of_the_scheduler_each_link_once(
    data: Path, models: dict[str, Path], chance: random.Random, number: int
) -> None:
    with forebay_up(data, models, environment=SETTINGS) as system:
        async with AsyncClient(system.grpc) as client, watched(client, f"chain {number}") as history:
            labels = {RUN_LABEL: history.run}
            chain = [add(SMALLEST, idempotency_key="0", labels=labels)]
            for place in range(1, LINKS):
                link = add(
                    idempotency_key=f"{place}",
                    depends_on=[place - 1],
                    inputs_from={"x": (0, "y")},
                    labels=labels,
                )
                link.tensors.Clear()
                chain.append(link)
            handles = await client.submit_many(chain)
            for link, handle in zip(chain, handles, strict=True):
                history.accept(link.idempotency_key, handle)
            for low, high in ((10, 80), (100, 180)):
                await history.until_ended(chance.randrange(low, high))
                await asyncio.sleep(chance.uniform(0.0, 0.02))
                await killed(system, "scheduler")
            await client.wait_many(handles, WAIT_S)
            verdict = await history.check(client)
    assert verdict.states == {TaskState.SUCCEEDED: LINKS}
    for place, handle in enumerate(handles):
        assert verdict.records[handle.id].tensors["y"].tolist() == [[SMALLEST * 2.0 ** (place + 1)] * 4]
    print(verdict)  # noqa: T201  for -s


@pytest.mark.parametrize("number", ROUNDS)
async def test_a_schedule_makes_one_task_for_each_due_time_past_two_deaths_of_the_scheduler(
    data: Path, models: dict[str, Path], chance: random.Random, number: int
) -> None:
    with forebay_up(data, models, environment=SETTINGS) as system:
        async with AsyncClient(system.grpc) as client, watched(client, f"schedule {number}") as history:
            spec = add(3.0, labels={RUN_LABEL: history.run})
            made = await client.schedules.create("each-second", spec, interval=SECOND)
            assert made.next_time is not None
            for due in (2, 4):
                # About the moment at which it fires: before, between the record and the next due time, or after.
                rest_s = (made.next_time + due * SECOND).timestamp() - time.time()
                await asyncio.sleep(rest_s + chance.uniform(-0.01, 0.04))
                printed = system.kill("scheduler")
                await back(system, "scheduler", printed)
            await until_seen(history, TIMES)
            paused = await client.schedules.pause("each-second")
            assert paused.last_time is not None
            tasks = [info async for info in client.list(labels={RUN_LABEL: history.run})]
            for info in await client.wait_many(tasks, WAIT_S):
                assert info.tensors["y"].tolist() == [[6.0] * 4]
            records = [await client.get(info) for info in tasks]
    due_times = (paused.last_time - made.next_time) // SECOND + 1
    assert (len(records), paused.missed_times) == (due_times, 0)
    assert {(info.schedule, info.attempt) for info in records} == {("each-second", 1)}
