"""Wall clocks wrong by an hour: leases do not know them, delays and deadlines go by the record store's clock."""

import asyncio
import os
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from forebay.client import AsyncClient, TaskHandle, TaskInfo, TaskState
from tests.fault.kinds import HOUR, LIMIT_S, add, countdown, nothing_is_left, picky, unserved
from tests.fault.wrong_clocks import MODULES, WrongClocks
from tests.system import System, forebay_up

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

HOUR_S = HOUR.total_seconds()
LEASE_MS = 1000
SETTINGS = {"FOREBAY_SCHEDULER_LEASE_MS": f"{LEASE_MS}"}
SOON = timedelta(seconds=1.5)
SECOND = timedelta(seconds=1)
SWEEPS = timedelta(seconds=1.5)
"""Longest time for which an expired task may look alive on this busy machine; it is not started meanwhile."""
LONG_TURNS = 6_000_000
"""A countdown longer than several leases."""


def milliseconds(moment: datetime) -> datetime:
    """Return what the server keeps of a moment."""
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


async def ended(client: AsyncClient, tasks: list[TaskHandle]) -> list[TaskInfo]:
    """Wait for tasks and return their records."""
    return [await client.get(task) for task in await client.wait_many(tasks, LIMIT_S)]


async def delays_hold(client: AsyncClient) -> str:
    """Check that tasks start at the time that their client named, and at once when that has passed."""
    due = datetime.now(UTC) + SOON
    later = await client.submit_many([add(not_before=due) for _ in range(20)])
    asked = datetime.now(UTC)
    now = await client.submit_many([add(not_before=asked - SOON) for _ in range(20)])
    late = [task.start_time - asked for task in await ended(client, list(now)) if task.start_time]
    assert len(late) == len(now) and max(late) < SECOND, f"after a delay that was over: {max(late)}"
    late = [
        task.start_time - milliseconds(due) for task in await ended(client, list(later)) if task.start_time
    ]
    assert len(late) == len(later) and min(late) >= timedelta(0), f"too early by {-min(late)}"
    assert max(late) < SECOND, f"too late by {max(late)}"
    return f"delays late by {max(late).total_seconds():.3f} s at most"


async def deadlines_hold(client: AsyncClient) -> str:
    """Check that tasks are expired at their deadline and not before."""
    alive = await client.submit_many([add(deadline=timedelta(seconds=30)) for _ in range(20)])
    assert {task.state for task in await ended(client, list(alive))} == {TaskState.SUCCEEDED}
    deadline = datetime.now(UTC) + SOON
    waiting = await client.submit_many([unserved(deadline=deadline) for _ in range(20)])
    late = []
    for task in await ended(client, list(waiting)):
        assert (task.state, task.attempt) == (TaskState.EXPIRED, 0)
        assert task.end_time is not None
        late.append(task.end_time - milliseconds(deadline))
    assert timedelta(0) <= min(late) and max(late) < SWEEPS, f"{min(late)} to {max(late)}"
    return f"deadlines late by {max(late).total_seconds():.3f} s at most"


async def leases_hold(client: AsyncClient, long: TaskHandle) -> str:
    """Check that a task that ran for longer than its lease was not taken from its runner."""
    [task] = await ended(client, [long])
    assert task.state is TaskState.SUCCEEDED
    assert task.start_time is not None and task.end_time is not None
    ran_ms = (task.end_time - task.start_time) / timedelta(milliseconds=1)
    assert ran_ms > LEASE_MS
    assert (task.attempt, [event.state for event in task.events if event.state is TaskState.RUNNING]) == (
        1,
        [TaskState.RUNNING],
    )
    return f"one lease of {LEASE_MS} ms held for {ran_ms:.0f} ms"


async def retries_come(client: AsyncClient) -> None:
    """Check that rests between attempts are as long as they should be."""
    rest = timedelta(milliseconds=200)
    specs = [picky(9, max_attempts=3, initial_backoff=rest, max_backoff=rest) for _ in range(10)]
    for task in await ended(client, list(await client.submit_many(specs))):
        assert (task.state, task.attempt) == (TaskState.FAILED, 3)
        assert task.end_time is not None and task.create_time is not None
        # Two rests and whatever waited for a sweep.
        assert task.end_time - task.create_time < 2 * (rest + SECOND)


@pytest.fixture
def clocks(tmp_path: Path) -> WrongClocks:
    return WrongClocks(tmp_path, os.environ.get("PYTHONPATH", ""))


def moved(system: System, module: str) -> None:
    """Make sure that what is tested happens: the clock of a process is under our control."""
    name = {"services.gateway": "gateway", "scheduler.service": "scheduler"}.get(module, "agent")
    assert f"the clock of {module} is moved" in (system.data / "logs" / f"{name}.log").read_text()


@pytest.mark.parametrize(
    "offsets",
    [
        dict.fromkeys(MODULES, HOUR_S),
        dict.fromkeys(MODULES, -HOUR_S),
        {"services.gateway": HOUR_S, "scheduler.service": -HOUR_S},
    ],
    ids=["all an hour ahead", "all an hour behind", "gateway ahead, scheduler behind"],
)
async def test_clocks_that_are_moved_by_an_hour_change_no_lease_no_delay_and_no_deadline(
    offsets: Mapping[str, float],
    data: Path,
    models: dict[str, Path],
    failing: dict[str, Path],
    clocks: WrongClocks,
) -> None:
    with forebay_up(data, models | failing, environment=SETTINGS | clocks.environment) as system:
        for module in MODULES:
            moved(system, module)
        async with AsyncClient(system.grpc) as client:
            # Moved while it runs, as an administrator does it.
            [long] = await client.submit_many([countdown(LONG_TURNS)])
            for module, seconds in offsets.items():
                clocks.move(module, seconds)
            async with asyncio.TaskGroup() as group:
                delays = group.create_task(delays_hold(client))
                deadlines = group.create_task(deadlines_hold(client))
                group.create_task(retries_come(client))
                leases = group.create_task(leases_hold(client, long))
            await nothing_is_left(client)
    print(delays.result(), deadlines.result(), leases.result(), sep="; ")  # noqa: T201  for -s


async def test_a_clock_that_goes_back_while_tasks_wait_delays_none_of_them(
    data: Path, models: dict[str, Path], clocks: WrongClocks
) -> None:
    with forebay_up(data, {"add": models["add"]}, environment=SETTINGS | clocks.environment) as system:
        async with AsyncClient(system.grpc) as client:
            due = datetime.now(UTC) + SOON
            tasks = await client.submit_many([add(not_before=due) for _ in range(50)])
            for module in MODULES:
                clocks.move(module, -HOUR_S)
            for task in await ended(client, list(tasks)):
                assert task.start_time is not None
                assert timedelta(0) <= task.start_time - milliseconds(due) < SECOND
            # The other way, and with a key that was known before.
            for module in MODULES:
                clocks.move(module, HOUR_S)
            first = await client.submit("add", tensors={"x": [[1.0] * 4]}, idempotency_key="same")
            for module in MODULES:
                clocks.move(module, 0.0)
            again = await client.submit("add", tensors={"x": [[1.0] * 4]}, idempotency_key="same")
            assert again.id == first.id
            await client.wait(first, LIMIT_S)
            await nothing_is_left(client)
