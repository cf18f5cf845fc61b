"""Names that nobody knows cost no read of any server, and what was kept at one time does not end at one time."""

import asyncio
from pathlib import Path
from random import Random
from typing import Any

import grpc
import grpc.aio
import pytest
from redis.asyncio import Redis

from cache.ports import Key
from forebay.cache.v1 import cache_service_pb2 as caching
from forebay.cache.v1 import cache_service_pb2_grpc
from forebay.compat.kserve import kserve_service_pb2 as kserve
from forebay.runner.v1.runner_service_pb2 import Answer
from forebay.tasks.v1 import task_pb2, task_service_pb2
from observability import names
from scheduler.adapters.clock import SystemClock
from services.gateway.caching import CacheSettings, cached_calls, open_cache
from services.gateway.caching.result_cache import ResultCache
from tests.fixtures.valkey import ValkeyServer
from tests.integration.cached_gateway import RAW, cached, infer, tensor_runner
from tests.integration.one_tier import TIERS, alone
from tests.integration.test_cached_submits import spec
from tests.unit.services.gateway.caching.scripted import Counted, Scripted, tensor_call

ABSENT = (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.UNAVAILABLE)


async def commands(server: Redis) -> int:
    """Return how many commands a server has been given."""
    return int((await server.info("stats"))["total_commands_processed"])


async def test_ten_thousand_models_that_are_not_there_are_looked_for_in_no_tier_and_asked_of_no_server(
    valkey_url: str, valkey: Redis, tmp_path: Path
) -> None:
    settings = CacheSettings(enabled=True, redis_url=valkey_url, disk_folder=tmp_path / "disk")
    chance, runner = Random(5), tensor_runner()
    made_up = [f"m-{chance.randbytes(8).hex()}" for _ in range(10_000)]
    async with cached(runner, cache=settings) as gateway:
        operated = cache_service_pb2_grpc.CacheServiceStub(gateway.system.channel)

        def look(door: int, model: str) -> Any:
            if door == 0:
                request = infer()
                request.model = model
                return gateway.native.Infer(request, timeout=10)
            if door == 1:
                asked = kserve.ModelInferRequest(model_name=model, raw_input_contents=[RAW])
                asked.inputs.add(name="x", datatype="FP32", shape=[1, 2])
                return gateway.kserve.ModelInfer(asked, timeout=10)
            task = spec()
            task.model = model
            return operated.GetCachedAnswer(caching.GetCachedAnswerRequest(request=task), timeout=10)

        async def absent(door: int, model: str) -> None:
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await look(door, model)
            assert raised.value.code() in ABSENT

        async def looks() -> list[float]:
            name = f"{names.CACHE_LOOK_DURATION}_count"
            return [
                await gateway.metric(name, tier=tier, result=result)
                for tier in TIERS
                for result in ("hit", "miss")
            ]

        await gateway.infer()
        known = await looks()
        assert sum(known) > 0
        before, loop = await commands(valkey), asyncio.get_running_loop()
        began_s = loop.time()
        for start in range(0, 999, 111):
            some = made_up[start : start + 111]
            await asyncio.gather(*(absent(number % 3, model) for number, model in enumerate(some)))
        for start in range(999, 10_000, 1_000):
            # A task may wait for a model that comes; nothing is looked for meanwhile.
            tasks = [
                task_pb2.TaskSpec(model=model, tensors=spec().tensors)
                for model in made_up[start : start + 1_000]
            ]
            request = task_service_pb2.SubmitTasksRequest(tasks=tasks)
            answer = await gateway.system.tasks.SubmitTasks(request, timeout=10)
            assert all(one.HasField("task") for one in answer.results)
        given, took_s = await commands(valkey) - before, loop.time() - began_s
        assert await looks() == known
    # Markers are read twice a second whatever is asked.
    assert given <= 100 + 20 * took_s, given
    assert len(runner.calls) == 1


@pytest.mark.parametrize("tier", TIERS)
async def test_a_thousand_answers_that_were_kept_at_once_end_apart_in_every_tier(
    tier: str, tmp_path: Path, valkey_server: ValkeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = alone(tier, valkey_server.url, tmp_path, monkeypatch)
    kept: list[Key] = []
    before = ResultCache.keep

    async def keep(cache: ResultCache, key: Key, *what: Any, **how: Any) -> None:
        await before(cache, key, *what, **how)
        kept.append(key)

    monkeypatch.setattr(ResultCache, "keep", keep)
    answer = Answer(started=True)
    answer.tensors.tensors.add(name="y", datatype="FP32", shape=[1], raw=bytes(4))
    scripted, clock = Scripted(outcome=answer), SystemClock()
    scripted.go.set()
    async with (
        open_cache(settings, "s" * 32, clock, Random(2)) as opened,
        cached_calls(scripted, opened.cache, Counted(), 10.0) as calls,
    ):
        questions = [tensor_call(number.to_bytes(4, "little")) for number in range(1_000)]
        for start in range(0, 1_000, 50):
            await asyncio.gather(*(calls.call(one) for one in questions[start : start + 50]))
        async with asyncio.timeout(10):
            while opened.control.layers.tiers()[-1].stats().entries < 1_000:  # noqa: ASYNC110  # nothing tells when all is written behind
                await asyncio.sleep(0.01)
        found = [await opened.cache.look_again(key) for key in kept]
    ends = sorted(one.entry.fresh_until_ms for one in found if one is not None and one.entry is not None)
    assert {one.tier for one in found if one is not None} == {tier}
    assert len(ends) == 1_000
    latest, width = clock.now_ms() + settings.ttl_ms, settings.ttl_ms * 0.05
    assert latest - 0.3 * settings.ttl_ms < ends[0] and ends[-1] < latest
    assert max(sum(start <= end < start + width for end in ends) for start in ends[::20]) <= 250
