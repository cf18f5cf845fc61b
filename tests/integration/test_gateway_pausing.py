"""Pausing queues over gRPC, on a gateway over the ports in memory."""

import time
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2

from forebay.queues.v1 import queue_service_pb2, queue_service_pb2_grpc
from forebay.tasks.v1 import task_pb2
from tests.integration.gateway import System, prompt

Selector: Any = queue_service_pb2.PauseSelector


def stub(system: System) -> Any:
    return queue_service_pb2_grpc.QueueServiceStub(system.channel)


async def pause(system: System, reason: str = "", **selector: Any) -> queue_service_pb2.Pause:
    request = queue_service_pb2.PauseQueueRequest(selector=Selector(**selector), reason=reason)
    made: queue_service_pb2.Pause = (await stub(system).PauseQueue(request, timeout=5)).pause
    return made


async def queues(system: System) -> queue_service_pb2.ListQueuesResponse:
    answer: queue_service_pb2.ListQueuesResponse = await stub(system).ListQueues(
        queue_service_pb2.ListQueuesRequest(), timeout=5
    )
    return answer


async def test_a_pause_stands_until_it_is_taken_back(system: System) -> None:
    first = await pause(system, "repairs", pool="default", priority=1, label_key="a", label_value="b")
    assert abs(first.since.seconds - time.time()) < 5
    again = await pause(system, "other", pool="default", priority=1, label_key="a", label_value="b")
    assert (again.reason, again.since) == ("repairs", first.since)
    assert list((await queues(system)).pauses) == [first]
    request = queue_service_pb2.ResumeQueueRequest(selector=first.selector)
    assert (await stub(system).ResumeQueue(request, timeout=5)).pause == first
    code, details = await system.failure(stub(system).ResumeQueue(request, timeout=5))
    assert code is grpc.StatusCode.NOT_FOUND
    resource = error_details_pb2.ResourceInfo()
    assert details[1].Unpack(resource)
    assert resource.resource_name == "pool default, priority critical, label a=b"


async def test_queues_say_what_is_paused_and_what_waits(system: System) -> None:
    later = prompt()
    later.not_before.seconds = int(time.time()) + 3600
    low = prompt(priority=task_pb2.PRIORITY_LOW)
    await system.submit(prompt(), later, prompt(depends_on=[task_pb2.Dependency(index=0)]), low)
    await pause(system, model="smollm2")
    await pause(system, priority=task_pb2.PRIORITY_LOW)
    shown = {queue.priority: queue for queue in (await queues(system)).queues if queue.depth}
    normal = shown[task_pb2.PRIORITY_NORMAL]
    assert (normal.depth, normal.waiting, normal.paused) == (1, 2, False)
    assert shown[task_pb2.PRIORITY_LOW].paused


@pytest.mark.parametrize(
    ("field", "selector"),
    [
        ("selector", {}),
        ("selector.pool", {"pool": "A"}),
        ("selector.priority", {"priority": 9}),
        ("selector.model", {"model": "a b"}),
        ("selector.label_key", {"label_key": "k" * 64}),
        ("selector.label_value", {"label_key": "k", "label_value": "v" * 256}),
        ("selector.label_key", {"label_value": "v"}),
    ],
)
async def test_a_selector_is_refused_by_field(system: System, field: str, selector: dict[str, Any]) -> None:
    for call in (
        stub(system).PauseQueue(
            queue_service_pb2.PauseQueueRequest(selector=Selector(**selector)), timeout=5
        ),
        stub(system).ResumeQueue(
            queue_service_pb2.ResumeQueueRequest(selector=Selector(**selector)), timeout=5
        ),
    ):
        code, details = await system.failure(call)
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        violations = error_details_pb2.BadRequest()
        assert details[1].Unpack(violations)
        assert [violation.field for violation in violations.field_violations] == [field]


async def test_a_reason_that_is_too_long_is_refused(system: System) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await pause(system, "x" * 256, pool="default")
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
