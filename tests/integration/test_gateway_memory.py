"""The whole gateway over gRPC, on the ports in memory."""

import asyncio
import base64
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import grpc
import grpc.aio
import pytest
from google.rpc import error_details_pb2, status_pb2

from forebay.models.v1 import model_service_pb2, model_service_pb2_grpc
from forebay.queues.v1 import queue_service_pb2, queue_service_pb2_grpc
from forebay.runner.v1 import runner_service_pb2
from forebay.tasks.v1 import envelope_pb2, inputs_pb2, task_pb2, task_service_pb2, task_service_pb2_grpc
from observability.metrics import new_registry
from scheduler.adapters.clock import SystemClock
from scheduler.adapters.memory import MemoryStore
from scheduler.adapters.memory.log import MemoryLog
from scheduler.adapters.retention import Retention
from scheduler.errors import ModelFailed
from scheduler.lanes import Lane
from scheduler.ports.records import Ending, Lease, OutputChunk, Written
from scheduler.states import Level, TaskState
from services.connections import QueueSettings
from services.gateway.app import Gateway, Ports, serve
from services.gateway.settings import GatewaySettings
from services.lifecycle import CHANNEL_OPTIONS
from services.status import to_status

SUCCEEDED = task_pb2.TASK_STATE_SUCCEEDED


@dataclass
class System:
    """A gateway, what stands behind it, and a client."""

    gateway: Gateway
    store: MemoryStore
    log: MemoryLog
    tasks: Any
    """A stub of TaskService."""
    channel: grpc.aio.Channel

    async def submit(self, *specs: task_pb2.TaskSpec) -> list[str]:
        request = task_service_pb2.SubmitTasksRequest(tasks=specs)
        response = await self.tasks.SubmitTasks(request, timeout=5)
        assert all(result.HasField("task") for result in response.results), response
        return [result.task.id for result in response.results]

    async def lease(self, *ids: str) -> None:
        replies = await self.store.records.lease([(task_id, 1) for task_id in ids], "runner-1", 60_000)
        assert all(reply.verdict is Lease.GRANTED for reply in replies)

    async def finish(
        self, *ids: str, state: TaskState = TaskState.SUCCEEDED, text: str = "", last: bytes = b""
    ) -> None:
        result = task_pb2.Result(generate=inputs_pb2.GenerateOutput(text=text)).SerializeToString()
        error = to_status(ModelFailed("it failed")).SerializeToString()
        endings = [
            Ending(task_id, 1, state, result=result, last_output=last)
            if state is TaskState.SUCCEEDED
            else Ending(task_id, 1, state, error=error, last_output=last)
            for task_id in ids
        ]
        assert set(await self.store.records.finish(endings)) == {Written.WRITTEN}

    async def write(self, task_id: str, *texts: str) -> None:
        for text in texts:
            payload = task_service_pb2.StreamOutputResponse(text=text).SerializeToString()
            assert all(await self.store.records.append_output([OutputChunk(task_id, 1, payload)]))

    async def failure(self, call: Any) -> tuple[grpc.StatusCode, list[Any]]:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            if isinstance(call, grpc.aio.UnaryStreamCall):
                while await call.read() is not grpc.aio.EOF:
                    pass
            else:
                await call
        raw = dict(raised.value.trailing_metadata() or ())["grpc-status-details-bin"]
        assert isinstance(raw, bytes)
        return raised.value.code(), list(status_pb2.Status.FromString(raw).details)


@asynccontextmanager
async def running(
    store: MemoryStore | None = None, log: MemoryLog | None = None, settings: GatewaySettings | None = None
) -> AsyncIterator[System]:
    clock = SystemClock()
    store = store or MemoryStore(clock)
    log = log or MemoryLog()
    ports = Ports(store.records, store.records, store.events, store.membership, log.publisher(), clock)
    settings = settings or GatewaySettings(listen="127.0.0.1:0", http_listen="127.0.0.1:0", grace_s=2.0)
    async with (
        serve(settings, QueueSettings(), ports, new_registry()) as gateway,
        grpc.aio.insecure_channel(gateway.grpc.address, options=CHANNEL_OPTIONS) as channel,
    ):
        stub: Any = task_service_pb2_grpc.TaskServiceStub(channel)
        yield System(gateway, store, log, stub, channel)


