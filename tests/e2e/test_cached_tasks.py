"""Durable tasks and the result cache on the whole system: one run for all that ask the same, whatever dies."""

import asyncio
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc.aio
import pytest

from forebay.inference.v1.inference_service_pb2 import InferRequest
from forebay.inference.v1.inference_service_pb2_grpc import InferenceServiceStub
from forebay.tasks.v1 import task_pb2
from forebay.tasks.v1.inputs_pb2 import Tensor, TensorInput
from forebay.tasks.v1.task_service_pb2 import (
    CancelTasksRequest,
    GetTaskRequest,
    SubmitResult,
    SubmitTasksRequest,
    TaskIds,
    WatchTasksRequest,
)
from forebay.tasks.v1.task_service_pb2_grpc import TaskServiceStub
from tests.fixtures.valkey import ValkeyServer
from tests.system import System, forebay_up
from tests.tiny_models import save_countdown

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

SUCCEEDED, CANCELLED = task_pb2.TASK_STATE_SUCCEEDED, task_pb2.TASK_STATE_CANCELLED
SHORT, LONG = 1_000, 3_000_000
"""Turns of the model: at once, and some seconds."""
MANY = 300


@pytest.fixture
def settings(valkey_server: ValkeyServer, tmp_path: Path) -> dict[str, str]:
    return {
        "FOREBAY_CACHE_ENABLED": "1",
        "FOREBAY_CACHE_LEAST_TASK_WORK_MS": "0",
        "FOREBAY_CACHE_REDIS_URL": valkey_server.url,
        "FOREBAY_CACHE_DISK_FOLDER": str(tmp_path / "cache"),
    }


@pytest.fixture
def models(tmp_path: Path) -> dict[str, Path]:
    return {"count": save_countdown(tmp_path / "count.onnx")}


@pytest.fixture
def system(tmp_path: Path, models: dict[str, Path], settings: dict[str, str]) -> Iterator[System]:
    with forebay_up(tmp_path / "data", models, environment=settings) as up:
        yield up


def turns(number: int) -> TensorInput:
    raw = struct.pack("<q", number)
    return TensorInput(tensors=[Tensor(name="turns", datatype="INT64", shape=[1], raw=raw)])


def count(number: int, **fields: Any) -> task_pb2.TaskSpec:
    return task_pb2.TaskSpec(model="count", tensors=turns(number), **fields)


