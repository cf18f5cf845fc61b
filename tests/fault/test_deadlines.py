"""Deadlines that pass in every state: what had not started never does, and what runs is stopped."""

import asyncio
import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from forebay.client import AsyncClient, TaskHandle, TaskInfo, TaskState
from forebay.tasks.v1.task_pb2 import TaskSpec
from tests.fault.conftest import SCALE
from tests.fault.history import RUN_LABEL, watched
from tests.fault.kinds import (
    ENDLESS,
    HOUR,
    LIMIT_S,
    add,
    countdown,
    nothing_is_left,
    picky,
    unserved,
    until,
)
from tests.system import forebay_up

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120 + 30 * SCALE)]

SOON = timedelta(seconds=1)
LATE = timedelta(seconds=1.5)
"""What the end of an expired task may be late on a busy machine."""
ONE_AHEAD = {"FOREBAY_RUNNER_CREDITS": "1"}
"""A runner has one task at a time: what is not its turn yet waits in its queue, not in the runner."""
HURRIED = 300
"""Tasks of the race in the short form."""


def milliseconds(moment: datetime) -> datetime:
    """Return what the server keeps of a moment."""
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def expired(task: TaskInfo, state: str, deadline: datetime) -> timedelta:
    """Check that a task ended by its deadline in a state; return how late."""
    assert task.state is TaskState.EXPIRED, task.events
    assert task.events[-1].reason == f"WHILE_{state}"
    assert task.events[-2].state.name == state
    assert task.error is not None and (task.error.reason, state in task.error.message) == (
        "DEADLINE_PASSED",
        True,
    )
    assert task.result is None
    assert task.end_time is not None
    late = task.end_time - milliseconds(deadline)
    assert timedelta(0) <= late < LATE
    return late


async def ended(client: AsyncClient, tasks: Sequence[TaskHandle]) -> list[TaskInfo]:
    """Wait for tasks and return their records."""
    return [await client.get(task) for task in await client.wait_many(tasks, LIMIT_S)]


async def test_a_deadline_that_passes_in_the_queue_is_the_end_and_the_task_was_never_executed(
    data: Path, models: dict[str, Path]
) -> None:
    with forebay_up(data, models, environment=ONE_AHEAD) as system:
        async with AsyncClient(system.grpc) as client:
            endless = await client.submit_many([countdown(ENDLESS)])
            await until(client, endless[0], TaskState.RUNNING)
            deadline = datetime.now(UTC) + SOON
            behind = await client.submit_many([countdown(10, deadline=deadline) for _ in range(100)])
            nobody = await client.submit_many([unserved(deadline=deadline) for _ in range(100)])
            late = []
            for task in await ended(client, [*behind, *nobody]):
                late.append(expired(task, "QUEUED", deadline))
                assert (task.attempt, task.start_time) == (0, None)
            await client.cancel(endless[0])
            [after] = await ended(client, await client.submit_many([countdown(10)]))
            assert after.state is TaskState.SUCCEEDED
            # The runner was given what it has to do by then, and nothing that had expired.
            await nothing_is_left(client)
            for task in await ended(client, [*behind, *nobody]):
                assert (task.state, task.attempt) == (TaskState.EXPIRED, 0)
    print(f"late by {max(late)} at most")  # noqa: T201  for -s


async def test_a_deadline_ends_a_task_in_whatever_state_it_waits_and_stops_one_that_runs(
    data: Path, models: dict[str, Path], failing: dict[str, Path]
) -> None:
    with forebay_up(data, models | failing) as system:
        async with AsyncClient(system.grpc) as client:
            parent = await client.submit("nobody", tensors={"x": [1.0]})
            deadline = datetime.now(UTC) + SOON
            specs = {
                "SCHEDULED": add(not_before=HOUR, deadline=deadline),
                "BLOCKED": add(depends_on=[parent], deadline=deadline),
                "QUEUED": unserved(deadline=deadline),
                "RUNNING": countdown(ENDLESS, deadline=deadline),
                # The rest is a random part of the bound: of an hour, it is long enough.
                "RETRYING": picky(9, deadline=deadline, initial_backoff=HOUR, max_backoff=HOUR),
            }
            tasks = await client.submit_many(list(specs.values()))
            attempts = {"RUNNING": 1, "RETRYING": 1}
            for state, task in zip(specs, await ended(client, tasks), strict=True):
                late = expired(task, state, deadline)
                assert task.attempt == attempts.get(state, 0)
                print(f"{state}: late by {late}")  # noqa: T201  for -s
            # Who ran it is free, and what comes too late for a start is not started.
            past = datetime.now(UTC) - SOON
            specs_after: list[TaskSpec] = [countdown(10), countdown(10, deadline=past), add(deadline=past)]
            runs, *over = await ended(client, await client.submit_many(specs_after))
            assert runs.state is TaskState.SUCCEEDED
            for task in over:
                assert (task.state, task.attempt) == (TaskState.EXPIRED, 0), task.events
            await client.cancel(parent)
            await nothing_is_left(client)


async def test_no_task_starts_after_its_deadline_however_close_it_is(
    data: Path, models: dict[str, Path], chance: random.Random
) -> None:
    tasks = HURRIED * SCALE
    with forebay_up(data, models, environment=ONE_AHEAD) as system:
        async with AsyncClient(system.grpc) as client, watched(client, "hurried") as history:
            numbers = iter(range(tasks))
            deadlines: dict[str, datetime] = {}

            async def work() -> None:
                for number in numbers:
                    deadline = datetime.now(UTC) + timedelta(milliseconds=chance.randrange(1, 400))
                    labels = {RUN_LABEL: history.run}
                    key = f"{history.run}-{number}"
                    turns = chance.randrange(1, 20_000)
                    [task] = await client.submit_many(
                        [countdown(turns, deadline=deadline, labels=labels, idempotency_key=key)]
                    )
                    history.accept(key, task)
                    deadlines[task.id] = milliseconds(deadline)
                    await client.wait(task, LIMIT_S)

            async with asyncio.TaskGroup() as group:
                for _ in range(16):
                    group.create_task(work())
            verdict = await history.check(client)
            await nothing_is_left(client)
    print(verdict)  # noqa: T201  for -s
    assert set(verdict.states) <= {TaskState.SUCCEEDED, TaskState.EXPIRED}
    for task_id, record in verdict.records.items():
        starts = [event.time for event in record.events if event.state is TaskState.RUNNING]
        assert all(start is not None and start < deadlines[task_id] for start in starts), record.events
        if record.state is TaskState.EXPIRED:
            reason = record.events[-1].reason
            # The last one is what a runner finds that it passed on the way there.
            assert reason.startswith("WHILE_") or reason in ("CANNOT_FINISH", "DEADLINE_PASSED")
