import time

import grpc
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

from forebay.client import (
    AsyncClient,
    DeadlineExceeded,
    NotFound,
    Priority,
    RetryPolicy,
    TaskState,
    Unavailable,
    task_spec,
)
from forebay.client.errors import ForebayClientError, ResourceExhausted, from_status
from tests.unit.sdk.fake_gateway import UNAVAILABLE, FakeGateway, failure


async def test_a_missing_task_is_not_found_with_its_reason(client: AsyncClient) -> None:
    with pytest.raises(NotFound, match="no such task") as caught:
        await client.get("07-x")
    assert caught.value.reason == "TASK_NOT_FOUND"


async def test_a_read_is_tried_again_until_the_server_answers(
    client: AsyncClient, gateway: FakeGateway
) -> None:
    task = await client.submit("m", prompt="x")
    gateway.failures["GetTask"] += [UNAVAILABLE, UNAVAILABLE]
    assert (await client.get(task)).model == "m"
    assert len(gateway.seen["GetTask"]) == 3


async def test_a_read_is_not_tried_for_ever(client: AsyncClient, gateway: FakeGateway) -> None:
    gateway.failures["GetTask"] += [UNAVAILABLE] * 100
    with pytest.raises(Unavailable) as caught:
        await client.get("07-x")
    assert caught.value.reason == "LOG_UNAVAILABLE"
    assert len(gateway.seen["GetTask"]) == RetryPolicy().attempts


async def test_a_pause_that_does_not_fit_into_the_deadline_is_not_begun(
    address: str, gateway: FakeGateway
) -> None:
    gateway.failures["GetTask"].append(failure(grpc.StatusCode.UNAVAILABLE, retry_after_s=60))
    started = time.monotonic()
    async with AsyncClient(address, timeout_s=5) as client:
        with pytest.raises(Unavailable):
            await client.get("07-x")
    assert time.monotonic() - started < 4


async def test_every_call_has_a_deadline(client: AsyncClient, gateway: FakeGateway) -> None:
    task = await client.submit("m", prompt="x")
    await client.wait(task)
    await client.get(task)
    await client.queues()
    gateway.output[task.id] = []
    with pytest.raises(DeadlineExceeded):
        [chunk async for chunk in client.stream(task, timeout_s=0.05)]
    assert set(gateway.deadlines) == {"SubmitTasks", "WatchTasks", "GetTask", "ListQueues", "StreamOutput"}
    assert all(0 < left <= 301 for lefts in gateway.deadlines.values() for left in lefts)


async def test_a_server_that_is_not_there_is_named() -> None:
    async with AsyncClient("127.0.0.1:1", retry=RetryPolicy(attempts=1)) as client:
        with pytest.raises(Unavailable, match=r"127\.0\.0\.1:1 does not answer"):
            await client.models()


@pytest.mark.parametrize("code", [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK])
def test_every_status_becomes_an_exception_of_the_tree(code: grpc.StatusCode) -> None:
    error = from_status(failure(code, "why", "REASON", retry_after_s=1.5))
    assert isinstance(error, ForebayClientError)
    assert (error.message, error.reason, error.retry_after_s) == ("why", "REASON", 1.5)
    known = code not in (
        *(grpc.StatusCode.UNKNOWN, grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.DATA_LOSS),
    )
    assert (error.code is code) == known


def test_pauses_grow_stay_under_their_limit_and_respect_what_the_server_asks_for() -> None:
    policy = RetryPolicy(attempts=5, initial_s=0.1, max_s=0.4, multiplier=2.0)
    for tried, limit in ((1, 0.1), (2, 0.2), (3, 0.4), (4, 0.4)):
        for _ in range(50):
            pause = policy.pause_s(tried, Unavailable("x"))
            assert pause is not None and 0 <= pause <= limit
    assert policy.pause_s(5, Unavailable("x")) is None
    assert policy.pause_s(1, NotFound("x")) is None
    asked = policy.pause_s(1, ResourceExhausted("x", retry_after_s=3.0))
    assert asked is not None and 3.0 <= asked <= 3.1