@pytest.fixture
async def system() -> AsyncIterator[System]:
    async with running() as started:
        yield started


def prompt(text: str = "hello", **fields: Any) -> task_pb2.TaskSpec:
    return task_pb2.TaskSpec(model="smollm2", generate=inputs_pb2.GenerateInput(prompt=text), **fields)


def tensor(**fields: Any) -> task_pb2.TaskSpec:
    one = inputs_pb2.Tensor(name="x", datatype="FP32", shape=[1, 2], raw=bytes(8))
    return task_pb2.TaskSpec(model="add", tensors=inputs_pb2.TensorInput(tensors=[one]), **fields)


def watch(ids: Sequence[str], *, include_result: bool = False) -> task_service_pb2.WatchTasksRequest:
    return task_service_pb2.WatchTasksRequest(
        tasks=task_service_pb2.TaskIds(ids=ids), include_result=include_result
    )


async def everything(call: Any) -> list[task_pb2.Task]:
    found: list[task_pb2.Task] = []
    while (response := await call.read()) is not grpc.aio.EOF:
        found += response.tasks
    return found


def published(log: MemoryLog) -> list[envelope_pb2.Publication]:
    found: list[envelope_pb2.Publication] = []
    for level in Level:
        for index in range(8):
            for message in log.partition(Lane("default", level, index)).waiting:
                assert message.properties["forebay-bundle"] == "1"
                found.extend(envelope_pb2.Bundle.FromString(message.payload).publications)
    return found


# --- submitting ----------------------------------------------------------------------------------------------------


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
    assert len(published(system.log)) == 2


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


async def test_a_watch_begins_with_the_present_state_and_ends_with_the_last_task(system: System) -> None:
    done, later = await system.submit(prompt(), prompt())
    await system.lease(done)
    await system.finish(done, text="first")
    call = system.tasks.WatchTasks(watch([done, later], include_result=True), timeout=10)
    response = await call.read()
    states = {task.id: task.state for task in response.tasks}
    assert states == {done: SUCCEEDED, later: task_pb2.TASK_STATE_QUEUED}
    await system.lease(later)
    await system.finish(later, text="second")
    rest = await everything(call)
    assert rest[-1].id == later
    assert rest[-1].result.generate.text == "second"
    assert not rest[-1].HasField("spec")


async def test_results_are_sent_only_to_those_who_ask(system: System) -> None:
    (task_id,) = await system.submit(prompt())
    with_result = system.tasks.WatchTasks(watch([task_id], include_result=True), timeout=10)
    without = system.tasks.WatchTasks(watch([task_id]), timeout=10)
    await with_result.read()
    await without.read()
    await system.lease(task_id)
    await system.finish(task_id, text="answer")
    assert (await everything(with_result))[-1].result.generate.text == "answer"
    assert (await everything(without))[-1].WhichOneof("outcome") is None


async def test_a_failed_task_brings_its_error(system: System) -> None:
    (task_id,) = await system.submit(prompt())
    await system.lease(task_id)
    await system.finish(task_id, state=TaskState.FAILED)
    last = (await everything(system.tasks.WatchTasks(watch([task_id]), timeout=10)))[-1]
    info = error_details_pb2.ErrorInfo()
    assert last.error.details[0].Unpack(info)
    assert info.reason == "MODEL_FAILED"


async def test_a_watch_by_label_sees_only_its_own(system: System) -> None:
    selector = task_service_pb2.LabelSelector(labels={"run": "7"})
    call = system.tasks.WatchTasks(task_service_pb2.WatchTasksRequest(selector=selector), timeout=10)
    assert not (await call.read()).tasks
    other, mine = await system.submit(prompt(labels={"run": "8"}), prompt(labels={"run": "7", "x": "y"}))
    await system.lease(other, mine)
    await system.finish(other, mine)
    seen: list[task_pb2.Task] = []
    while not seen or seen[-1].state != SUCCEEDED:
        seen += (await call.read()).tasks
    assert {task.id for task in seen} == {mine}
    call.cancel()


