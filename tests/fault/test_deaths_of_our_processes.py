"""SIGKILL of the scheduler, of runners and of the gateway in the middle of the work."""

import asyncio
import os
import random
import signal
from collections import Counter
from pathlib import Path

import pytest

from forebay.client import AsyncClient, TaskState
from tests.fault.conftest import SCALE
from tests.fault.history import watched
from tests.fault.load import Load
from tests.system import System, forebay_up

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120 + 20 * SCALE)]

REPAIRS = {"FOREBAY_SCHEDULER_LEASE_MS": "1500", "FOREBAY_SCHEDULER_REPUBLISH_AFTER_MS": "1500"}
"""Repairs begin soon, so that the test ends soon."""
BACK_S = 90.0
"""The supervisor gives each start 60 s, and then the next one: more than one start."""


async def back(system: System, name: str, printed: int) -> None:
    """Wait until a child of `up` is ready again."""
    await asyncio.to_thread(system.wait_line, rf"^{name} +ready after", BACK_S, after=printed)


async def test_a_killed_scheduler_comes_back_and_every_task_ends_once(
    data: Path, models: dict[str, Path], chance: random.Random
) -> None:
    with forebay_up(data, models, environment=REPAIRS) as system:
        async with AsyncClient(system.grpc) as client, watched(client, "scheduler") as history:
            load = Load(client, history, tasks=900 * SCALE)
            async with asyncio.TaskGroup() as group:
                group.create_task(load.run())
                for low, high, pause in ((100, 300, "0.2"), (400, 700, "0.4")):
                    await history.until_ended(chance.randrange(low, high) * SCALE)
                    printed = system.kill("scheduler")
                    assert history.ended < load.tasks
                    await back(system, "scheduler", printed)
                    system.wait_line(
                        rf"^scheduler +died \(by SIGKILL\); starting it again in {pause} s", after=printed
                    )
            verdict = await history.check(client)
    assert verdict.states == {TaskState.SUCCEEDED: load.tasks}
    print(verdict)  # noqa: T201  pytest shows it when asked for output


async def test_killed_runners_lose_no_task_and_tiny_and_slow_ones_end_once(
    data: Path, models: dict[str, Path], chance: random.Random
) -> None:
    with forebay_up(data, models, environment=REPAIRS) as system:
        async with AsyncClient(system.grpc) as client, watched(client, "runner") as history:
            load = Load(client, history, tasks=600 * SCALE, slow_every=4)
            async with asyncio.TaskGroup() as group:
                group.create_task(load.run())
                for low, high, model in ((50, 150, "countdown"), (300, 450, "add")):
                    await history.until_ended(chance.randrange(low, high) * SCALE)
                    os.kill(system.runner(model).pid, signal.SIGKILL)
                    assert history.ended < load.tasks
            verdict = await history.check(client)
        reasons = Counter(
            event.reason for record in verdict.records.values() for event in record.events if event.reason
        )
        # Their agent knows what they held: it goes back at once. Only what was on its way to a runner in the
        # moment of its death waits for the end of its lease.
        assert reasons["RUNNER_DIED"] + reasons["RUNNER_CRASHED"], "no task was lost with its runner"
    assert verdict.states == {TaskState.SUCCEEDED: load.tasks}
    print(verdict, dict(reasons))  # noqa: T201  pytest shows it when asked for output


async def test_a_killed_gateway_doubles_no_task_and_its_clients_come_back(
    data: Path, models: dict[str, Path], chance: random.Random
) -> None:
    with forebay_up(data, models, environment=REPAIRS) as system:
        async with AsyncClient(system.grpc) as client, watched(client, "gateway") as history:
            load = Load(client, history, tasks=1200 * SCALE, slow_every=0)
            async with asyncio.TaskGroup() as group:
                group.create_task(load.run())
                for low, high in ((100, 400), (600, 1000)):
                    await history.until_ended(chance.randrange(low, high) * SCALE)
                    printed = system.kill("gateway")
                    assert history.ended < load.tasks
                    await back(system, "gateway", printed)
            verdict = await history.check(client)
        assert history.gaps >= 2
    assert verdict.states == {TaskState.SUCCEEDED: load.tasks}
    assert len(history.accepted) == load.tasks
    print(verdict)  # noqa: T201  pytest shows it when asked for output
