"""Tasks that are submitted when their answer is there: they end as they are accepted, and are never on the log."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import code_pb2

from cache.adapters.redis import News, RedisPurges
from cache.ports import Purge
from forebay.client import AsyncClient, RetryPolicy
from forebay.dispatch.v1.scheduler_view_pb2 import CostView, PoolView, SchedulerView
from forebay.queues.v1 import queue_service_pb2, queue_service_pb2_grpc
from forebay.runner.v1.runner_service_pb2 import Answer, Call
from forebay.tasks.v1 import envelope_pb2, inputs_pb2, task_pb2, task_service_pb2
from observability import names, tracing
from scheduler.adapters.redis import connect
from scheduler.errors import RecordsUnavailable
from scheduler.policies.policy import Limit, Policy
from scheduler.ports.membership import VIEW_ROLE
from services.api_keys import line_of, new_key
from tests.direct_runners import never
from tests.fixtures.collector import Collector
from tests.fixtures.valkey import ValkeyServer
from tests.integration.cached_gateway import (
    ON,
    RAW,
    Cached,
    cached,
    language_runner,
    said,
    tensor_runner,
)
from tests.integration.gateway import SUCCEEDED, running

DEFAULT, BYPASS = task_pb2.CACHE_MODE_DEFAULT, task_pb2.CACHE_MODE_BYPASS
REFRESH, ONLY = task_pb2.CACHE_MODE_REFRESH, task_pb2.CACHE_MODE_ONLY
QUEUED = task_pb2.TASK_STATE_QUEUED
LOOKS = f"{names.CACHE_LOOK_DURATION}_count"
TRACE = "0af7651916cd43dd8448eb211c80319c"


def spec(raw: bytes = RAW, **fields: Any) -> task_pb2.TaskSpec:
    tensor = inputs_pb2.Tensor(name="x", datatype="FP32", shape=[1, 2], raw=raw)
    return task_pb2.TaskSpec(model="m", tensors=inputs_pb2.TensorInput(tensors=[tensor]), **fields)


async def submit(gateway: Cached, *specs: task_pb2.TaskSpec, metadata: Sequence[tuple[str, str]] = ()) -> Any:
    request = task_service_pb2.SubmitTasksRequest(tasks=specs)
    response = await gateway.system.tasks.SubmitTasks(request, timeout=5, metadata=metadata)
    return response.results


async def get(gateway: Cached, task_id: str) -> task_pb2.Task:
    response = await gateway.system.tasks.GetTask(task_service_pb2.GetTaskRequest(id=task_id), timeout=5)
    task: task_pb2.Task = response.task
    return task


async def purge(gateway: Cached) -> None:
    address = gateway.system.gateway.grpc.address
    async with AsyncClient(address, retry=RetryPolicy(attempts=1)) as client:
        await client.cache.purge(model="m")


async def until_answered_from_the_cache(gateway: Cached, raw: bytes = RAW) -> None:
    async with asyncio.timeout(5):
        while not (await gateway.infer(raw=raw)).execution.cached:  # noqa: ASYNC110  # nothing tells when an answer is newer than a purge
            await asyncio.sleep(0.01)


def answering_with(raw: bytes) -> Any:
    """Make what answers every call with a tensor of these bytes."""

    def answer(call: Call) -> Answer:
        made = Answer(id=call.id, started=True, execute_us=1000, batch=1)
        made.tensors.tensors.add(name="y", datatype="FP32", shape=[len(raw) // 4], raw=raw)
        return made

    return answer


async def envelope(gateway: Cached, task_id: str) -> envelope_pb2.Envelope:
    [record] = await gateway.store.records.get([task_id], False)
    assert record is not None
    return envelope_pb2.Envelope.FromString(record.envelope)


async def test_tasks_whose_answer_a_call_left_end_as_they_are_accepted() -> None:
    runner = tensor_runner(version=3)
    async with cached(runner) as gateway:
        await gateway.infer()
        results = await submit(gateway, spec(), spec(bytes(8)), spec(idempotency_key="k"))
        assert [one.task.state for one in results] == [SUCCEEDED, QUEUED, SUCCEEDED]
        assert [one.task.cached for one in results] == [True, False, True]
        task = await get(gateway, results[0].task.id)
        other = await get(gateway, results[1].task.id)
        [again] = await submit(gateway, spec(idempotency_key="k"))
        watch = gateway.system.tasks.WatchTasks(
            task_service_pb2.WatchTasksRequest(
                tasks=task_service_pb2.TaskIds(ids=[results[0].task.id]), include_result=True
            )
        )
        batch = await watch.read()
        listed = await gateway.system.tasks.ListTasks(task_service_pb2.ListTasksRequest(), timeout=5)
    assert (task.state, task.cached, task.attempt, task.publication, task.runner) == (
        SUCCEEDED,
        True,
        0,
        0,
        "",
    )
    assert [(event.state, event.reason) for event in task.events] == [(SUCCEEDED, "CACHED")]
    assert task.result.tensors.tensors[0].raw == RAW
    assert not task.result.HasField("timing")
    assert (other.cached, other.state) == (False, QUEUED)
    assert (again.task.id, again.task.state) == (results[2].task.id, SUCCEEDED)
    assert [(one.id, one.cached) for one in batch.tasks] == [(task.id, True)]
    assert len(listed.tasks) == 3


async def test_a_task_takes_its_question_along_and_one_that_bypasses_none() -> None:
    async with cached(tensor_runner(version=3)) as gateway:
        results = await submit(
            gateway,
            spec(),
            spec(cache=BYPASS),
            spec(cache=REFRESH, labels={"team": "blue"}),
            spec(bytes(8), cache=DEFAULT),
        )
        plain, bypassed, refreshed, other = [await envelope(gateway, one.task.id) for one in results]
    assert not bypassed.HasField("cached_as")
    assert plain.cached_as.looked_up
    assert not plain.cached_as.flight
    assert (plain.cached_as.version, len(plain.cached_as.identity)) == (3, 32)
    assert refreshed.cached_as.digest == plain.cached_as.digest != other.cached_as.digest
    assert refreshed.cached_as.refresh
    assert refreshed.cached_as.flight not in (b"", refreshed.cached_as.digest)
    assert len(refreshed.cached_as.labels) == 1


async def test_refresh_and_bypass_do_not_look() -> None:
    async with cached(tensor_runner()) as gateway:
        await gateway.infer()
        results = await submit(gateway, spec(cache=BYPASS), spec(cache=REFRESH), spec(cache=ONLY))
    assert [one.task.state for one in results] == [QUEUED, QUEUED, SUCCEEDED]


async def test_only_is_refused_where_the_answer_is_not_there() -> None:
    async with cached(tensor_runner()) as gateway:
        results = await submit(gateway, spec(cache=ONLY), spec())
        assert results[0].error.code == code_pb2.NOT_FOUND
        assert results[1].task.state == QUEUED
        unknown = task_pb2.TaskSpec(model="nobody", tensors=spec().tensors, cache=ONLY)
        [refused] = await submit(gateway, unknown)
        assert refused.error.code == code_pb2.NOT_FOUND
    async with running() as system:
        request = task_service_pb2.SubmitTasksRequest(tasks=[spec(cache=ONLY), spec()])
        response = await system.tasks.SubmitTasks(request, timeout=5)
        assert response.results[0].error.code == code_pb2.NOT_FOUND
        assert response.results[1].task.state == QUEUED


async def test_only_with_a_key_is_the_task_that_the_key_has_whatever_became_of_the_answer() -> None:
    async with cached(tensor_runner()) as gateway:
        await gateway.infer()
        [first] = await submit(gateway, spec(cache=ONLY, idempotency_key="k"))
        await purge(gateway)
        again, other, conflict, absent = await submit(
            gateway,
            spec(cache=ONLY, idempotency_key="k"),
            spec(cache=ONLY),
            spec(bytes(8), cache=ONLY, idempotency_key="k"),
            spec(cache=ONLY, idempotency_key="another"),
        )
        # Nothing was left of the one that was refused: it may be asked for again.
        await until_answered_from_the_cache(gateway)
        [now] = await submit(gateway, spec(cache=ONLY, idempotency_key="another"))
    assert first.task.state == SUCCEEDED
    assert (again.task.id, again.task.state) == (first.task.id, SUCCEEDED)
    assert other.error.code == absent.error.code == code_pb2.NOT_FOUND
    assert conflict.error.code == code_pb2.ALREADY_EXISTS
    assert now.task.state == SUCCEEDED


async def test_an_only_that_is_no_task_is_an_invalid_argument() -> None:
    async with cached(tensor_runner()) as gateway:
        [result] = await submit(gateway, spec(cache=ONLY, pool="no such pool"))
    assert result.error.code == code_pb2.INVALID_ARGUMENT


async def test_one_large_answer_for_many_tasks_ends_as_many_at_once_as_the_call_may_write() -> None:
    large = bytes(1 << 20)
    async with cached(tensor_runner(answer=answering_with(large))) as gateway:
        await gateway.infer()
        results = await submit(gateway, *(spec() for _ in range(40)), spec(cache=ONLY))
        ended = [one.task.id for one in results if one.task.state == SUCCEEDED]
        asked = (await envelope(gateway, results[39].task.id)).cached_as
    assert 1 <= len(ended) <= 16
    assert results[40].task.state == QUEUED
    # For the scheduler to find: nobody has looked in vain.
    assert asked.digest and not asked.looked_up


async def test_tasks_over_a_limit_are_not_looked_up_and_those_that_end_at_once_take_no_room_of_others() -> (
    None
):
    policy = Policy(limits=(Limit(queued_tasks=2),))
    async with cached(tensor_runner(), policy=policy) as gateway:
        await gateway.infer()
        first = await submit(gateway, spec(), spec())
        # Both have ended: two others may wait.
        before = await gateway.metric(LOOKS, tier="memory", result="hit")
        second = await submit(gateway, spec(bytes(8)), spec(b"\1" * 8), spec())
        looked_up = await gateway.metric(LOOKS, tier="memory", result="hit") - before
    assert [one.task.state for one in first] == [SUCCEEDED] * 2
    assert [one.task.state for one in second[:2]] == [QUEUED] * 2
    assert second[2].error.code == code_pb2.RESOURCE_EXHAUSTED
    # Two equal ones are looked up as one.
    assert (before, looked_up) == (1, 0)


async def test_a_rate_holds_for_tasks_that_end_at_once_as_for_others() -> None:
    policy = Policy(limits=(Limit(rate=0.001, burst=5),))
    async with cached(tensor_runner(), policy=policy) as gateway:
        # Takes the first of five.
        await gateway.infer()
        critical = spec(priority=task_pb2.PRIORITY_CRITICAL)
        results = [one for _ in range(2) for one in await submit(gateway, *[critical] * 3)]
    assert [one.task.state for one in results[:4]] == [SUCCEEDED] * 4
    assert [one.error.code for one in results[4:]] == [code_pb2.RESOURCE_EXHAUSTED] * 2


async def test_a_tenant_that_has_had_its_bytes_of_answers_is_left_to_the_scheduler_and_refused_nothing() -> (
    None
):
    large = bytes(1 << 20)
    few = replace(ON, task_bytes_per_s=1, task_bytes_at_once=3 << 20)
    async with cached(tensor_runner(answer=answering_with(large)), cache=few) as gateway:
        await gateway.infer()
        # What is repeated under its key is written once, and spent once.
        for _ in range(8):
            [again] = await submit(gateway, spec(idempotency_key="k"))
        results = [(await submit(gateway, spec()))[0] for _ in range(8)]
        asked = (await envelope(gateway, results[-1].task.id)).cached_as
    assert again.task.state == SUCCEEDED
    # The last bytes may be overdrawn by one answer.
    assert [one.task.state for one in results] == [SUCCEEDED] * 2 + [QUEUED] * 6
    assert asked.digest and not asked.looked_up


@pytest.mark.parametrize(("broken", "left"), [("get", 2), ("create", 0)])
async def test_bytes_of_answers_that_were_certainly_not_written_are_given_back(
    broken: str, left: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = bytes(1 << 20)
    few = replace(ON, task_bytes_per_s=1, task_bytes_at_once=3 << 20)

    async def away(*_: Any) -> Any:
        raise RecordsUnavailable("away")

    async with cached(tensor_runner(answer=answering_with(large)), cache=few) as gateway:
        await gateway.infer()
        [parent] = await submit(gateway, spec())
        child = spec(bytes(8), depends_on=[task_pb2.Dependency(id=parent.task.id)])
        with monkeypatch.context() as patch:
            patch.setattr(gateway.store.records, broken, away)
            with pytest.raises(grpc.aio.AioRpcError):
                await submit(gateway, spec(), spec(), child)
        results = [(await submit(gateway, spec()))[0] for _ in range(4)]
    assert [one.task.state for one in results].count(SUCCEEDED) == left


async def test_a_mode_that_says_what_holds_without_it_is_the_same_request_under_a_key() -> None:
    async with cached(tensor_runner()) as gateway:
        [first] = await submit(gateway, spec(idempotency_key="k"))
        [same] = await submit(gateway, spec(idempotency_key="k", cache=DEFAULT))
        [other] = await submit(gateway, spec(idempotency_key="k", cache=BYPASS))
    assert same.task.id == first.task.id
    assert other.error.code == code_pb2.ALREADY_EXISTS


async def test_tasks_are_counted_as_submitted_once_however_often_their_key_is_repeated() -> None:
    async with cached(tensor_runner()) as gateway:
        for _ in range(3):
            await submit(gateway, spec(idempotency_key="k"), spec(idempotency_key="l"))
        counted = await gateway.metric(names.TASKS_SUBMITTED, level="normal")
    assert counted == 2


async def test_a_pause_holds_what_would_have_to_run_and_no_task_whose_answer_is_there() -> None:
    async with cached(tensor_runner()) as gateway:
        await gateway.infer()
        queues = queue_service_pb2_grpc.QueueServiceStub(gateway.system.channel)
        selector = queue_service_pb2.PauseSelector(pool="default")
        await queues.PauseQueue(queue_service_pb2.PauseQueueRequest(selector=selector), timeout=5)
        [hit, miss] = await submit(gateway, spec(), spec(bytes(8)))
    assert (hit.task.state, miss.task.state) == (SUCCEEDED, QUEUED)


async def test_a_mode_that_is_none_is_an_invalid_argument() -> None:
    async with cached(tensor_runner()) as gateway:
        [result] = await submit(gateway, spec(cache=9))
    assert result.error.code == code_pb2.INVALID_ARGUMENT


async def test_a_child_of_a_cached_task_does_not_wait_and_keeps_its_question() -> None:
    async with cached(tensor_runner()) as gateway:
        await gateway.infer()
        child = spec(bytes(8), depends_on=[task_pb2.Dependency(index=0)])
        parent, waiting = await submit(gateway, spec(), child)
        task = await get(gateway, waiting.task.id)
        asked = (await envelope(gateway, waiting.task.id)).cached_as
    assert parent.task.state == SUCCEEDED
    assert task.state == QUEUED
    assert asked.digest
    assert not asked.looked_up


async def test_a_cached_generation_is_streamed_as_it_came() -> None:
    runner = language_runner(never)
    async with cached(runner) as gateway:
        asked = asyncio.ensure_future(gateway.generate())
        await runner.until(lambda: len(runner.calls) == 1)
        for answer in said(runner.calls[0], "hel", "lo ", "world"):
            runner.send(answer)
        await asked
        question = task_pb2.TaskSpec(model="m", generate=inputs_pb2.GenerateInput(prompt="hello"))
        [result] = await submit(gateway, question)
        stream = gateway.system.tasks.StreamOutput(
            task_service_pb2.StreamOutputRequest(id=result.task.id), timeout=5
        )
        chunks = [chunk async for chunk in stream]
        task = await get(gateway, result.task.id)
    assert [chunk.text for chunk in chunks] == ["hel", "lo ", "world"]
    assert [chunk.sequence for chunk in chunks] == [1, 2, 3]
    assert (chunks[-1].state, chunks[-1].finish_reason) == (SUCCEEDED, inputs_pb2.FINISH_REASON_STOP)
    assert task.result.generate.text == "hello world"
    assert (task.result.usage.input_tokens, task.result.usage.cached_tokens) == (3, 3)
    assert len(runner.calls) == 1


async def test_what_one_tenant_left_answers_no_other(tmp_path: Path) -> None:
    acme, other = new_key(), new_key()
    keys = tmp_path / "keys"
    keys.write_text(f"{line_of(acme, 'acme')}\n{line_of(other, 'other')}\n")
    async with cached(tensor_runner(), keys=keys) as gateway:
        await gateway.infer(metadata=(("x-api-key", acme),))
        [own] = await submit(gateway, spec(), metadata=(("x-api-key", acme),))
        [foreign] = await submit(gateway, spec(), metadata=(("x-api-key", other),))
    assert (own.task.state, foreign.task.state) == (SUCCEEDED, QUEUED)


async def test_another_model_under_the_same_name_is_another_question() -> None:
    old, new = tensor_runner(), tensor_runner("new weights", id="r2")
    async with cached(old, later=new) as gateway:
        await gateway.infer()
        [before] = await submit(gateway, spec())
        await gateway.replace(old, new)
        # The gateway looks twice a second who is there.
        while (await submit(gateway, spec()))[0].task.state == SUCCEEDED:
            pass
    assert before.task.state == SUCCEEDED


async def test_a_task_is_answered_from_the_disk_after_a_restart(tmp_path: Path) -> None:
    settings = replace(ON, disk_folder=tmp_path / "cache")
    async with cached(tensor_runner(), cache=settings) as gateway:
        await gateway.infer()
    silent = tensor_runner(answer=never)
    async with cached(silent, cache=settings) as gateway:
        [result] = await submit(gateway, spec())
        assert result.task.state == SUCCEEDED
    assert silent.calls == []


async def test_what_is_kept_in_redis_answers_many_tasks_and_a_purge_of_their_tenant_ends_that(
    valkey_server: ValkeyServer,
) -> None:
    settings = replace(ON, redis_url=valkey_server.url)
    async with cached(tensor_runner(), cache=settings) as gateway:
        for number in range(20):
            await gateway.infer(raw=number.to_bytes(8, "little"))
    specs = [spec(number.to_bytes(8, "little")) for number in range(30)]
    async with cached(tensor_runner(answer=never), cache=settings) as gateway:
        results = await submit(gateway, *specs)
        assert [one.task.state for one in results] == [SUCCEEDED] * 20 + [QUEUED] * 10
        asked = (await envelope(gateway, results[-1].task.id)).cached_as
        client = connect(valkey_server.url, timeout_s=5.0)
        purge = Purge(9_000_000_000_000, namespace=asked.namespace)
        await RedisPurges(client, News(client)).add(purge, 9_000_000_000_000)
        await client.aclose()
        while SUCCEEDED in {one.task.state for one in await submit(gateway, *specs[:20])}:
            pass


async def test_tasks_are_accepted_as_ever_while_redis_is_gone(valkey_server: ValkeyServer) -> None:
    settings = replace(ON, redis_url=valkey_server.url)
    async with cached(tensor_runner(), cache=settings) as gateway:
        await gateway.infer()
        valkey_server.kill()
        results = await submit(gateway, spec(), spec(bytes(8)))
    assert [one.task.state for one in results] == [SUCCEEDED, QUEUED]


async def told(gateway: Cached, work_ms: float) -> None:
    """Let a scheduler tell what tasks of the model cost."""
    view = SchedulerView(
        pools=[PoolView(pool="default", costs=[CostView(model="m", work_ms=work_ms, execute_ms=work_ms)])]
    )
    await gateway.store.membership.announce(VIEW_ROLE, "s1", view.SerializeToString(), 60_000)


async def test_what_costs_less_than_looking_is_not_looked_for_and_swings_harm_nothing(
    collector: Collector,
) -> None:
    caller = (("traceparent", f"00-{TRACE}-b7ad6b7169203331-01"),)
    end = tracing.configure(names.SERVICE_GATEWAY, collector.endpoint)
    try:
        async with cached(tensor_runner()) as gateway:
            await gateway.infer()
            await told(gateway, 0.9)
            count = 0
            async with asyncio.timeout(10):
                # It hears of it within a second.
                while (await submit(gateway, spec()))[0].task.state == SUCCEEDED:
                    count += 1
            uncached = await gateway.metric(names.CACHE_UNCACHED, reason="LITTLE_WORK")
            tasks = [spec(), spec(cache=DEFAULT), spec(bytes(8)), spec(cache=BYPASS), spec(cache=REFRESH)]
            results = await submit(
                gateway, *tasks, spec(cache=ONLY), spec(bytes(8), cache=ONLY), metadata=caller
            )
            now_uncached = await gateway.metric(names.CACHE_UNCACHED, reason="LITTLE_WORK")
            bypassed = await gateway.metric(names.CACHE_UNCACHED, reason="BYPASS")
            kept = [await envelope(gateway, one.task.id) for one in results[:5]]
            await told(gateway, 1.1)
            async with asyncio.timeout(10):
                while (await submit(gateway, spec()))[0].task.state != SUCCEEDED:
                    count += 1
    finally:
        end()
    assert count > 0
    assert [one.task.state for one in results[:6]] == [QUEUED] * 5 + [SUCCEEDED]
    assert results[6].error.code == code_pb2.NOT_FOUND
    assert [one.HasField("cached_as") for one in kept] == [False] * 4 + [True]
    assert (uncached, now_uncached, bypassed) == (1, 4, 1)
    [span] = [one for one in collector.spans() if one.name == names.SPAN_CACHE and one.trace_id == TRACE]
    assert span.attributes[names.CACHE_OUTCOME] == "hit=1 asked_later=1 absent=1 bypassed=4"
    assert span.attributes[names.CACHE_REFUSAL] == "LITTLE_WORK=3 BYPASS=1"


async def test_where_the_setting_is_nought_every_task_is_looked_for() -> None:
    async with cached(tensor_runner(), cache=replace(ON, least_task_work_ms=0.0)) as gateway:
        await gateway.infer()
        await told(gateway, 0.01)
        [hit, miss] = await submit(gateway, spec(), spec(bytes(8)))
        asked = await envelope(gateway, miss.task.id)
    assert hit.task.state == SUCCEEDED
    assert asked.cached_as.looked_up
