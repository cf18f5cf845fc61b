"""Responses that doors have ready for requests that were hits a moment ago: they are given while the hit stands."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest

from cache.adapters.redis import News, RedisPurges
from cache.ports import Purge
from forebay.compat.kserve import kserve_service_pb2 as kserve
from forebay.inference.v1 import inference_service_pb2 as contract
from forebay.models.v1 import model_service_pb2
from forebay.runner.v1.runner_service_pb2 import Answer, Call
from forebay.tasks.v1 import inputs_pb2, task_pb2
from observability import names, tracing
from scheduler.adapters.clock import SystemClock
from scheduler.adapters.redis import connect
from scheduler.ports.membership import RUNNER_ROLE
from services.api_keys import line_of, new_key
from services.gateway.caching.asking import Asker
from tests.direct_runners import echo
from tests.fixtures.collector import Collector
from tests.fixtures.valkey import ValkeyServer
from tests.integration.cached_gateway import ON, Cached, cached, tensor_runner

REFRESH = task_pb2.CACHE_MODE_REFRESH
CALLER = (("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),)


def fails(*_: object) -> None:
    raise AssertionError("the request was read again")


def embedding(call: Call) -> Answer:
    answer = Answer(id=call.id, started=True, execute_us=1000)
    answer.embed.embeddings.add(values=[0.5, 0.25])
    answer.usage.input_tokens = 2
    return answer


async def infer(gateway: Cached) -> Any:
    return await gateway.infer()


async def kserve_infer(gateway: Cached) -> Any:
    return await gateway.kserve_infer()


async def embed(gateway: Cached) -> Any:
    texts = inputs_pb2.EmbedInput(texts=["hello"])
    return await gateway.native.Embed(contract.EmbedRequest(model="m", embed=texts), timeout=5)


def timeless(response: Any) -> bytes:
    """Return a response as bytes, without how long it took."""
    if not isinstance(response, kserve.ModelInferResponse):
        response.execution.timing.Clear()
    serialised: bytes = response.SerializeToString(deterministic=True)
    return serialised


@pytest.mark.parametrize("ask", [infer, kserve_infer, embed])
async def test_the_same_request_again_is_not_read_again_and_its_response_is_the_same(
    ask: Callable[[Cached], Awaitable[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = tensor_runner()
    if ask is embed:
        runner.answer = embedding
        assert runner.card is not None
        runner.card.engine = model_service_pb2.ENGINE_KIND_EMBED
    async with cached(runner) as gateway:
        await ask(gateway)
        hit = await ask(gateway)
        monkeypatch.setattr(Asker, "asking", fails)
        again = [await ask(gateway) for _ in range(3)]
    assert len(runner.calls) == 1
    assert {timeless(one) for one in again} == {timeless(hit)}


async def test_each_time_it_says_how_long_it_took_itself() -> None:
    async with cached(tensor_runner()) as gateway:
        answers = [await gateway.infer() for _ in range(6)]
    queues = [one.execution.timing.queue.ToNanoseconds() for one in answers[2:]]
    assert len(set(queues)) > 1
    assert all(0 < queue < 1e9 for queue in queues)


async def test_what_was_computed_anew_takes_its_place() -> None:
    texts = iter((b"1111", b"2222"))

    def counting(call: Call) -> Answer:
        answer = echo(call)
        answer.tensors.tensors[0].raw = next(texts)
        return answer

    async with cached(tensor_runner(answer=counting)) as gateway:
        before = [await gateway.infer() for _ in range(3)]
        await gateway.infer(REFRESH)
        after = [await gateway.infer() for _ in range(3)]
    raws = [one.tensors.tensors[0].raw for one in (*before, *after)]
    assert raws == [b"1111"] * 3 + [b"2222"] * 3
    assert all(one.execution.cached for one in after)


async def test_it_is_not_given_for_a_model_with_other_weights() -> None:
    def other(call: Call) -> Answer:
        answer = echo(call)
        answer.tensors.tensors[0].raw = b"new_____"
        return answer

    old, new = tensor_runner("old weights"), tensor_runner("new weights", id="r2", answer=other)
    async with cached(old, later=new) as gateway:
        for _ in range(3):
            await gateway.infer()
            await gateway.kserve_infer()
        await gateway.replace(old, new)
        native, by_kserve = await gateway.infer(), await gateway.kserve_infer()
    assert native.tensors.tensors[0].raw == b"new_____"
    assert list(by_kserve.raw_output_contents) == [b"new_____"]


async def test_it_is_given_on_when_a_runner_announces_itself_with_the_same_weights(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one, more = tensor_runner(), tensor_runner(id="r2")
    async with cached(one, later=more) as gateway:
        for _ in range(2):
            await gateway.infer()
        card = more.status().SerializeToString()
        await gateway.store.membership.announce(RUNNER_ROLE, more.id, card, 60_000)
        await more.attached(1)
        monkeypatch.setattr(Asker, "asking", fails)
        assert [(await gateway.infer()).execution.cached for _ in range(2)] == [True, True]


async def test_it_ends_with_a_purge(valkey_server: ValkeyServer) -> None:
    runner = tensor_runner()
    client = connect(valkey_server.url, timeout_s=5.0)
    purges = RedisPurges(client, News(client))
    async with cached(runner, cache=replace(ON, redis_url=valkey_server.url)) as gateway:
        for _ in range(3):
            await gateway.infer()
        before_ms = SystemClock().now_ms() + 1
        await purges.add(Purge(before_ms, model="m"), before_ms + 60_000)
        while (await gateway.infer()).execution.cached:
            pass
    await client.aclose()
    assert len(runner.calls) == 2


async def test_nobody_gets_what_is_ready_for_another_tenant(tmp_path: Path) -> None:
    acme, other = new_key(), new_key()
    keys = tmp_path / "keys"
    keys.write_text(f"{line_of(acme, 'acme')}\n{line_of(other, 'other')}\n")
    runner = tensor_runner()
    async with cached(runner, keys=keys) as gateway:
        for _ in range(3):
            await gateway.infer(metadata=(("x-api-key", acme),))
        assert not (await gateway.infer(metadata=(("x-api-key", other),))).execution.cached
        code, _ = await gateway.system.failure(
            gateway.native.Infer(contract.InferRequest(model="m"), timeout=5)
        )
    assert code is grpc.StatusCode.UNAUTHENTICATED
    assert len(runner.calls) == 2


async def test_it_is_told_of_in_traces_as_any_other_hit(collector: Collector) -> None:
    end = tracing.configure(names.SERVICE_GATEWAY, collector.endpoint)
    try:
        async with cached(tensor_runner()) as gateway:
            for _ in range(4):
                await gateway.infer(metadata=CALLER)
    finally:
        end()
    spans = [span for span in collector.spans() if span.name == names.SPAN_CACHE]
    assert [span.attributes[names.CACHE_OUTCOME] for span in spans] == ["computed", "hit", "hit", "hit"]
    assert {span.attributes[names.CACHE_TIER] for span in spans[1:]} == {"memory"}
    assert {span.trace_id for span in spans} == {"0af7651916cd43dd8448eb211c80319c"}
