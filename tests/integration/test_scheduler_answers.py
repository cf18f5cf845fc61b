"""What a scheduler keeps of answers, on a real server."""

import asyncio
from dataclasses import replace
from random import Random

import pytest
from redis.asyncio import Redis

from cache.adapters.redis import News, RedisInvalidations
from cache.answer import write_answer
from cache.ports import Invalidation, Key
from forebay.client import AsyncClient, RetryPolicy
from forebay.tasks.v1.envelope_pb2 import CacheQuestion
from forebay.tasks.v1.inputs_pb2 import Tensor, TensorInput, TensorOutput
from forebay.tasks.v1.task_pb2 import TaskSpec
from forebay.tasks.v1.task_service_pb2 import SubmitTasksRequest
from scheduler.adapters.clock import FakeClock, SystemClock
from scheduler.service.caching import Answers, TaskCacheSettings, open_answers
from scheduler.service.caching.answers import Fill
from tests.fixtures.valkey import ValkeyServer
from tests.integration.cached_gateway import ON, RAW, cached, tensor_runner

ANSWER = TensorOutput(tensors=[Tensor(name="y", datatype="BYTES", shape=[1], raw=Random(1).randbytes(2_000))])


async def kept(answers: Answers, namespace: int, now_ms: int) -> bool:
    """Let an answer of a namespace be kept, and tell whether it was."""
    key = Key(bytes([namespace]) * 16, b"q" * 32)
    question = CacheQuestion(namespace=key.namespace, digest=key.digest)
    await answers.keep([Fill(key, write_answer(ANSWER, model="m", version=0), question, now_ms)])
    return any([found async for found in answers.find([key])])


async def test_a_scheduler_keeps_answers_of_a_new_tenant_when_those_of_others_have_expired(
    valkey: Redis, valkey_url: str
) -> None:
    clock = FakeClock()
    settings = TaskCacheSettings(
        enabled=True,
        redis_url=valkey_url,
        redis_timeout_s=5.0,
        redis_bytes=12_000,
        redis_namespace_bytes=3_000,
    )
    async with open_answers(settings, clock, Random(1)) as answers:
        taken = [await kept(answers, namespace, clock.now_ms()) for namespace in range(6)]
        assert taken[:2] == [True, True]
        assert not taken[-1]
        clock.advance(2 * settings.ttl_s)
        # What others hold is seen by a sweep, which tells nobody.
        while not await kept(answers, 9, clock.now_ms()):
            clock.advance(1.0)
            await asyncio.sleep(0.01)


async def test_advice_on_the_shared_tier_counts_what_durable_tasks_were_answered_and_computed(
    valkey_server: ValkeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cache.advice.sharing.EVERY_S", 0.05)
    settings = TaskCacheSettings(
        enabled=True, redis_url=valkey_server.url, redis_timeout_s=5.0, trace_rate=1.0
    )
    clock = SystemClock()
    async with (
        open_answers(settings, clock, Random(1)) as answers,
        cached(tensor_runner(), cache=replace(ON, trace_rate=1.0, redis_url=valkey_server.url)) as gateway,
        AsyncClient(gateway.system.gateway.grpc.address, retry=RetryPolicy(attempts=1)) as client,
    ):
        # Three that a scheduler computed, each of which then ends another task; one of a call, which ends one at
        # submit.
        for namespace in range(3):
            assert await kept(answers, namespace, clock.now_ms())
        await gateway.infer()
        tensor = Tensor(name="x", datatype="FP32", shape=[1, 2], raw=RAW)
        spec = TaskSpec(model="m", tensors=TensorInput(tensors=[tensor]))
        submitted = await gateway.system.tasks.SubmitTasks(SubmitTasksRequest(tasks=[spec]), timeout=5)
        assert submitted.results[0].task.cached
        async with asyncio.timeout(15):
            while (advice := (await client.cache.advise("redis"))[0]).uses < 8:  # noqa: ASYNC110  # nothing tells when it is so
                await asyncio.sleep(0.05)
    assert (advice.uses, advice.now.hit_ratio) == (8, 0.5)


async def test_gateways_are_told_what_tasks_had_computed_anew_and_of_nothing_else(
    valkey: Redis, valkey_url: str
) -> None:
    settings = TaskCacheSettings(enabled=True, redis_url=valkey_url, redis_timeout_s=5.0)
    answer, now_ms = write_answer(ANSWER, model="m", version=0), SystemClock().now_ms()
    keys = [Key(b"n" * 16, bytes([number]) * 32) for number in range(3)]
    fills = [
        Fill(key, answer, CacheQuestion(namespace=key.namespace, digest=key.digest, refresh=anew), now_ms)
        for key, anew in zip(keys, (False, True, True), strict=True)
    ]
    async with open_answers(settings, SystemClock(), Random(1)) as answers, asyncio.timeout(10):
        assert await answers.keep(fills)
        heard = await RedisInvalidations(valkey, News(valkey)).heard()
    assert heard == [Invalidation(key, now_ms) for key in keys[1:]]
