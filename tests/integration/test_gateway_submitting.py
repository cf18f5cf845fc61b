"""Submitting over gRPC, on a gateway over the ports in memory."""

import asyncio
from typing import Any

import grpc
import grpc.aio
import pytest
from google.rpc import error_details_pb2

from forebay.tasks.v1 import envelope_pb2, task_pb2, task_service_pb2
from scheduler.adapters.memory.log import MemoryLog
from scheduler.lanes import Lane
from scheduler.states import Level, TaskState
from services.gateway.settings import GatewaySettings
from tests.integration.gateway import System, prompt, published, running, tensor


async def test_accepted_tasks_are_recorded_and_on_the_log(system: System) -> None:
    ids = await system.submit(prompt(priority=task_pb2.PRIORITY_HIGH), tensor(labels={"a": "b"}))
    assert len(set(ids)) == 2
    on_log = {publication.envelope.id: publication for publication in published(system.log)}
    assert set(on_log) == set(ids)
    first = on_log[ids[0]]
    assert first.publication == 1
    assert first.envelope.priority == task_pb2.PRIORITY_HIGH
    assert first.envelope.pool == "default"
    assert first.envelope.max_attempts == 3
    spec = task_pb2.TaskSpec.FromString(first.envelope.spec)
    assert spec.generate.prompt == "hello"
    records = await system.store.records.get(ids, False)
    assert [record.state for record in records if record] == [TaskState.QUEUED, TaskState.QUEUED]
    assert {record.envelope for record in records if record} == {
        publication.envelope.SerializeToString() for publication in on_log.values()
    }


async def test_one_bad_task_does_not_fail_its_neighbours(system: System) -> None:
    bad = prompt()
    bad.generate.top_p = 3
    request = task_service_pb2.SubmitTasksRequest(tasks=[prompt(), bad, tensor(pool="nowhere"), prompt()])
    response = await system.tasks.SubmitTasks(request, timeout=5)
    assert [result.WhichOneof("result") for result in response.results] == ["task", "error", "error", "task"]
    violations = error_details_pb2.BadRequest()
    assert response.results[1].error.details[1].Unpack(violations)
    assert violations.field_violations[0].field == "tasks[1].generate.top_p"
    assert response.results[2].error.details[1].Unpack(violations)
    assert violations.field_violations[0].field == "tasks[2].pool"


async def test_the_same_key_and_body_is_the_same_task(system: System) -> None:
    first = await system.submit(prompt(idempotency_key="k"))
    again = await system.submit(prompt(idempotency_key="k"), prompt(idempotency_key="other"))
    assert first[0] == again[0] != again[1]
    assert {publication.envelope.id for publication in published(system.log)} == set(again)


async def test_the_same_key_with_another_body_is_refused(system: System) -> None:
    (first,) = await system.submit(prompt("one", idempotency_key="k"))
    request = task_service_pb2.SubmitTasksRequest(tasks=[prompt("two", idempotency_key="k")])
    response = await system.tasks.SubmitTasks(request, timeout=5)
    assert response.results[0].error.code == grpc.StatusCode.ALREADY_EXISTS.value[0]
    resource = error_details_pb2.ResourceInfo()
    assert response.results[0].error.details[1].Unpack(resource)
    assert resource.resource_name == first


@pytest.mark.parametrize("count", [0, 1001])
async def test_a_call_with_a_wrong_number_of_tasks_fails(system: System, count: int) -> None:
    request = task_service_pb2.SubmitTasksRequest(tasks=[tensor()] * count)
    code, _ = await system.failure(system.tasks.SubmitTasks(request, timeout=5))
    assert code is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_thousand_tasks_travel_in_bundles_of_at_most_256(system: System) -> None:
    ids = await system.submit(*[tensor()] * 1000)
    sizes = [
        len(envelope_pb2.Bundle.FromString(message.payload).publications)
        for index in range(8)
        for message in system.log.partition(Lane("default", Level.NORMAL, index)).waiting
    ]
    assert sorted(sizes) == [232, 256, 256, 256]
    assert [publication.envelope.id for publication in published(system.log)] == ids


async def test_a_log_that_is_away_fails_the_call_with_a_retry_hint(system: System) -> None:
    system.log.available = False
    request = task_service_pb2.SubmitTasksRequest(tasks=[prompt()])
    code, details = await system.failure(system.tasks.SubmitTasks(request, timeout=5))
    assert code is grpc.StatusCode.UNAVAILABLE
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    assert details[0].Unpack(info)
    assert info.reason == "LOG_UNAVAILABLE"
    assert details[1].Unpack(retry)


async def test_too_many_calls_at_once_are_refused_quickly() -> None:
    settings = GatewaySettings(listen="127.0.0.1:0", http_listen="127.0.0.1:0", max_calls_in_flight=1)
    held = asyncio.Event()
    entered = asyncio.Event()

    class SlowLog(MemoryLog):
        def publisher(self) -> Any:
            inner = super().publisher()

            class Slow:
                async def publish(self, *arguments: Any) -> None:
                    entered.set()
                    await held.wait()
                    await inner.publish(*arguments)

            return Slow()

    async with running(log=SlowLog(), settings=settings) as system:
        request = task_service_pb2.SubmitTasksRequest(tasks=[prompt()])
        first = system.tasks.SubmitTasks(request, timeout=5)
        await entered.wait()
        code, details = await system.failure(system.tasks.SubmitTasks(request, timeout=5))
        assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert details[1].Unpack(error_details_pb2.RetryInfo())
        held.set()
        assert (await first).results[0].HasField("task")


# --- reading -------------------------------------------------------------------------------------------------------
