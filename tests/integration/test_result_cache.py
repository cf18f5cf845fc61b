"""The result cache on the direct way, through a gateway's doors, with runners that do as they are told behind it."""

import asyncio
from dataclasses import replace
from itertools import count
from pathlib import Path

import grpc
import grpc.aio
import pytest
from google.rpc import error_details_pb2

from cache.adapters.redis import News, RedisPurges
from cache.ports import Purge
from forebay.inference.v1 import inference_service_pb2 as contract
from forebay.runner.v1.runner_service_pb2 import Answer, Call
from forebay.tasks.v1 import inputs_pb2, task_pb2
from observability import names, tracing
from scheduler.adapters.clock import SystemClock
from scheduler.adapters.redis import connect
from scheduler.errors import InvalidInput, ModelFailed, ShuttingDown
from services.api_keys import line_of, new_key
from services.embedded import valkey as embedded
from services.gateway.caching import CacheSettings
from tests.direct_runners import chunk, echo, never, refusing
from tests.fixtures.collector import Collector
from tests.fixtures.valkey import ValkeyServer
from tests.integration.cached_gateway import ON, RAW, cached, infer, language_runner, said, tensor_runner


async def test_a_hundred_identical_calls_at_once_by_two_doors_are_one_inference() -> None:
    runner = tensor_runner(answer=never)
    async with cached(runner) as gateway:
        asked = [asyncio.ensure_future(gateway.infer()) for _ in range(50)]
        asked_too = [asyncio.ensure_future(gateway.kserve_infer()) for _ in range(50)]
        await runner.until(lambda: len(runner.calls) == 1)
        runner.send(echo(runner.calls[0]))
        native = await asyncio.gather(*asked)
        others = await asyncio.gather(*asked_too)
    assert len(runner.calls) == 1
    assert {one.tensors.tensors[0].raw for one in native} == {RAW}
    assert {bytes(one.raw_output_contents[0]) for one in others} == {RAW}
    executed = [one for one in native if not one.execution.cached]
    executed_too = [one for one in others if not one.parameters["cached"].bool_param]
    assert len(executed) + len(executed_too) == 1


async def test_a_hit_is_the_miss_byte_for_byte_and_says_that_nothing_was_computed() -> None:
    runner = tensor_runner(version=3)
    async with cached(runner) as gateway:
        miss, hit = await gateway.infer(), await gateway.infer()
        other = await gateway.kserve_infer()
    assert len(runner.calls) == 1
    assert hit.tensors.SerializeToString() == miss.tensors.SerializeToString()
    assert (miss.execution.cached, miss.execution.runner) == (False, "r1")
    assert (hit.execution.cached, hit.execution.runner, hit.execution.version) == (True, "", 3)
    assert other.parameters["cached"].bool_param
    assert (list(other.raw_output_contents), other.model_version) == ([RAW], "3")


async def test_another_input_and_other_outputs_are_other_questions() -> None:
    runner = tensor_runner()
    async with cached(runner) as gateway:
        await gateway.infer()
        await gateway.infer(raw=bytes(8))
        response = await gateway.native.Infer(infer(outputs=["y"]), timeout=5)
    assert len(runner.calls) == 3
    assert not response.execution.cached


async def test_two_tenants_never_share_an_answer_unless_they_share_a_namespace(tmp_path: Path) -> None:
    acme, other = new_key(), new_key()
    keys = tmp_path / "keys"
    keys.write_text(f"{line_of(acme, 'acme')}\n{line_of(other, 'other')}\n")
    for settings, calls in ((ON, 2), (replace(ON, namespaces=("acme=both", "other=both")), 1)):
        runner = tensor_runner()
        async with cached(runner, cache=settings, keys=keys) as gateway:
            for key in (acme, other, acme, other):
                await gateway.infer(metadata=(("x-api-key", key),))
        assert len(runner.calls) == calls


async def test_bypass_neither_reads_nor_fills() -> None:
    runner = tensor_runner()
    async with cached(runner) as gateway:
        await gateway.infer(task_pb2.CACHE_MODE_BYPASS)
        await gateway.kserve_infer("bypass")
        assert not (await gateway.infer()).execution.cached
        assert not (await gateway.infer(task_pb2.CACHE_MODE_BYPASS)).execution.cached
    assert len(runner.calls) == 4