class Client:
    """Submits, and waits for ends."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.tasks: Any = TaskServiceStub(channel)
        self.calls: Any = InferenceServiceStub(channel)

    async def submit(self, *specs: task_pb2.TaskSpec) -> list[task_pb2.Task]:
        response = await self.tasks.SubmitTasks(SubmitTasksRequest(tasks=specs), timeout=30)
        assert all(one.HasField("task") for one in response.results), response
        return [one.task for one in response.results]

    async def answered(self, only: task_pb2.TaskSpec) -> task_pb2.Task:
        """Submit a task with ONLY until its answer is there: it is kept a moment after its first task has ended, and a
        look-up that takes too long is a miss.
        """
        while True:
            response = await self.tasks.SubmitTasks(SubmitTasksRequest(tasks=[only]), timeout=30)
            one: SubmitResult = response.results[0]
            if one.HasField("task"):
                return one.task
            assert one.error.code == grpc.StatusCode.NOT_FOUND.value[0], one

    async def ended(self, tasks: list[task_pb2.Task]) -> list[task_pb2.Task]:
        """Return tasks with their results once all have ended."""
        ids = [task.id for task in tasks]
        left = set(ids)
        watch = self.tasks.WatchTasks(WatchTasksRequest(tasks=TaskIds(ids=ids)), timeout=120)
        async for batch in watch:
            left -= {task.id for task in batch.tasks if task.state >= SUCCEEDED}
            if not left:
                break
        watch.cancel()
        return [await self.get(task_id) for task_id in ids]

    async def get(self, task_id: str) -> task_pb2.Task:
        task: task_pb2.Task = (await self.tasks.GetTask(GetTaskRequest(id=task_id), timeout=10)).task
        return task

    async def runs(self, task_id: str) -> None:
        """Return once a task runs."""
        watch = self.tasks.WatchTasks(WatchTasksRequest(tasks=TaskIds(ids=[task_id])), timeout=60)
        async for batch in watch:
            if any(task.state == task_pb2.TASK_STATE_RUNNING for task in batch.tasks):
                break
        watch.cancel()


def one_run(tasks: list[task_pb2.Task]) -> None:
    """Check that all have the answer, and one of them was executed."""
    assert {task.state for task in tasks} == {SUCCEEDED}
    assert len({task.result.tensors.SerializeToString() for task in tasks}) == 1
    assert sum(not task.cached for task in tasks) == 1
    assert sum(task.attempt > 0 for task in tasks) == 1


async def test_hundreds_of_identical_tasks_are_one_run_and_outlive_the_platform(
    tmp_path: Path, models: dict[str, Path], settings: dict[str, str]
) -> None:
    with forebay_up(tmp_path / "data", models, environment=settings) as up:
        async with grpc.aio.insecure_channel(up.grpc) as channel:
            client = Client(channel)
            submitted = await client.submit(*[count(LONG) for _ in range(MANY)])
            one_run(await client.ended(submitted))
            [hit] = await client.submit(count(LONG))
            assert (hit.state, hit.cached) == (SUCCEEDED, True)
            # The direct way has it, too.
            answer = await client.calls.Infer(InferRequest(model="count", tensors=turns(LONG)), timeout=30)
            assert answer.execution.cached
    # What was shared is lost; what a gateway has on its disk is not.
    settings = {name: value for name, value in settings.items() if not name.endswith("REDIS_URL")}
    with forebay_up(tmp_path / "data", models, environment=settings) as up:
        async with grpc.aio.insecure_channel(up.grpc) as channel:
            [hit] = await Client(channel).submit(count(LONG))
            assert (hit.state, hit.cached) == (SUCCEEDED, True)


async def test_when_the_runner_dies_under_the_leader_others_end_by_one_more_run(system: System) -> None:
    async with grpc.aio.insecure_channel(system.grpc) as channel:
        client = Client(channel)
        [leader] = await client.submit(count(LONG, labels={"first": ""}))
        await client.runs(leader.id)
        followers = await client.submit(*[count(LONG) for _ in range(20)])
        [cancelled] = await client.submit(count(LONG))
        await client.tasks.CancelTasks(CancelTasksRequest(tasks=TaskIds(ids=[cancelled.id])), timeout=10)
        assert (await client.get(cancelled.id)).state == CANCELLED
        system.runner("count").kill()
        ended = await client.ended([leader, *followers])
    assert {task.state for task in ended} == {SUCCEEDED}
    executed = [task for task in ended if not task.cached]
    assert len(executed) == 1
    assert sum(task.attempt for task in ended) <= 2 + executed[0].uncharged_attempts


async def test_calls_and_tasks_that_ask_the_same_share_one_run(system: System) -> None:
    async with grpc.aio.insecure_channel(system.grpc) as channel:
        client = Client(channel)
        request = InferRequest(model="count", tensors=turns(LONG + 1))
        call = asyncio.ensure_future(client.calls.Infer(request, timeout=60))
        await asyncio.sleep(0)
        [task] = await client.ended(await client.submit(count(LONG + 1)))
        answer = await call
        assert task.cached != answer.execution.cached
        [leader] = await client.submit(count(LONG + 2))
        await client.runs(leader.id)
        request = InferRequest(model="count", tensors=turns(LONG + 2))
        answer = await client.calls.Infer(request, timeout=60)
        assert answer.execution.cached
        assert not (await client.get(leader.id)).cached


async def test_modes_hold_for_tasks(system: System) -> None:
    async with grpc.aio.insecure_channel(system.grpc) as channel:
        client = Client(channel)
        modes = task_pb2.CacheMode
        response = await client.tasks.SubmitTasks(
            SubmitTasksRequest(tasks=[count(SHORT, cache=modes.CACHE_MODE_ONLY)]), timeout=30
        )
        assert response.results[0].error.code == grpc.StatusCode.NOT_FOUND.value[0]
        first = await client.ended(await client.submit(count(SHORT, cache=modes.CACHE_MODE_BYPASS)))
        second = await client.ended(await client.submit(count(SHORT)))
        third = await client.ended(await client.submit(count(SHORT, cache=modes.CACHE_MODE_REFRESH)))
        fourth = await client.ended([await client.answered(count(SHORT, cache=modes.CACHE_MODE_ONLY))])
    assert [task.cached for [task] in (first, second, third, fourth)] == [False, False, False, True]