async def test_cancelling_tells_what_became_of_each(client: AsyncClient, gateway: FakeGateway) -> None:
    done = await client.submit("m", prompt="x")
    gateway.hold = True
    waiting = await client.submit("m", prompt="y")
    summary = await client.cancel([done, waiting.id, "07-missing"])
    assert (summary.cancelled, summary.already_terminal, summary.not_found) == (1, 1, 1)
    assert summary.outcomes == {
        done.id: "already_terminal",
        waiting.id: "cancelled",
        "07-missing": "not_found",
    }
    assert (await client.wait(waiting)).state is TaskState.CANCELLED
    assert (await client.cancel(done)).already_terminal == 1


async def test_cancelling_by_conditions_sends_them(client: AsyncClient, gateway: FakeGateway) -> None:
    await client.cancel_matching(
        states=["queued"], model="m", labels={"a": "b"}, priorities=["low"], pool="p"
    )
    (request,) = gateway.seen["CancelTasks"]
    assert (request.filter.model, request.filter.pool) == ("m", "p")
    assert (list(request.filter.states), list(request.filter.priorities)) == ([3], [4])


async def test_listing_goes_through_the_pages_and_stops_at_the_limit(
    client: AsyncClient, gateway: FakeGateway
) -> None:
    await client.submit_many(task_spec("m", prompt=str(n)) for n in range(450))
    everything = [task.id async for task in client.list()]
    assert everything == sorted(gateway.tasks, reverse=True)
    assert [request.page_size for request in gateway.seen["ListTasks"]] == [200, 200, 200]
    some = [task.id async for task in client.list(limit=250)]
    assert some == everything[:250]
    assert [request.page_size for request in gateway.seen["ListTasks"][3:]] == [200, 50]


async def test_queues_models_and_runners_are_plain_values(client: AsyncClient) -> None:
    waiting, idle = await client.queues()
    assert (waiting.priority, waiting.depth, waiting.oldest_age_s) == (Priority.HIGH, 3, 1.5)
    assert idle.oldest_age_s is None
    (model,) = await client.models()
    assert (model.engine, model.inputs[0].shape, model.providers) == ("tensor", (-1, 4), ("CPU",))
    (runner,) = await client.runners("add")
    assert (runner.state, runner.load_s, runner.start_time, runner.pid) == ("ready", 0.25, None, 7)


async def test_a_call_is_a_client_span_and_carries_the_trace_on(address: str, gateway: FakeGateway) -> None:
    spans = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    gateway.failures["GetTask"].append(failure(grpc.StatusCode.NOT_FOUND, "canary-7f3a", "TASK_NOT_FOUND"))
    async with AsyncClient(address, tracer_provider=provider) as client:
        with provider.get_tracer("test").start_as_current_span("caller"):
            await client.submit("m", prompt="x")
        with pytest.raises(NotFound):
            await client.get("07-x")
    submit, caller, get = spans.get_finished_spans()
    assert submit.name == "forebay.tasks.v1.TaskService/SubmitTasks"
    assert submit.kind is SpanKind.CLIENT
    assert submit.parent is not None and caller.context is not None and submit.context is not None
    assert submit.parent.span_id == caller.context.span_id
    sent = gateway.metadata["SubmitTasks"][0]["traceparent"]
    assert sent[:-3] == f"00-{submit.context.trace_id:032x}-{submit.context.span_id:016x}"
    assert not get.status.is_ok
    assert get.attributes is not None and get.attributes["error.type"] == "TASK_NOT_FOUND"
    assert "canary" not in get.to_json()
    provider.shutdown()


async def test_without_tracing_nothing_is_added_to_a_call(client: AsyncClient, gateway: FakeGateway) -> None:
    await client.queues()
    assert "traceparent" not in gateway.metadata["ListQueues"][0]
