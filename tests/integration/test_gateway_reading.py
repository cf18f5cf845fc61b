"""Getting and listing tasks over gRPC, on a gateway over the ports in memory."""

import base64

import grpc
import grpc.aio
from google.rpc import error_details_pb2

from forebay.tasks.v1 import task_pb2, task_service_pb2
from scheduler.adapters.clock import SystemClock
from scheduler.adapters.memory import MemoryStore
from scheduler.adapters.memory.log import MemoryLog
from services.gateway.settings import GatewaySettings
from tests.integration.gateway import SUCCEEDED, System, prompt, running, tensor, watch


async def test_a_task_is_shown_with_its_result_and_without_its_input(system: System) -> None:
    (task_id,) = await system.submit(prompt(labels={"a": "b"}))
    await system.lease(task_id)
    await system.finish(task_id, text="answer")
    get = task_service_pb2.GetTaskRequest
    task = (await system.tasks.GetTask(get(id=task_id), timeout=5)).task
    assert task.state == SUCCEEDED
    assert task.result.generate.text == "answer"
    assert task.spec.WhichOneof("input") is None
    assert (task.spec.pool, task.spec.priority) == ("default", task_pb2.PRIORITY_NORMAL)
    assert dict(task.spec.labels) == {"a": "b"}
    assert [event.state for event in task.events] == [3, 4, 6]
    whole = (
        await system.tasks.GetTask(get(id=task_id, include_input=True, omit_result=True), timeout=5)
    ).task
    assert whole.spec.generate.prompt == "hello"
    assert whole.WhichOneof("outcome") is None


async def test_a_task_that_is_not_there_is_not_found(system: System) -> None:
    (task_id,) = await system.submit(prompt())
    missing = task_id[:-1] + ("0" if task_id[-1] != "0" else "1")
    get = system.tasks.GetTask(task_service_pb2.GetTaskRequest(id=missing), timeout=5)
    assert (await system.failure(get))[0] is grpc.StatusCode.NOT_FOUND
    stream = system.tasks.WatchTasks(watch([task_id, missing]), timeout=5)
    assert (await system.failure(stream))[0] is grpc.StatusCode.NOT_FOUND
    output = system.tasks.StreamOutput(task_service_pb2.StreamOutputRequest(id=missing), timeout=5)
    assert (await system.failure(output))[0] is grpc.StatusCode.NOT_FOUND
    bad = system.tasks.GetTask(task_service_pb2.GetTaskRequest(id="nonsense"), timeout=5)
    assert (await system.failure(bad))[0] is grpc.StatusCode.INVALID_ARGUMENT


async def test_another_tenants_task_is_not_found() -> None:
    store, log = MemoryStore(SystemClock()), MemoryLog()
    other = GatewaySettings(listen="127.0.0.1:0", http_listen="127.0.0.1:0", tenant="other")
    async with running(store, log) as mine, running(store, log, other) as theirs:
        (task_id,) = await mine.submit(prompt())
        get = theirs.tasks.GetTask(task_service_pb2.GetTaskRequest(id=task_id), timeout=5)
        assert (await theirs.failure(get))[0] is grpc.StatusCode.NOT_FOUND
        stream = theirs.tasks.WatchTasks(watch([task_id]), timeout=5)
        assert (await theirs.failure(stream))[0] is grpc.StatusCode.NOT_FOUND
        output = theirs.tasks.StreamOutput(task_service_pb2.StreamOutputRequest(id=task_id), timeout=5)
        assert (await theirs.failure(output))[0] is grpc.StatusCode.NOT_FOUND
        request = task_service_pb2.CancelTasksRequest(tasks=task_service_pb2.TaskIds(ids=[task_id]))
        assert (await theirs.tasks.CancelTasks(request, timeout=5)).not_found == 1
        listing = await theirs.tasks.ListTasks(task_service_pb2.ListTasksRequest(), timeout=5)
        assert not listing.tasks


async def test_pages_follow_each_other_from_the_newest_on(system: System) -> None:
    ids = [(await system.submit(tensor(labels={"n": str(n % 2)})))[0] for n in range(7)]
    seen, token = [], ""
    while True:
        request = task_service_pb2.ListTasksRequest(page_size=3, page_token=token)
        page = await system.tasks.ListTasks(request, timeout=5)
        seen += [task.id for task in page.tasks]
        token = page.next_page_token
        if not token:
            break
    assert sorted(seen) == sorted(ids)
    assert seen == sorted(seen, key=lambda task_id: task_id[3:], reverse=True)
    wanted = task_service_pb2.TaskFilter(labels={"n": "1"}, states=[task_pb2.TASK_STATE_QUEUED])
    page = await system.tasks.ListTasks(task_service_pb2.ListTasksRequest(filter=wanted), timeout=5)
    assert len(page.tasks) == 3


async def test_a_page_token_is_good_for_its_own_filter_only(system: System) -> None:
    await system.submit(*[tensor()] * 3)
    first = await system.tasks.ListTasks(task_service_pb2.ListTasksRequest(page_size=1), timeout=5)
    token = first.next_page_token
    raw = bytearray(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    raw[-1] ^= 1
    for bad in (
        task_service_pb2.ListTasksRequest(
            page_token=token, filter=task_service_pb2.TaskFilter(model="another")
        ),
        task_service_pb2.ListTasksRequest(page_token=base64.urlsafe_b64encode(raw).decode().rstrip("=")),
        task_service_pb2.ListTasksRequest(page_token="*"),
    ):
        code, details = await system.failure(system.tasks.ListTasks(bad, timeout=5))
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        violations = error_details_pb2.BadRequest()
        assert details[1].Unpack(violations)
        assert violations.field_violations[0].field == "page_token"


# --- watching ------------------------------------------------------------------------------------------------------