async def test_refresh_computes_anew_and_what_it_computed_is_in_the_place_of_the_old() -> None:
    answers = iter((b"1111", b"2222"))

    def counting(call: Call) -> Answer:
        answer = echo(call)
        answer.tensors.tensors[0].raw = next(answers)
        return answer

    runner = tensor_runner(answer=counting)
    async with cached(runner) as gateway:
        first = await gateway.infer()
        fresh = await gateway.infer(task_pb2.CACHE_MODE_REFRESH)
        hit = await gateway.infer()
    raws = [one.tensors.tensors[0].raw for one in (first, fresh, hit)]
    assert raws == [b"1111", b"2222", b"2222"]
    assert [one.execution.cached for one in (first, fresh, hit)] == [False, False, True]


async def test_only_is_not_found_until_somebody_has_computed_it() -> None:
    runner = tensor_runner()
    async with cached(runner) as gateway:
        code, details = await gateway.system.failure(
            gateway.native.Infer(infer(cache=task_pb2.CACHE_MODE_ONLY), timeout=5)
        )
        info = error_details_pb2.ErrorInfo()
        assert details[0].Unpack(info)
        assert (code, info.reason) == (grpc.StatusCode.NOT_FOUND, "ANSWER_NOT_CACHED")
        assert not runner.calls
        await gateway.infer()
        assert (await gateway.infer(task_pb2.CACHE_MODE_ONLY)).execution.cached
        assert (await gateway.kserve_infer("ONLY")).parameters["cached"].bool_param
    assert len(runner.calls) == 1


async def test_only_is_not_found_where_there_is_no_cache() -> None:
    runner = tensor_runner()
    async with cached(runner, cache=CacheSettings()) as gateway:
        code, _ = await gateway.system.failure(
            gateway.native.Infer(infer(cache=task_pb2.CACHE_MODE_ONLY), timeout=5)
        )
        assert code is grpc.StatusCode.NOT_FOUND
        for _ in range(2):
            assert not (await gateway.infer()).execution.cached
    assert len(runner.calls) == 2


async def test_a_mode_that_is_none_is_refused_by_both_doors() -> None:
    async with cached(tensor_runner()) as gateway:
        code, _ = await gateway.system.failure(gateway.native.Infer(infer(cache=9), timeout=5))
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await gateway.kserve_infer("sometimes")
        assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_model_that_announces_nothing_of_its_answers_is_not_cached() -> None:
    runner = tensor_runner(digest="")
    async with cached(runner) as gateway:
        await gateway.infer()
        await gateway.infer()
    assert len(runner.calls) == 2


async def test_a_sequence_is_not_cached() -> None:
    runner = tensor_runner()
    async with cached(runner) as gateway:
        for _ in range(2):
            request = infer(sequence=contract.Sequence(id="s", start=True, end=True))
            await gateway.native.Infer(request, timeout=5)
    assert len(runner.calls) == 2


async def test_a_model_that_is_loaded_with_other_weights_never_gives_the_old_answer() -> None:
    def other(call: Call) -> Answer:
        answer = echo(call)
        answer.tensors.tensors[0].raw = b"new_____"
        return answer

    old, new = tensor_runner("old weights"), tensor_runner("new weights", id="r2", answer=other)
    async with cached(old, later=new) as gateway:
        await gateway.infer()
        assert (await gateway.infer()).execution.cached
        await gateway.replace(old, new)
        answers = [await gateway.infer(), await gateway.infer()]
    assert [one.tensors.tensors[0].raw for one in answers] == [b"new_____", b"new_____"]
    assert [one.execution.cached for one in answers] == [False, True]


async def test_what_the_next_model_answered_meanwhile_is_given_but_not_kept() -> None:
    old, new = tensor_runner("old weights", answer=never), tensor_runner("new weights", id="r2")
    async with cached(old, later=new) as gateway:
        asked = asyncio.ensure_future(gateway.infer())
        await old.until(lambda: len(old.calls) == 1)
        await gateway.replace(old, new)
        # It says that it did not begin the call, which goes to the one that took its place.
        refusal = refusing(ShuttingDown("it goes", 0.1))(old.calls[0])
        assert refusal is not None
        old.send(refusal)
        first = await asked
        again = await gateway.infer()
    assert (first.execution.runner, first.execution.cached) == ("r2", False)
    assert not again.execution.cached
    assert len(new.calls) == 2


async def test_an_answer_of_a_runner_that_began_anew_under_its_id_is_not_kept_while_its_old_card_is_believed() -> (
    None
):
    runner = tensor_runner("old weights", runs="new weights")
    async with cached(runner) as gateway:
        answers = [await gateway.infer(), await gateway.infer()]
    assert [one.execution.cached for one in answers] == [False, False]
    assert len(runner.calls) == 2


