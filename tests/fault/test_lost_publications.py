"""A gateway that dies between the record and the log, or between the log and its answer: one task for each key."""

import asyncio
import os
import random
import signal
from collections.abc import Iterable
from pathlib import Path

import pytest

from forebay.client import AsyncClient, RetryPolicy, TaskState, Unavailable
from tests.fault.back_door import ROUNDS, back, frozen, killed, stop, until_seen
from tests.fault.history import watched
from tests.fault.load import Load
from tests.fault.second_gateway import second_gateway
from tests.system import forebay_up

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

ONCE = RetryPolicy(attempts=1)
REPAIRS = {"FOREBAY_SCHEDULER_LEASE_MS": "1500", "FOREBAY_SCHEDULER_REPUBLISH_AFTER_MS": "1000"}
"""Repairs begin soon, so that the test ends soon."""
NO_REPAIRS = {"FOREBAY_SCHEDULER_REPUBLISH_AFTER_MS": "600000"}
"""What arrives on the log was put there by a gateway."""
TASKS = 24
WAIT_S = 30.0


@pytest.mark.parametrize("number", ROUNDS)
@pytest.mark.parametrize("broker", ["lost it", "has it"])
async def test_what_a_gateway_recorded_and_never_published_is_published_by_the_sweeper(
    data: Path, models: dict[str, Path], chance: random.Random, broker: str, number: int
) -> None:
    with forebay_up(data, models, environment=REPAIRS) as system:
        async with (
            AsyncClient(system.grpc) as client,
            AsyncClient(system.grpc, retry=ONCE) as hasty,
            watched(client, f"recorded {number}") as history,
        ):
            load = Load(client, history, TASKS, slow_every=5)
            specs = [load.spec(place) for place in range(TASKS)]
            await load.work(iter([TASKS]))
            lite = system.pid("pulsar-lite")
            with frozen(lite):
                async with asyncio.TaskGroup() as group:
                    submit = group.create_task(refused(hasty, load, range(TASKS)))
                    # Recorded, and seen as such; the log cannot have acknowledged anything.
                    await until_seen(history, TASKS + 1)
                    assert not submit.done()
                    printed = system.kill("gateway")
                if broker == "lost it":
                    os.kill(lite, signal.SIGKILL)
            if broker == "lost it":
                await back(system, "pulsar-lite", printed)
            await back(system, "gateway", printed)
            ids = {
                info.spec.idempotency_key: info.id
                async for info in client.list(labels={"run": history.run})
                if info.spec is not None
            }
            assert ids.keys() == {spec.idempotency_key for spec in specs} | {f"{history.run}-{TASKS}"}
            # One half is repeated before the sweeper comes, or while it is there; the other has it alone.
            repeated = chance.sample(specs, TASKS // 2)
            for spec, handle in zip(repeated, await client.submit_many(repeated), strict=True):
                assert handle.id == ids[spec.idempotency_key]
            await client.wait_many(ids.values(), WAIT_S)
            for spec, handle in zip(specs, await client.submit_many(specs), strict=True):
                assert (handle.id, handle.state) == (ids[spec.idempotency_key], TaskState.SUCCEEDED)
                history.accept(spec.idempotency_key, handle)
            verdict = await history.check(client)
    assert verdict.states == {TaskState.SUCCEEDED: TASKS + 1}
    assert verdict.attempts == {1: TASKS + 1}


@pytest.mark.parametrize("number", ROUNDS)
async def test_a_gateway_killed_between_the_log_and_its_answer_leaves_one_task_for_each_key(
    data: Path, models: dict[str, Path], number: int
) -> None:
    with forebay_up(data, models, environment=NO_REPAIRS) as system:
        async with (
            second_gateway(system) as second,
            AsyncClient(system.grpc) as client,
            AsyncClient(second.address, retry=ONCE) as hasty,
            watched(client, f"published {number}") as history,
        ):
            load = Load(client, history, TASKS, slow_every=5)
            ahead = Load(hasty, history, TASKS, slow_every=5)
            await ahead.work(iter(range(TASKS, TASKS + 8)))
            async with asyncio.TaskGroup() as group:
                with frozen(system.pid("pulsar-lite")):
                    submits = [
                        group.create_task(refused(hasty, load, range(place, TASKS, 4))) for place in range(4)
                    ]
                    await until_seen(history, TASKS + 8)
                    # A further call is recorded only after the bundles of those before were handed over.
                    submits.append(group.create_task(refused(hasty, load, [TASKS + 8])))
                    await until_seen(history, TASKS + 9)
                    stop(second.process.pid)
                # It is on the log and it ends, and the gateway that put it there cannot tell anybody.
                await asyncio.wait_for(history.until_ended(TASKS + 8), WAIT_S)
                assert not any(submit.done() for submit in submits)
                second.kill()
            specs = [load.spec(place) for place in range(TASKS + 9)]
            for spec, handle in zip(specs, await client.submit_many(specs), strict=True):
                history.accept(spec.idempotency_key, handle)
            await client.wait_many(history.accepted, WAIT_S)
            verdict = await history.check(client)
    assert verdict.states == {TaskState.SUCCEEDED: TASKS + 9}
    assert verdict.attempts == {1: TASKS + 9}


@pytest.mark.parametrize("number", ROUNDS)
async def test_gateways_killed_at_random_moments_of_submits_leave_one_task_for_each_key(
    data: Path, models: dict[str, Path], chance: random.Random, number: int
) -> None:
    deaths = 4
    with forebay_up(data, models, environment=REPAIRS) as system:
        async with (
            AsyncClient(system.grpc) as client,
            watched(client, f"moments {number}") as history,
        ):
            load = Load(client, history, tasks=deaths * 10 * TASKS, slow_every=0)
            answered = 0
            for death in range(deaths):
                numbers = range(death * 10 * TASKS, (death + 1) * 10 * TASKS)
                async with second_gateway(system) as second, AsyncClient(second.address, retry=ONCE) as hasty:
                    async with asyncio.TaskGroup() as group:
                        for first in range(8):
                            group.create_task(one_by_one(hasty, load, numbers[first::8]))
                        seen = len(history.changes)
                        await until_seen(history, seen + chance.randrange(4, 60))
                        # Anywhere within the few milliseconds of a call.
                        await asyncio.sleep(chance.uniform(0.0, 0.008))
                        second.kill()
                answered += len(history.accepted)
                # Every call again, whatever became of it: those that were answered get the same answer.
                await load.work(iter(numbers))
            verdict = await history.check(client)
    assert answered > 0
    assert verdict.states == {TaskState.SUCCEEDED: load.tasks}
    assert len(history.accepted) == load.tasks


async def test_two_deaths_of_the_only_gateway_in_mid_submit_lose_and_double_nothing(
    data: Path, models: dict[str, Path], chance: random.Random
) -> None:
    with forebay_up(data, models, environment=REPAIRS) as system:
        async with AsyncClient(system.grpc) as client, watched(client, "only") as history:
            load = Load(client, history, tasks=600, slow_every=0, batch=1, workers=24)
            async with asyncio.TaskGroup() as group:
                group.create_task(load.run())
                for seen in (chance.randrange(50, 200), chance.randrange(300, 500)):
                    await until_seen(history, seen)
                    await asyncio.sleep(chance.uniform(0.0, 0.008))
                    await killed(system, "gateway")
            verdict = await history.check(client)
    assert verdict.states == {TaskState.SUCCEEDED: load.tasks}


async def refused(client: AsyncClient, load: Load, numbers: Iterable[int]) -> None:
    """Submit tasks in one call that must not be answered."""
    with pytest.raises(Unavailable):
        await client.submit_many([load.spec(number) for number in numbers], timeout_s=WAIT_S)


async def one_by_one(client: AsyncClient, load: Load, numbers: Iterable[int]) -> None:
    """Submit tasks one after the other until the gateway dies; note those that were answered."""
    for number in numbers:
        spec = load.spec(number)
        try:
            [handle] = await client.submit_many([spec])
        except Unavailable:
            return
        load.history.accept(spec.idempotency_key, handle)
