"""Why a task waits, and the queues, through the gateway's doors: gRPC, the client and the command line."""

import asyncio
import json
from typing import Any

import grpc
import pytest
from click.testing import CliRunner

from forebay.client import AsyncClient, NotFound
from forebay.dispatch.v1.scheduler_view_pb2 import SchedulerView
from forebay.queues.v1 import queue_service_pb2, queue_service_pb2_grpc
from forebay.tasks.v1 import task_pb2, task_service_pb2
from scheduler.adapters.clock import FakeClock, SystemClock
from scheduler.adapters.memory import MemoryStore
from scheduler.ports.membership import VIEW_ROLE
from services.cli.__main__ import cli
from tests.integration.gateway import System, running, tensor
from tests.unit.services.gateway.explained import serving

ASKED = task_service_pb2.ExplainTaskRequest


async def announce(system: System) -> None:
    view = SchedulerView(member="s1", time_ms=1, pools=[serving(model="add", work_ms=1000.0)])
    view.pools[0].lanes.add(priority=task_pb2.PRIORITY_NORMAL, index=8, in_window=2)
    await system.store.membership.announce(VIEW_ROLE, "s1", view.SerializeToString(), 60_000)


async def command(system: System, *words: str) -> str:
    """Run a command line against the gateway, in a thread as it blocks."""
    arguments = ["--address", system.gateway.grpc.address, *words]
    result = await asyncio.to_thread(CliRunner().invoke, cli, arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


async def test_a_task_that_waits_is_explained_through_every_door() -> None:
    clock = FakeClock(SystemClock().now_ms())
    async with running(MemoryStore(clock)) as system:
        await announce(system)
        await system.submit(*[tensor()] * 20)
        clock.advance(0.001)
        [asked] = await system.submit(tensor())
        answer = await system.tasks.ExplainTask(ASKED(id=asked), timeout=5)
        assert [reason.kind for reason in answer.reasons] == [
            task_service_pb2.WaitReason.KIND_BEHIND,
            task_service_pb2.WaitReason.KIND_NO_CREDIT,
        ]
        assert not answer.task.spec.HasField("tensors")
        async with AsyncClient(system.gateway.grpc.address) as client:
            found = await client.explain(asked)
        assert [(one.tenant, one.tasks, one.work_s) for one in found.ahead] == [("default", 20, 20.0)]
        assert found.start is not None and found.start.earliest < found.start.time < found.start.latest
        text = await command(system, "explain", asked)
        assert text.startswith("20 tasks start before it (20 NORMAL), 20 s of work of one runner")
        assert "starts  in about 2" in text and "queued" in text
        document = json.loads(await command(system, "explain", asked, "--json"))
        assert document["reasons"][0]["kind"] == "behind"
        assert document["task"]["state"] == "queued"


async def test_a_task_that_has_ended_is_told_from_its_beginning() -> None:
    async with running() as system:
        [asked] = await system.submit(tensor())
        await system.lease(asked)
        await system.finish(asked)
        text = await command(system, "explain", asked)
        assert text.startswith("It succeeded ")
        states = [line.split()[0] for line in text.splitlines()[-3:]]
        assert states == ["queued", "running", "succeeded"]


async def test_a_task_that_there_is_not_cannot_be_explained() -> None:
    async with running() as system:
        code, details = await system.failure(
            system.tasks.ExplainTask(ASKED(id="07-01kaj5x3c9f0e8q4v2m7t1b6zd"))
        )
        assert code is grpc.StatusCode.NOT_FOUND and details
        code, _ = await system.failure(system.tasks.ExplainTask(ASKED(id="x")))
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        async with AsyncClient(system.gateway.grpc.address) as client:
            with pytest.raises(NotFound):
                await client.explain("07-01kaj5x3c9f0e8q4v2m7t1b6zd")


async def test_queues_show_work_tenants_and_lanes() -> None:
    async with running() as system:
        await announce(system)
        await system.submit(*[tensor()] * 3)
        stub: Any = queue_service_pb2_grpc.QueueServiceStub(system.channel)
        answer = await stub.ListQueues(queue_service_pb2.ListQueuesRequest(pool="default"))
        [queue] = [queue for queue in answer.queues if queue.depth]
        assert (queue.depth, queue.queued_work.seconds) == (3, 3)
        assert [(load.tenant, load.queued) for load in queue.tenants] == [("default", 3)]
        assert [lane.index for lane in queue.lanes] == list(range(9))
        assert (queue.lanes[8].scheduler, queue.lanes[8].in_window) == ("s1", 2)
        text = await command(system, "queues", "--tenants", "--lanes")
        assert "8 express" in text and "s1" in text
        assert not (await stub.ListQueues(queue_service_pb2.ListQueuesRequest(pool="none"))).queues
