"""Calls that share a computation through the real doors of two gateways, and what becomes of them when the leader's
gateway, or the server between them, is gone.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import grpc.aio
import pytest

from cache.adapters.redis import News, RedisInvalidations
from forebay.compat.kserve import kserve_service_pb2 as kserve
from forebay.inference.v1 import inference_service_pb2 as contract
from forebay.inference.v1 import inference_service_pb2_grpc
from forebay.runner.v1.runner_service_pb2 import Answer, Call
from forebay.tasks.v1 import inputs_pb2, task_pb2
from observability import names, tracing
from scheduler.adapters.clock import SystemClock
from scheduler.adapters.redis import connect
from scheduler.states import Level
from services.gateway.caching import CacheSettings
from tests.direct_runners import chunk, echo, never, served
from tests.fixtures.collector import Collector
from tests.fixtures.valkey import ValkeyServer
from tests.integration.cached_gateway import (
    ON,
    RAW,
    Cached,
    cached,
    infer,
    language_runner,
    said,
    tensor_runner,
)
from tests.integration.gateway_process import gateway_process

HTTP_INFER = {"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [0.0, 1.0]}]}
CALLER = (("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),)
OTHER_CALLER = (("traceparent", "00-1bf7651916cd43dd8448eb211c80319c-c7ad6b7169203331-01"),)


def shared_by(server: ValkeyServer) -> CacheSettings:
    """Settings of gateways that share a server, which may take its time: the machine may have much else to do, and
    a gateway that waits no longer computes alone.
    """
    return replace(ON, redis_url=server.url, redis_timeout_s=5.0)


async def flies(gateway: Cached) -> None:
    """Wait until somebody at a gateway waits for a computation."""
    await gateway.until(1, names.CACHE_FLIGHTS)


async def kserve_stream(gateway: Cached) -> list[kserve.ModelInferResponse]:
    request = kserve.ModelInferRequest(model_name="m")
    request.inputs.add(name="text_input", datatype="BYTES", shape=[1])
    request.raw_input_contents.append(b"\5\0\0\0hello")
    request.parameters["stream"].bool_param = True

    async def asking() -> AsyncIterator[kserve.ModelInferRequest]:
        yield request

    return [one.infer_response async for one in gateway.kserve.ModelStreamInfer(asking(), timeout=10)]


async def test_calls_by_every_door_follow_a_computation_that_another_gateway_leads(
    valkey_server: ValkeyServer, collector: Collector
) -> None:
    shared = shared_by(valkey_server)
    one, two = tensor_runner(answer=never), tensor_runner()
    end = tracing.configure(names.SERVICE_GATEWAY, collector.endpoint)
    try:
        async with cached(one, cache=shared) as first, cached(two, cache=shared) as second:
            leading = asyncio.ensure_future(first.infer(metadata=CALLER))
            await one.until(lambda: len(one.calls) == 1)
            following = [
                asyncio.ensure_future(second.infer(metadata=OTHER_CALLER)),
                asyncio.ensure_future(second.kserve_infer()),
                asyncio.ensure_future(second.post("infer", HTTP_INFER)),
            ]
            await flies(second)
            one.send(echo(one.calls[0]))
            led, (native, by_kserve, by_http) = await leading, await asyncio.gather(*following)
            statistics = (
                await second.kserve.ModelStatistics(kserve.ModelStatisticsRequest(name="m"))
            ).model_stats
            shown = await second.get("stats")
    finally:
        end()
    assert (len(one.calls), two.calls) == (1, [])
    assert not led.execution.cached and native.execution.cached
    assert native.tensors.tensors[0].raw == RAW == by_kserve.raw_output_contents[0]
    assert by_kserve.parameters["cached"].bool_param
    assert (by_http["parameters"]["cached"], by_http["outputs"][0]["data"]) == (True, [0.0, 1.0])
    [counted] = statistics
    assert (counted.inference_stats.success.count, counted.inference_stats.cache_hit.count) == (3, 3)
    assert counted.inference_stats.cache_hit.ns <= counted.inference_stats.success.ns
    assert (counted.inference_count, counted.inference_stats.cache_miss.count) == (0, 0)
    assert shown["model_stats"][0]["inference_stats"]["cache_hit"]["count"] == 3
    spans = {
        span.attributes[names.CACHE_OUTCOME]: span
        for span in collector.spans()
        if span.name == names.SPAN_CACHE
    }
    assert set(spans) == {"computed", "shared"}
    assert [link[0] for link in spans["shared"].links] == [spans["computed"].trace_id]
    assert spans["shared"].trace_id != spans["computed"].trace_id


async def test_a_generation_is_followed_from_its_beginning_by_every_door_of_another_gateway(
    valkey_server: ValkeyServer,
) -> None:
    shared = shared_by(valkey_server)
    one, two = language_runner(never), language_runner(never)
    async with cached(one, cache=shared) as first, cached(two, cache=shared) as second:
        request = contract.GenerateRequest(model="m", generate=inputs_pb2.GenerateInput(prompt="hello"))
        leading = aiter(first.native.Generate(request, timeout=10))
        await one.until(lambda: len(one.calls) == 1)
        one.send(chunk(one.calls[0], "one "))
        assert (await anext(leading)).text == "one "
        following = aiter(second.native.Generate(request, timeout=10))
        others = [
            asyncio.ensure_future(kserve_stream(second)),
            asyncio.ensure_future(second.post("generate_stream", {"text_input": "hello"})),
            asyncio.ensure_future(second.post("generate", {"text_input": "hello"})),
        ]
        # What was said before it came, while the rest is not there yet.
        assert (await anext(following)).text == "one "
        one.send(*said(one.calls[0], "one ", "two")[1:])
        led = [response async for response in leading]
        rest = [response async for response in following]
        by_kserve, events, whole = await asyncio.gather(*others)
    assert (len(one.calls), two.calls) == (1, [])
    assert [response.text for response in rest] == [response.text for response in led] == ["two", ""]
    assert not led[-1].execution.cached and rest[-1].execution.cached
    assert rest[-1].usage.output_tokens == 2
    assert b"".join(piece.raw_output_contents[0][4:] for piece in by_kserve) == b"one two"
    assert all(piece.parameters["cached"].bool_param for piece in by_kserve)
    assert "".join(event["text_output"] for event in events) == whole["text_output"] == "one two"
    assert all(event["cached"] for event in (*events, whole))


async def test_a_critical_call_at_another_gateway_makes_the_leaders_more_urgent(
    valkey_server: ValkeyServer,
) -> None:
    shared = shared_by(valkey_server)
    one, two = tensor_runner(answer=never), tensor_runner()
    async with cached(one, cache=shared) as first, cached(two, cache=shared) as second:
        low = infer(priority=task_pb2.PRIORITY_LOW)
        leading = asyncio.ensure_future(first.native.Infer(low, timeout=10))
        await one.until(lambda: len(one.calls) == 1)
        critical = infer(priority=task_pb2.PRIORITY_CRITICAL)
        following = asyncio.ensure_future(second.native.Infer(critical, timeout=10))
        await one.until(lambda: bool(one.raised))
        one.send(echo(one.calls[0]))
        await asyncio.gather(leading, following)
    assert one.raised == [(one.calls[0].id, Level.CRITICAL)]
    assert two.calls == []


async def test_when_the_server_between_them_goes_followers_compute_and_nobody_fails(
    valkey_server: ValkeyServer, tmp_path: Path
) -> None:
    shared = shared_by(valkey_server)
    # Nothing fits into the memory of the first: what it finds again is on its disk.
    on_disk = replace(shared, disk_folder=tmp_path / "cache", memory_bytes=1, memory_namespace_bytes=1)
    one, two = tensor_runner(), tensor_runner()
    async with cached(one, cache=on_disk) as first, cached(two, cache=shared) as second:
        await first.infer(raw=b"earlier!")
        await first.until(1, names.CACHE_FILLS, tier="disk")
        one.answer = never
        leading = asyncio.ensure_future(first.infer())
        await one.until(lambda: len(one.calls) == 2)
        following = [asyncio.ensure_future(second.infer()) for _ in range(5)]
        await flies(second)
        valkey_server.kill()
        followed = await asyncio.gather(*following)
        one.send(echo(one.calls[1]))
        led = await leading
        assert [led.execution.cached, *(one.execution.cached for one in followed)].count(False) == 2
        # In each process one for all, and memory and disk go on.
        cold = [asyncio.ensure_future(second.infer(raw=b"anything")) for _ in range(20)]
        assert [one.execution.cached for one in await asyncio.gather(*cold)].count(False) == 1
        assert (await second.infer(raw=b"anything")).execution.cached
        assert (await first.infer(raw=b"earlier!")).execution.cached
    assert (len(one.calls), len(two.calls)) == (2, 2)


async def test_at_the_limit_of_the_servers_memory_all_are_answered_and_the_memory_of_a_gateway_still_hits(
    valkey_server: ValkeyServer,
) -> None:
    runner = tensor_runner()
    client = connect(valkey_server.url, timeout_s=5.0)
    async with cached(runner, cache=shared_by(valkey_server)) as gateway:
        await client.config_set("maxmemory-policy", "noeviction")
        await client.config_set("maxmemory", (await client.info("memory"))["used_memory"])
        raws = [number.to_bytes(8, "little") for number in range(20)]
        misses = await asyncio.gather(*(gateway.infer(raw=raw) for raw in raws))
        hits = await asyncio.gather(*(gateway.infer(raw=raw) for raw in raws))
    await client.aclose()
    assert {one.execution.cached for one in misses} == {False}
    assert {one.execution.cached for one in hits} == {True}
    assert [one.tensors.tensors[0].raw for one in hits] == raws
    assert len(runner.calls) == 20


@pytest.mark.timeout(60)
async def test_when_the_leaders_gateway_is_killed_a_follower_takes_over_and_streams_go_on(
    valkey_server: ValkeyServer, valkey_url: str
) -> None:
    lost, left = language_runner(never, id="lost"), language_runner(never)
    generation = contract.GenerateRequest(model="m", generate=inputs_pb2.GenerateInput(prompt="hello"))
    async with (
        served(lost),
        cached(left, cache=shared_by(valkey_server)) as second,
        gateway_process(valkey_url, valkey_server.url, lost) as first,
    ):
        native = inference_service_pb2_grpc.InferenceServiceStub(first.channel)
        leading = aiter(native.Generate(generation, timeout=30))
        asked = asyncio.ensure_future(anext(leading))
        await lost.until(lambda: len(lost.calls) == 1)
        lost.send(chunk(lost.calls[0], "one "))
        assert (await asked).text == "one "
        streams = [aiter(second.native.Generate(generation, timeout=30)) for _ in range(3)]
        assert [(await anext(stream)).text for stream in streams] == ["one "] * 3
        whole = asyncio.ensure_future(second.post("generate", {"text_input": "hello"}))
        await first.kill()
        await left.until(lambda: len(left.calls) == 1)
        left.send(*said(left.calls[0], "one ", "two"))
        rest = [[response async for response in stream] for stream in streams]
        assert (await whole)["text_output"] == "one two"
        with pytest.raises(grpc.aio.AioRpcError):
            await anext(leading)
    assert (len(lost.calls), len(left.calls)) == (1, 1)
    assert [[response.text for response in each] for each in rest] == [["two", ""]] * 3
    # One of them had it computed, with the call of its own.
    assert [each[-1].execution.cached for each in rest].count(False) == 1


@pytest.mark.parametrize("disk", [False, True], ids=["memory", "memory and disk"])
async def test_an_answer_that_one_gateway_computed_anew_is_soon_every_gateways(
    valkey_server: ValkeyServer, tmp_path: Path, disk: bool
) -> None:
    runs = 0

    def answer(call: Call) -> Answer:
        nonlocal runs
        runs += 1
        made = Answer(id=call.id, started=True, execute_us=1000, batch=1)
        made.tensors.tensors.add(name="y", datatype="INT32", shape=[1], raw=runs.to_bytes(4, "little"))
        return made

    shared = shared_by(valkey_server)
    runners = [tensor_runner(answer=answer, id=f"r{n}") for n in range(2)]
    folders = [tmp_path / str(n) if disk else None for n in range(2)]
    async with (
        cached(runners[0], cache=replace(shared, disk_folder=folders[0])) as here,
        cached(runners[1], cache=replace(shared, disk_folder=folders[1])) as there,
    ):
        first = (await here.infer()).tensors
        for _ in range(3):
            assert (await there.infer()).tensors == first
        fresh = (await here.infer(mode=task_pb2.CACHE_MODE_REFRESH)).tensors
        assert fresh != first
        async with asyncio.timeout(10):
            while (heard := await there.infer()).tensors == first:
                assert heard.execution.cached
        assert heard.tensors == fresh
        assert heard.execution.cached
    if not disk:
        return
    async with cached(tensor_runner(), cache=replace(ON, disk_folder=folders[1])) as alone:
        # What is left on its disk is the new one or nothing: not what was there before.
        again = await alone.infer()
        assert not again.execution.cached or again.tensors == fresh


async def test_other_gateways_are_not_told_of_answers_that_are_computed_anew_before_their_end(
    valkey_server: ValkeyServer,
) -> None:
    loop = asyncio.get_running_loop()

    def slowly(call: Call) -> None:
        loop.call_later(0.1, lambda: runner.send(echo(call)))

    runner = tensor_runner(answer=slowly)
    client = connect(valkey_server.url, timeout_s=5.0)
    told = RedisInvalidations(client, News(client))
    async with cached(runner, cache=replace(shared_by(valkey_server), ttl_s=1.0)) as gateway:
        async with asyncio.timeout(15):
            while not await gateway.metric(names.CACHE_REFRESHES, result="refreshed"):
                await gateway.infer()
        asked_ms = SystemClock().now_ms()
        await gateway.infer(task_pb2.CACHE_MODE_REFRESH, RAW[::-1])
        [first] = await told.heard()
        assert first.before_ms >= asked_ms
    await client.aclose()
