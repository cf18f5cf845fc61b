"""Cancelling in every state and between states: after OK nothing comes of a task, and who ran it is free again."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Final

import numpy as np
import pytest

from forebay.client import AsyncClient, TaskHandle, TaskInfo, TaskState, task_spec
from forebay.tasks.v1.task_pb2 import TaskSpec
from tests.fault.conftest import SCALE
from tests.fault.history import RUN_LABEL, History, watched
from tests.fault.kinds import (
    ENDLESS,
    HOUR,
    LIMIT_S,
    LOOK_S,
    add,
    countdown,
    nothing_is_left,
    picky,
    unserved,
    until,
)
from tests.fault.long_kernel import save_one_kernel
from tests.system import forebay_up

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120 + 30 * SCALE)]

FREE_S: Final = 1.0
"""What a runner may take to be free of a task that was cancelled."""
HARD_KILL_S: Final = 1.0
LONG_KERNEL: Final = 3000
"""A product of this size takes half a minute."""
INSIDE_S: Final = 1.0
"""A runner that has computed for so long is inside the kernel: what comes before it takes less."""
FAMILIES: Final = 120
"""In the short form."""


async def cancelled_at_rest(client: AsyncClient, spec: TaskSpec, state: TaskState) -> TaskInfo:
    """Submit a task, wait until it is in a state, cancel it there, and return its record."""
    [task] = await client.submit_many([spec])
    await until(client, task, state)
    summary = await client.cancel(task)
    assert summary.cancelled == 1
    record = await client.get(task)
    assert record.state is TaskState.CANCELLED
    assert record.events[-2].state is state
    return record


async def test_a_task_is_cancelled_in_every_state_and_counted_nowhere_any_more(
    data: Path, models: dict[str, Path], failing: dict[str, Path]
) -> None:
    with forebay_up(data, models | failing) as system:
        async with AsyncClient(system.grpc) as client:
            parent = await client.submit("nobody", tensors={"x": [1.0]})
            records = [
                await cancelled_at_rest(client, spec, state)
                for spec, state in (
                    (add(not_before=HOUR), TaskState.SCHEDULED),
                    (add(depends_on=[parent]), TaskState.BLOCKED),
                    (unserved(), TaskState.QUEUED),
                    (countdown(ENDLESS), TaskState.RUNNING),
                    # The rest is a random part of the bound: of an hour, it is long enough.
                    (picky(9, initial_backoff=HOUR, max_backoff=HOUR), TaskState.RETRYING),
                )
            ]
            again = await client.cancel([record.id for record in records])
            assert (again.cancelled, again.already_terminal) == (0, len(records))
            # The parent's end releases nothing that was cancelled.
            await client.cancel(parent)
            await nothing_is_left(client)
            for record in records:
                # Errors are equal only to themselves.
                assert replace(await client.get(record), error=None) == replace(record, error=None)
                assert record.result is None
            assert [letter async for letter in client.dead_letters.list()] == []


def family(chance: random.Random, run: str) -> list[TaskSpec]:
    """Return the tasks of one call, which are on the move through their states when they are cancelled."""
    labels = {RUN_LABEL: run}
    soon = timedelta(milliseconds=chance.randrange(300))
    rest = timedelta(milliseconds=1 + chance.randrange(100))
    match chance.randrange(6):
        case 0:
            return [add(labels=labels)]
        case 1:
            return [add(not_before=soon, labels=labels)]
        case 2:
            return [countdown(chance.randrange(200_000), labels=labels)]
        case 3:
            return [countdown(ENDLESS, labels=labels)]
        case 4:
            return [picky(9, initial_backoff=rest, max_backoff=rest, max_attempts=3, labels=labels)]
        case _:
            turns = chance.randrange(100_000)
            return [countdown(turns, labels=labels), add(depends_on=[0], labels=labels)]


async def cancel_some_time(
    client: AsyncClient, history: History, chance: random.Random, spans: Sequence[float]
) -> list[TaskHandle]:
    """Submit a family, let a random time pass, and cancel its tasks; return those whose cancelling was answered OK."""
    handles = await client.submit_many(family(chance, history.run))
    for handle in handles:
        history.accept(handle.id, handle)
    for span_s, handle in zip(spans, handles, strict=False):
        # Not for luck: the moment is what is varied.
        await asyncio.sleep(span_s)
        summary = await client.cancel(handle)
        if summary.outcomes[handle.id] == "cancelled":
            # From here on nobody may see anything else of it.
            record = await client.get(handle)
            assert record.state is TaskState.CANCELLED, record.events
            history.observe("the one who cancelled", record)
    return list(handles)


async def test_whatever_a_task_does_when_it_is_cancelled_no_result_follows_the_answer(
    data: Path, models: dict[str, Path], failing: dict[str, Path], chance: random.Random
) -> None:
    with forebay_up(data, models | failing) as system:
        async with AsyncClient(system.grpc) as client, watched(client, "cancelled") as history:
            numbers = iter([random.Random(chance.random()) for _ in range(FAMILIES * SCALE)])

            async def work() -> None:
                for own in numbers:
                    spans = [own.expovariate(8.0), own.expovariate(8.0)]
                    await cancel_some_time(client, history, own, spans)

            async with asyncio.TaskGroup() as group:
                for _ in range(6):
                    group.create_task(work())
            await client.wait_many(history.accepted, LIMIT_S, include_result=False)
            await nothing_is_left(client)
            # It reads every record once more, and compares it with all that anybody has seen.
            verdict = await history.check(client)
    before = Counter(
        record.events[-2].state.value
        for record in verdict.records.values()
        if record.state is TaskState.CANCELLED
    )
    print(f"{verdict}; cancelled while {dict(before)}")  # noqa: T201  for -s
    for record in verdict.records.values():
        assert record.result is None or record.state is TaskState.SUCCEEDED
    assert verdict.states[TaskState.CANCELLED] > FAMILIES // 4


async def test_the_runner_of_an_endless_loop_is_free_at_once_when_it_is_cancelled(
    data: Path, models: dict[str, Path]
) -> None:
    free_s = []
    with forebay_up(data, {"countdown": models["countdown"]}) as system:
        runner = system.runner("countdown").pid
        async with AsyncClient(system.grpc) as client:
            for _ in range(3 * SCALE):
                [endless] = await client.submit_many([countdown(ENDLESS)])
                await until(client, endless, TaskState.RUNNING)
                [following] = await client.submit_many([countdown(10)])
                began_s = time.monotonic()
                await client.cancel(endless)
                info = await client.wait(following, LIMIT_S)
                free_s.append(time.monotonic() - began_s)
                assert (info.state, info.tensors["done"].tolist()) == (TaskState.SUCCEEDED, [10])
                assert (await client.get(endless)).state is TaskState.CANCELLED
            await nothing_is_left(client)
        assert system.runner("countdown").pid == runner
    print(f"the next task had ended {max(free_s):.3f} s after the cancel at most")  # noqa: T201  for -s
    assert max(free_s) < FREE_S


async def test_a_kernel_that_cannot_be_stopped_ends_with_its_process_and_harms_no_other_task(
    data: Path, tmp_path: Path
) -> None:
    model = {"product": save_one_kernel(tmp_path / "product.onnx")}
    environment = {"FOREBAY_RUNNER_HARD_KILL_AFTER_S": f"{HARD_KILL_S:g}", "FOREBAY_RUNNER_CREDITS": "64"}

    def product(size: int) -> TaskSpec:
        return task_spec("product", tensors={"size": np.array([size], np.int64)})

    with forebay_up(data, model, environment=environment) as system:
        runner = system.runner("product")
        async with AsyncClient(system.grpc) as client:
            idle_s = runner.cpu_times().user
            [stuck] = await client.submit_many([product(LONG_KERNEL)])
            await until(client, stuck, TaskState.RUNNING)
            neighbours = await client.submit_many([product(2) for _ in range(20)])
            for neighbour in neighbours:
                # In the runner already, behind the one that holds it up.
                await until(client, neighbour, TaskState.RUNNING)
            while runner.cpu_times().user < idle_s + INSIDE_S:  # noqa: ASYNC110  a kernel tells nobody that it began
                await asyncio.sleep(LOOK_S)
            began_s = time.monotonic()
            await client.cancel(stuck)
            await asyncio.to_thread(runner.wait, 20)
            dead_s = time.monotonic() - began_s
            outcomes = await client.wait_many(neighbours, LIMIT_S)
            back_s = time.monotonic() - began_s
            assert {task.state for task in outcomes} == {TaskState.SUCCEEDED}
            assert all(task.tensors["found"].tolist() == [2] for task in outcomes)
            for task in [await client.get(neighbour) for neighbour in neighbours]:
                assert (task.attempt - task.uncharged_attempts) == 1, task.events
            over = await client.get(stuck)
            assert (over.state, over.attempt) == (TaskState.CANCELLED, 1)
            await nothing_is_left(client)
        assert system.runner("product").pid != runner.pid
    print(  # noqa: T201  for -s
        f"killed {dead_s:.2f} s after the cancel, everything else had ended after {back_s:.2f} s"
    )
    assert HARD_KILL_S * 0.9 < dead_s < HARD_KILL_S + 4.0