async def test_a_cached_generation_is_streamed_in_the_chunks_that_it_came_in() -> None:
    runner = language_runner(never)
    async with cached(runner) as gateway:
        asked = asyncio.ensure_future(gateway.generate())
        await runner.until(lambda: len(runner.calls) == 1)
        assert runner.calls[0].stream
        runner.send(*said(runner.calls[0], "one ", "two ", "three"))
        miss = await asked
        hit = await gateway.generate()
    assert len(runner.calls) == 1
    assert [one.text for one in miss] == ["one ", "two ", "three", ""]
    assert [one.SerializeToString() for one in hit[:-1]] == [one.SerializeToString() for one in miss[:-1]]
    assert (miss[-1].execution.cached, hit[-1].execution.cached) == (False, True)
    assert hit[-1].usage == task_pb2.Usage(input_tokens=3, output_tokens=3, cached_tokens=3)


async def test_who_asks_while_a_generation_runs_gets_it_from_its_beginning() -> None:
    runner = language_runner(never)
    async with cached(runner) as gateway:
        request = contract.GenerateRequest(model="m", generate=inputs_pb2.GenerateInput(prompt="hello"))
        first = gateway.native.Generate(request, timeout=10)
        reading = asyncio.ensure_future(anext(aiter(first)))
        await runner.until(lambda: len(runner.calls) == 1)
        one, two, whole = said(runner.calls[0], "one ", "two")
        runner.send(one)
        assert (await reading).text == "one "
        second = gateway.native.Generate(request, timeout=10)
        assert (await anext(aiter(second))).text == "one "
        runner.send(two, whole)
        rest = [[one.text async for one in stream] for stream in (first, second)]
    assert rest == [["two", ""], ["two", ""]]
    assert len(runner.calls) == 1


async def test_a_generation_goes_on_for_others_when_the_one_who_began_it_leaves() -> None:
    runner = language_runner(never)
    async with cached(runner) as gateway:
        request = contract.GenerateRequest(model="m", generate=inputs_pb2.GenerateInput(prompt="hello"))
        first = gateway.native.Generate(request, timeout=10)
        reading = asyncio.ensure_future(anext(aiter(first)))
        await runner.until(lambda: len(runner.calls) == 1)
        one, two, whole = said(runner.calls[0], "one ", "two")
        runner.send(one)
        await reading
        second = gateway.native.Generate(request, timeout=10)
        assert (await anext(aiter(second))).text == "one "
        first.cancel()
        runner.send(two, whole)
        assert [one.text async for one in second] == ["two", ""]
    assert len(runner.calls) == 1
    assert not runner.cancelled


async def test_a_generation_that_nobody_waits_for_any_more_is_stopped() -> None:
    runner = language_runner(lambda call: chunk(call, "one "))
    async with cached(runner) as gateway:
        request = contract.GenerateRequest(model="m", generate=inputs_pb2.GenerateInput(prompt="hello"))
        stream = gateway.native.Generate(request, timeout=10)
        await anext(aiter(stream))
        stream.cancel()
        await runner.until(lambda: runner.cancelled == [runner.calls[0].id])


async def test_a_generation_that_is_drawn_is_computed_each_time_unless_a_setting_says_otherwise() -> None:
    def answer(call: Call) -> Answer:
        return said(call, "text")[-1]

    for settings, calls in ((ON, 2), (replace(ON, cache_sampled=True), 1)):
        runner = language_runner(answer)
        async with cached(runner, cache=settings) as gateway:
            await gateway.generate(temperature=1.0)
            again = await gateway.generate(temperature=1.0)
        assert len(runner.calls) == calls
        assert again[-1].execution.sampled is settings.cache_sampled


async def test_a_failure_of_one_is_that_of_all_who_waited_and_is_not_kept() -> None:
    runner = tensor_runner(answer=never)
    async with cached(runner) as gateway:
        asked = [
            asyncio.ensure_future(gateway.system.failure(gateway.native.Infer(infer(), timeout=5)))
            for _ in range(5)
        ]
        await runner.until(lambda: len(runner.calls) == 1)
        failed = refusing(ModelFailed("it failed"), started=True)(runner.calls[0])
        assert failed is not None
        runner.send(failed)
        codes = {code for code, _ in await asyncio.gather(*asked)}
        runner.answer = echo
        assert not (await gateway.infer()).execution.cached
    assert codes == {grpc.StatusCode.UNKNOWN}
    assert len(runner.calls) == 2


