"""Cancelling, queues, models, HTTP and shutdown, on a gateway over the ports in memory."""

from contextlib import AsyncExitStack
from typing import Any

import aiohttp
import grpc
import grpc.aio
from google.rpc import error_details_pb2

from forebay.models.v1 import model_service_pb2, model_service_pb2_grpc
from forebay.queues.v1 import queue_service_pb2, queue_service_pb2_grpc
from forebay.runner.v1 import runner_service_pb2
from forebay.tasks.v1 import task_pb2, task_service_pb2, task_service_pb2_grpc
from observability.metrics import new_registry
from scheduler.adapters.clock import SystemClock
from scheduler.adapters.memory import MemoryStore
from scheduler.adapters.memory.log import MemoryLog
from services.connections import QueueSettings
from services.gateway.app import serve
from services.gateway.settings import GatewaySettings
from tests.integration.gateway import System, ports_of, prompt, tensor, watch


async def test_named_tasks_are_cancelled_one_by_one(system: System) -> None:
    queued, running_, done = await system.submit(prompt(), prompt(), prompt())
    await system.lease(running_, done)
    await system.finish(done)
    missing = queued[:-1] + ("0" if queued[-1] != "0" else "1")
    ids = [queued, running_, done, missing, queued]
    request = task_service_pb2.CancelTasksRequest(tasks=task_service_pb2.TaskIds(ids=ids))
    response = await system.tasks.CancelTasks(request, timeout=5)
    assert (response.cancelled, response.already_terminal, response.not_found) == (2, 1, 1)
    assert [result.outcome for result in response.results] == [1, 1, 2, 3, 1]
    task = (await system.tasks.GetTask(task_service_pb2.GetTaskRequest(id=queued), timeout=5)).task
    assert task.state == task_pb2.TASK_STATE_CANCELLED
    assert task.HasField("error")


async def test_all_that_match_are_cancelled(system: System) -> None:
    ids = await system.submit(*[tensor(labels={"n": str(n % 2)}) for n in range(6)])
    wanted = task_service_pb2.TaskFilter(labels={"n": "0"})
    request = task_service_pb2.CancelTasksRequest(filter=wanted)
    response = await system.tasks.CancelTasks(request, timeout=5)
    assert {result.id for result in response.results} == set(ids[::2])
    assert response.cancelled == 3
    async with aiohttp.ClientSession(f"http://{system.gateway.http_address}") as session:
        async with session.get("/metrics") as page:
            text = await page.text()
    assert 'forebay_tasks_finished_total{level="normal",state="cancelled"} 3.0' in text


# --- queues, models, HTTP, the end ---------------------------------------------------------------------------------


async def test_queues_show_counts_and_what_schedulers_see(system: System) -> None:
    ids = await system.submit(prompt(priority=task_pb2.PRIORITY_LOW), prompt(), prompt())
    await system.lease(ids[1])
    seen = queue_service_pb2.Queue(
        pool="default", priority=task_pb2.PRIORITY_NORMAL, finished_per_second=2.5, share=0.25
    )
    seen.oldest_age.seconds = 4
    card = queue_service_pb2.ListQueuesResponse(queues=[seen]).SerializeToString()
    for member in ("one", "two"):
        await system.store.membership.announce("queues", member, card, 60_000)
    stub: Any = queue_service_pb2_grpc.QueueServiceStub(system.channel)
    queues = (await stub.ListQueues(queue_service_pb2.ListQueuesRequest(), timeout=5)).queues
    shown = {queue.priority: queue for queue in queues if queue.depth or queue.running}
    normal = shown[task_pb2.PRIORITY_NORMAL]
    assert (normal.depth, normal.running, normal.finished_per_second) == (1, 1, 5.0)
    assert (normal.share, normal.oldest_age.seconds) == (0.25, 4)
    assert shown[task_pb2.PRIORITY_LOW].depth == 1


async def test_models_are_those_of_the_runners(system: System) -> None:
    ready = runner_service_pb2.WatchStatusResponse(
        runner=model_service_pb2.Runner(
            id="r1", model="add", state=model_service_pb2.RUNNER_STATE_READY, provider="CPUExecutionProvider"
        ),
        model=model_service_pb2.Model(
            name="add", engine=model_service_pb2.ENGINE_KIND_TENSOR, digest="d" * 64
        ),
    )
    failed = runner_service_pb2.WatchStatusResponse(
        runner=model_service_pb2.Runner(
            id="r0", model="bad", state=model_service_pb2.RUNNER_STATE_FAILED, reason="no such file"
        )
    )
    for status in (ready, failed):
        card = status.SerializeToString()
        await system.store.membership.announce("runner", status.runner.id, card, 60_000)
    await system.store.membership.announce("runner", "garbage", b"\xff\xff", 60_000)
    stub: Any = model_service_pb2_grpc.ModelServiceStub(system.channel)
    models = (await stub.ListModels(model_service_pb2.ListModelsRequest(), timeout=5)).models
    assert [(m.name, m.ready_runners, list(m.failures)) for m in models] == [
        ("add", 1, []),
        ("bad", 0, ["no such file"]),
    ]
    assert models[0].digest == "d" * 64
    request = model_service_pb2.ListRunnersRequest(model="bad")
    assert [r.id for r in (await stub.ListRunners(request, timeout=5)).runners] == ["r0"]


async def test_http_tells_metrics_and_health(system: System) -> None:
    await system.submit(prompt())
    async with aiohttp.ClientSession(f"http://{system.gateway.http_address}") as session:
        async with session.get("/healthz") as response:
            assert response.status == 200
        async with session.get("/readyz") as response:
            assert response.status == 200
        system.gateway.grpc.set_serving(False)
        async with session.get("/readyz") as response:
            assert response.status == 503
        async with session.get("/metrics") as response:
            page = await response.text()
    assert 'forebay_tasks_submitted_total{level="normal"} 1.0' in page
    assert 'rpc_method="forebay.tasks.v1.TaskService/SubmitTasks"' in page


async def test_a_gateway_that_stops_ends_its_watches_with_a_retry_hint() -> None:
    store = MemoryStore(SystemClock())
    ports = ports_of(store, MemoryLog())
    settings = GatewaySettings(listen="127.0.0.1:0", http_listen="127.0.0.1:0", grace_s=15.0)
    async with AsyncExitStack() as client:
        async with serve(settings, QueueSettings(), ports, new_registry()) as gateway:
            channel = await client.enter_async_context(grpc.aio.insecure_channel(gateway.grpc.address))
            stub: Any = task_service_pb2_grpc.TaskServiceStub(channel)
            system = System(gateway, store, MemoryLog(), stub, channel)
            (task_id,) = await system.submit(prompt())
            await system.lease(task_id)
            await system.write(task_id, "a")
            watching = stub.WatchTasks(watch([task_id]))
            output = stub.StreamOutput(task_service_pb2.StreamOutputRequest(id=task_id))
            await watching.read()
            await output.read()
        for call in (watching, output):
            code, details = await system.failure(call)
            assert code is grpc.StatusCode.UNAVAILABLE
            info = error_details_pb2.ErrorInfo()
            assert details[0].Unpack(info)
            assert info.reason == "SHUTTING_DOWN"