async def test_a_watch_of_everything_sees_every_end(system: System) -> None:
    request = task_service_pb2.WatchTasksRequest(all=task_service_pb2.AllTasks())
    call = system.tasks.WatchTasks(request, timeout=10)
    await call.read()
    ids = await system.submit(*[tensor()] * 600)
    await system.lease(*ids)
    await system.finish(*ids)
    ended: set[str] = set()
    while len(ended) < len(ids):
        ended |= {task.id for task in (await call.read()).tasks if task.state == SUCCEEDED}
    assert ended == set(ids)
    call.cancel()


async def test_a_watch_without_target_is_refused(system: System) -> None:
    call = system.tasks.WatchTasks(task_service_pb2.WatchTasksRequest(), timeout=5)
    assert (await system.failure(call))[0] is grpc.StatusCode.INVALID_ARGUMENT


# --- output --------------------------------------------------------------------------------------------------------


async def test_output_is_streamed_while_it_is_written_and_ends_with_the_task(system: System) -> None:
    (task_id,) = await system.submit(prompt())
    call = system.tasks.StreamOutput(task_service_pb2.StreamOutputRequest(id=task_id), timeout=10)
    await system.lease(task_id)
    await system.write(task_id, "Hel", "lo")
    assert (await call.read()).text == "Hel"
    assert (await call.read()).text == "lo"
    last = task_service_pb2.StreamOutputResponse(state=SUCCEEDED, finish_reason=inputs_pb2.FINISH_REASON_STOP)
    await system.finish(task_id, last=last.SerializeToString())
    chunk = await call.read()
    assert (chunk.sequence, chunk.state) == (3, SUCCEEDED)
    assert await call.read() is grpc.aio.EOF


async def test_output_can_be_taken_up_at_any_point(system: System) -> None:
    (task_id,) = await system.submit(prompt())
    await system.lease(task_id)
    await system.write(task_id, *"abc")
    last = task_service_pb2.StreamOutputResponse(state=SUCCEEDED)
    await system.finish(task_id, last=last.SerializeToString())
    for after in range(5):
        request = task_service_pb2.StreamOutputRequest(id=task_id, after_sequence=after)
        chunks = [chunk.sequence async for chunk in system.tasks.StreamOutput(request, timeout=5)]
        assert chunks == list(range(after + 1, 5))


async def test_a_task_that_wrote_nothing_ends_with_a_closing_chunk(system: System) -> None:
    done, cancelled = await system.submit(tensor(), tensor())
    await system.lease(done)
    await system.finish(done)
    stream = system.tasks.StreamOutput
    chunks = [chunk async for chunk in stream(task_service_pb2.StreamOutputRequest(id=done), timeout=5)]
    assert [(chunk.sequence, chunk.state) for chunk in chunks] == [(1, SUCCEEDED)]
    call = stream(task_service_pb2.StreamOutputRequest(id=cancelled), timeout=5)
    request = task_service_pb2.CancelTasksRequest(tasks=task_service_pb2.TaskIds(ids=[cancelled]))
    await system.tasks.CancelTasks(request, timeout=5)
    chunks = [chunk async for chunk in call]
    assert [chunk.state for chunk in chunks] == [task_pb2.TASK_STATE_CANCELLED]
    assert chunks[0].finish_reason == inputs_pb2.FINISH_REASON_ABORTED
    assert chunks[0].HasField("error")


async def test_output_that_is_no_longer_kept_is_out_of_range() -> None:
    async with running(MemoryStore(SystemClock(), Retention(stream_chunks=2))) as system:
        (task_id,) = await system.submit(prompt())
        await system.lease(task_id)
        await system.write(task_id, *"abcd")
        gone = system.tasks.StreamOutput(task_service_pb2.StreamOutputRequest(id=task_id), timeout=5)
        code, details = await system.failure(gone)
        assert code is grpc.StatusCode.OUT_OF_RANGE
        info = error_details_pb2.ErrorInfo()
        assert details[0].Unpack(info)
        assert dict(info.metadata) == {"wanted": "0", "first_kept": "3"}
        request = task_service_pb2.StreamOutputRequest(id=task_id, after_sequence=2)
        call = system.tasks.StreamOutput(request, timeout=5)
        assert [(await call.read()).text, (await call.read()).text] == ["c", "d"]
        call.cancel()


# --- cancelling ----------------------------------------------------------------------------------------------------


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
    clock = SystemClock()
    store = MemoryStore(clock)
    ports = Ports(
        store.records, store.records, store.events, store.membership, MemoryLog().publisher(), clock
    )
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