async def test_an_input_that_fails_each_time_is_not_asked_a_third_time_for_a_while() -> None:
    runner = tensor_runner(answer=refusing(InvalidInput.of("x", "does not fit"), started=True))
    async with cached(runner) as gateway:
        ends = [await gateway.system.failure(gateway.native.Infer(infer(), timeout=5)) for _ in range(4)]
    assert {code for code, _ in ends} == {grpc.StatusCode.INVALID_ARGUMENT}
    assert len({bytes(details[1].value) for _, details in ends}) == 1
    assert len(runner.calls) == 2


async def test_two_gateways_share_answers_and_go_on_when_the_server_of_the_cache_is_gone(
    valkey_server: ValkeyServer,
) -> None:
    shared = replace(ON, redis_url=valkey_server.url)
    one, two = tensor_runner(), tensor_runner()
    async with cached(one, cache=shared) as first, cached(two, cache=shared) as second:
        await first.infer()
        for _ in range(2):
            assert (await second.infer()).execution.cached
        # What was found below twice is in the memory, too.
        valkey_server.kill()
        for gateway in (first, second):
            assert (await gateway.infer()).execution.cached
            assert not (await gateway.infer(raw=bytes(8))).execution.cached
            assert (await gateway.infer(raw=bytes(8))).execution.cached
    assert (len(one.calls), len(two.calls)) == (2, 1)


async def test_a_trace_says_what_came_of_the_cache_and_why_not(
    collector: Collector, valkey_server: ValkeyServer
) -> None:
    caller = (("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),)
    end = tracing.configure(names.SERVICE_GATEWAY, collector.endpoint)
    runner = tensor_runner()
    try:
        async with cached(runner, cache=replace(ON, redis_url=valkey_server.url)) as gateway:
            await gateway.infer(metadata=caller)
            await gateway.infer(metadata=caller)
            await gateway.infer(task_pb2.CACHE_MODE_BYPASS, metadata=caller)
            request = infer(sequence=contract.Sequence(id="s", start=True, end=True))
            await gateway.native.Infer(request, timeout=5, metadata=caller)
    finally:
        end()
    spans = [span for span in collector.spans() if span.name == names.SPAN_CACHE]
    assert [span.attributes[names.CACHE_OUTCOME] for span in spans] == [
        "computed",
        "hit",
        "bypassed",
        "bypassed",
    ]
    assert spans[0].attributes[names.CACHE_LOOKS] == "memory=miss redis=miss"
    assert spans[1].attributes[names.CACHE_TIER] == "memory"
    assert [span.attributes[names.CACHE_REFUSAL] for span in spans[2:]] == ["BYPASS", "SEQUENCE"]


async def test_what_was_cached_on_disk_is_there_after_a_restart(tmp_path: Path) -> None:
    runner = tensor_runner()
    settings = replace(ON, disk_folder=tmp_path / "cache")
    async with cached(runner, cache=settings) as gateway:
        await gateway.infer()
    async with cached(runner, cache=settings) as gateway:
        assert (await gateway.infer()).execution.cached
    assert len(runner.calls) == 1


async def test_a_gateway_starts_while_the_server_of_the_cache_is_away_and_uses_it_once_it_is_there(
    valkey_server: ValkeyServer,
) -> None:
    valkey_server.kill()
    shared = replace(ON, redis_url=valkey_server.url)
    one, two = tensor_runner(), tensor_runner()
    async with cached(one, cache=shared) as first, cached(two, cache=shared) as second:
        for _ in range(2):
            await first.infer()
        assert len(one.calls) == 1
        valkey_server.start()
        async with asyncio.timeout(15):
            await embedded.wait_ready(valkey_server.socket, 10.0)
            # It is tried again after a pause: from then on what one computes the other finds.
            for number in count(1):
                raw = number.to_bytes(8, "little")
                await first.infer(raw=raw)
                if (await second.infer(raw=raw)).execution.cached:
                    break


async def test_a_purge_marker_that_was_made_elsewhere_reaches_a_gateway(valkey_server: ValkeyServer) -> None:
    runner = tensor_runner()
    client = connect(valkey_server.url, timeout_s=5.0)
    purges = RedisPurges(client, News(client))
    async with cached(runner, cache=replace(ON, redis_url=valkey_server.url)) as gateway:
        await gateway.infer()
        before_ms = SystemClock().now_ms() + 1
        await purges.add(Purge(before_ms, model="m"), before_ms + 60_000)
        async with asyncio.timeout(10):
            while (await gateway.infer()).execution.cached:
                pass
    await client.aclose()
    assert len(runner.calls) == 2
