"""Every door, and the durable way, tells what came of the cache: on the gateway's page, in the trace, in the answer."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import replace

import aiohttp
import pytest

from forebay.compat.kserve import kserve_service_pb2 as kserve
from forebay.inference.v1 import inference_service_pb2 as contract
from forebay.models.v1.model_service_pb2 import Model
from forebay.runner.v1.runner_service_pb2 import Answer, Call
from forebay.tasks.v1 import inputs_pb2, task_pb2, task_service_pb2
from observability import names, tracing
from tests.fixtures.collector import CollectedSpan, Collector
from tests.fixtures.valkey import ValkeyServer
from tests.integration.cached_gateway import (
    EMBED,
    ON,
    RAW,
    Cached,
    cached,
    infer,
    language_runner,
    said,
    tensor_runner,
)

TRACE = "0af7651916cd43dd8448eb211c80319c"
CALLER = (("traceparent", f"00-{TRACE}-b7ad6b7169203331-01"),)
SUCCEEDED = task_pb2.TASK_STATE_SUCCEEDED
HTTP_INFER = {"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [0.0, 1.0]}]}
Ask = Callable[[Cached], Awaitable[bool]]
"""Asks by one door, and returns whether the answer says that it was cached."""


@pytest.fixture
def flush(collector: Collector) -> Iterator[Callable[[], None]]:
    end = tracing.configure(names.SERVICE_GATEWAY, collector.endpoint)
    yield end
    end()


async def native(gateway: Cached) -> bool:
    return (await gateway.infer(metadata=CALLER)).execution.cached


async def native_stream(gateway: Cached) -> bool:
    request = contract.GenerateRequest(model="m", generate=inputs_pb2.GenerateInput(prompt="hello"))
    call = gateway.native.Generate(request, timeout=10, metadata=CALLER)
    *_, last = [response async for response in call]
    found = bool(last.execution.cached)
    # Of a prompt that nobody read again every token was in the cache.
    assert last.usage.cached_tokens == (last.usage.input_tokens if found else 0)
    assert last.usage.input_tokens == 3
    return found


async def native_embed(gateway: Cached) -> bool:
    request = contract.EmbedRequest(model="m", embed=inputs_pb2.EmbedInput(texts=["hello"]))
    response = await gateway.native.Embed(request, timeout=10, metadata=CALLER)
    found = bool(response.execution.cached)
    assert (response.usage.input_tokens, response.usage.cached_tokens) == (3, 3 if found else 0)
    return found


async def kserve_unary(gateway: Cached) -> bool:
    request = kserve.ModelInferRequest(model_name="m", raw_input_contents=[RAW])
    request.inputs.add(name="x", datatype="FP32", shape=[1, 2])
    response = await gateway.kserve.ModelInfer(request, timeout=10, metadata=CALLER)
    return bool(response.parameters["cached"].bool_param)


async def kserve_stream(gateway: Cached) -> bool:
    request = kserve.ModelInferRequest(model_name="m", raw_input_contents=[b"\5\0\0\0hello"])
    request.inputs.add(name="text_input", datatype="BYTES", shape=[1])
    request.parameters["stream"].bool_param = True

    async def asking() -> AsyncIterator[kserve.ModelInferRequest]:
        yield request

    call = gateway.kserve.ModelStreamInfer(asking(), timeout=10, metadata=CALLER)
    pieces = [one.infer_response async for one in call]
    [found] = {bool(piece.parameters["cached"].bool_param) for piece in pieces}
    return found


async def http(gateway: Cached) -> bool:
    answer = json.loads(await post(gateway, "infer", HTTP_INFER))
    return bool(answer.get("parameters", {}).get("cached", False))


async def http_generate(gateway: Cached) -> bool:
    return bool(json.loads(await post(gateway, "generate", {"text_input": "hello"})).get("cached", False))


async def http_generate_stream(gateway: Cached) -> bool:
    text = await post(gateway, "generate_stream", {"text_input": "hello"})
    events = [json.loads(event.removeprefix("data: ")) for event in text.split("\n\n") if event]
    [found] = {bool(event.get("cached", False)) for event in events}
    return found


async def post(gateway: Cached, path: str, body: object) -> str:
    address = f"http://{gateway.system.gateway.http_address}/v2/models/m/{path}"
    async with (
        aiohttp.ClientSession() as session,
        session.post(address, json=body, headers=dict(CALLER)) as response,
    ):
        assert response.status == 200
        return await response.text()


def spoken(call: Call) -> Answer:
    """Answer a generation whole: as a stream it is one piece, and its end."""
    return said(call, "hello")[-1]


def embedded(call: Call) -> Answer:
    answer = Answer(id=call.id, started=True, execute_us=1000, batch=1)
    answer.embed.embeddings.add(values=[1.0, 2.0], tokens=3)
    answer.usage.input_tokens = 3
    return answer


@pytest.mark.parametrize(
    ("ask", "door", "generates"),
    [
        (native, "native", False),
        (native_embed, "native", False),
        (native_stream, "native", True),
        (kserve_unary, "kserve_grpc", False),
        (kserve_stream, "kserve_grpc", True),
        (http, "kserve_http", False),
        (http_generate, "kserve_http", True),
        (http_generate_stream, "kserve_http", True),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
async def test_every_door_counts_traces_and_says_a_miss_and_a_hit(
    ask: Ask, door: str, generates: bool, collector: Collector, flush: Callable[[], None]
) -> None:
    runner = language_runner(spoken) if generates else tensor_runner()
    if ask is native_embed:
        runner = tensor_runner(answer=embedded, card=Model(name="m", engine=EMBED))
    async with cached(runner) as gateway:
        assert [await ask(gateway) for _ in range(3)] == [False, True, True]
        counted = {
            outcome: await gateway.metric(names.CACHE_CALLS, model="m", outcome=outcome)
            for outcome in ("computed", "hit")
        }
        looks = [
            await gateway.metric(f"{names.CACHE_LOOK_DURATION}_count", tier="memory", result=result)
            for result in ("miss", "hit")
        ]
        by_door = await gateway.metric(f"{names.DIRECT_CALL_DURATION}_count", door=door, code="OK")
        fills = await gateway.metric(names.CACHE_FILLS, tier="memory")
    flush()
    assert counted == {"computed": 1, "hit": 2}
    assert looks == [1, 2]
    assert by_door == 3
    assert fills == 1
    spans = of_cache(collector)
    assert [span.attributes[names.CACHE_OUTCOME] for span in spans] == ["computed", "hit", "hit"]
    assert [span.attributes.get(names.CACHE_TIER) for span in spans] == [None, "memory", "memory"]
    assert [span.attributes[names.CACHE_LOOKS] for span in spans] == ["memory=miss", *["memory=hit"] * 2]
    servers = {span.span_id for span in collector.spans() if span.kind == "server"}
    assert {span.parent_id in servers for span in spans} == {True}
    assert {span.trace_id for span in spans} == {TRACE}


async def test_tasks_that_end_as_they_are_submitted_are_counted_by_tier_and_as_finished(
    valkey_server: ValkeyServer, collector: Collector, flush: Callable[[], None]
) -> None:
    shared = replace(ON, redis_url=valkey_server.url)
    kept, found_below, absent = RAW, bytes(8), b"\7" * 8
    async with cached(tensor_runner(), cache=shared) as other:
        await other.infer(raw=found_below)
    async with cached(tensor_runner(), cache=shared) as gateway:
        await gateway.infer(raw=kept)
        before = [
            await gateway.metric(names.CACHE_CALLS, model="m", outcome=word) for word in ("hit", "absent")
        ]
        looked_before = await looks_of(gateway)
        tasks = [spec(kept), spec(kept, idempotency_key="k"), spec(found_below), spec(absent)]
        only = spec(absent, cache=task_pb2.CACHE_MODE_ONLY)
        results = (await submit(gateway, *tasks, only)).results
        await submit(gateway, tasks[1])
        after = [
            await gateway.metric(names.CACHE_CALLS, model="m", outcome=word) for word in ("hit", "absent")
        ]
        looked = await looks_of(gateway)
        submitted = await gateway.metric(names.TASKS_SUBMITTED, level="normal")
        finished = await gateway.metric(names.TASKS_FINISHED, level="normal", state="succeeded")
        response = await gateway.system.tasks.GetTask(
            task_service_pb2.GetTaskRequest(id=results[0].task.id), timeout=5
        )
    flush()
    assert [result.task.cached for result in results[:4]] == [True, True, True, False]
    assert (response.task.cached, response.task.events[-1].reason) == (True, "CACHED")
    # The repeated one is answered by its record: no other task has ended, though its question was looked for.
    assert [now - then for now, then in zip(after, before, strict=True)] == [3, 1]
    assert {place: looked[place] - looked_before[place] for place in looked} == {
        ("memory", "hit"): 2,
        ("memory", "miss"): 2,
        ("redis", "hit"): 1,
        ("redis", "miss"): 1,
    }
    # Four, of which one was repeated; the three that ended here ended once each.
    assert (submitted, finished) == (4, 3)
    [span] = [one for one in of_cache(collector) if one.trace_id == TRACE][:1]
    assert {name: span.attributes[name] for name in (names.CACHE_OUTCOME, names.CACHE_TIER)} == {
        names.CACHE_OUTCOME: "hit=3 asked_later=1 absent=1",
        names.CACHE_TIER: "memory=2 redis=1",
    }
    assert span.attributes[names.CACHE_LOOKS] == "memory:hit=1 memory:miss=2 redis:hit=1 redis:miss=1"
    [server] = [one for one in collector.spans() if one.span_id == span.parent_id]
    assert (server.kind, server.name) == ("server", "forebay.tasks.v1.TaskService/SubmitTasks")


async def test_a_tier_that_is_away_is_what_a_submit_says_of_it(valkey_server: ValkeyServer) -> None:
    async with cached(tensor_runner(), cache=replace(ON, redis_url=valkey_server.url)) as gateway:
        # Known before, so that there is something to look for.
        await gateway.infer()
        valkey_server.kill()
        [result] = (await submit(gateway, spec(bytes(8)))).results
        away = await gateway.metric(f"{names.CACHE_LOOK_DURATION}_count", tier="redis", result="away")
        await gateway.until(1, names.CACHE_PURGES_UNREAD)
        await gateway.until(1, names.CACHE_AWAY, tier="redis")
    assert result.task.state == task_pb2.TASK_STATE_QUEUED
    assert away >= 1


def spec(raw: bytes, **fields: object) -> task_pb2.TaskSpec:
    return task_pb2.TaskSpec(model="m", tensors=infer(raw).tensors, **fields)  # type: ignore[arg-type]  # fields of a spec


async def submit(gateway: Cached, *specs: task_pb2.TaskSpec) -> task_service_pb2.SubmitTasksResponse:
    request = task_service_pb2.SubmitTasksRequest(tasks=specs)
    response = await gateway.system.tasks.SubmitTasks(request, timeout=5, metadata=CALLER)
    assert isinstance(response, task_service_pb2.SubmitTasksResponse)
    return response


async def looks_of(gateway: Cached) -> dict[tuple[str, str], float]:
    places = [(tier, result) for tier in ("memory", "redis") for result in ("hit", "miss")]
    name = f"{names.CACHE_LOOK_DURATION}_count"
    return {place: await gateway.metric(name, tier=place[0], result=place[1]) for place in places}


def of_cache(collector: Collector) -> list[CollectedSpan]:
    return [span for span in collector.spans() if span.name == names.SPAN_CACHE]
