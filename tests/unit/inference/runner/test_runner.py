"""A whole runner in one process: a made-up scheduler over real gRPC, stores in memory, a made-up engine."""

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import grpc.aio
import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

from forebay.dispatch.v1.dispatch_service_pb2 import Assignment, AttachRequest, AttachResponse, Settled
from forebay.dispatch.v1.dispatch_service_pb2_grpc import (
    DispatchServiceServicer,
    add_DispatchServiceServicer_to_server,
)
from forebay.models.v1 import model_service_pb2 as models
from forebay.runner.v1.runner_service_pb2 import WatchStatusRequest, WatchStatusResponse
from forebay.runner.v1.runner_service_pb2_grpc import RunnerServiceStub
from forebay.tasks.v1.task_service_pb2 import StreamOutputResponse
from inference.engine import Engine, EngineKind, GenerationStats, StepTimes, Update
from inference.runner.runner import Runner, Stores
from inference.runner.settings import RunnerSettings
from inference.runner.stuck import EngineHung, EngineStuck
from inference.runner.terms import LEAST_TOGETHER
from observability.metrics import RunnerMetrics, new_registry
from scheduler.adapters.clock import SystemClock
from scheduler.adapters.memory import MemoryStore
from scheduler.errors import ModelUnusable
from scheduler.policies.policy import DEFAULT_POLICY
from scheduler.ports.records import Wanted
from scheduler.states import TaskState
from services.lifecycle import Service, grpc_server

from .fakes import LONGEST_WAIT_S, FakeEngine, assignment, generate_spec, new_task, tensor_spec


class FakeScheduler(DispatchServiceServicer):
    """Writes down what runners say; assigns what a test gives it."""

    def __init__(self) -> None:
        self.requests: list[AttachRequest] = []
        self.credits = 0
        self.settled: list[Settled] = []
        self.streams = 0
        self.news = asyncio.Event()
        self.orders: asyncio.Queue[AttachResponse | None] = asyncio.Queue()

    async def Attach(
        self,
        request_iterator: AsyncIterator[AttachRequest],
        context: "grpc.aio.ServicerContext[AttachRequest, AttachResponse]",
    ) -> AsyncIterator[AttachResponse]:
        self.streams += 1
        yield AttachResponse(lease_ms=10_000)
        async with asyncio.TaskGroup() as group:
            reading = group.create_task(self._read(request_iterator))
            while (order := await self.orders.get()) is not None:
                yield order
            reading.cancel()

    async def _read(self, requests: AsyncIterator[AttachRequest]) -> None:
        async for request in requests:
            self.requests.append(request)
            self.credits += request.credits
            self.settled += request.settled
            if request.leaving:
                self.orders.put_nowait(AttachResponse(no_more=True))
            self.news.set()
        self.orders.put_nowait(None)

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(LONGEST_WAIT_S):
            while not condition():
                self.news.clear()
                await self.news.wait()


class Bench:
    """A runner that runs, what surrounds it, and the way to end it."""

    def __init__(self, engine: FakeEngine) -> None:
        self.engine = engine
        self.store = MemoryStore(SystemClock())
        self.scheduler = FakeScheduler()
        self.stop = asyncio.Event()
        self.usable: bool | None = None
        self.hard_kill_after_s = 10.0
        self.watchdog_s = 0.0
        self.credits = 0

    def runner(self, open_engine: Callable[[Callable[[str], None]], Engine], grace_s: float) -> Runner:
        return Runner(
            RunnerSettings(
                model="m",
                path=Path("m"),
                id="runner-1",
                credits=self.credits,
                grace_s=grace_s,
                hard_kill_after_s=self.hard_kill_after_s,
            ),
            Stores(self.store.records, self.store.records, self.store.membership, self.store.policies),
            SystemClock(),
            DEFAULT_POLICY,
            RunnerMetrics(new_registry(), "m"),
            open_engine,
            watchdog_s=self.watchdog_s,
        )

    async def assign(self, *specs: object) -> list[str]:
        sent: list[Assignment] = [assignment(spec) for spec in specs]  # type: ignore[arg-type]
        await self.store.records.create([new_task(one) for one in sent])
        await self.store.records.lease([Wanted(one.envelope.id, 1) for one in sent], "runner-1", 10_000)
        self.scheduler.orders.put_nowait(AttachResponse(assignments=sent))
        return [one.envelope.id for one in sent]

    async def states(self, ids: list[str]) -> list[TaskState]:
        return [record.state for record in await self.store.records.get(ids, False) if record]

    async def card(self) -> WatchStatusResponse | None:
        cards = dict(await self.store.membership.members("runner"))
        return WatchStatusResponse.FromString(cards["runner-1"]) if "runner-1" in cards else None


@asynccontextmanager
async def running(
    engine: FakeEngine,
    *,
    grace_s: float = 5.0,
    hard_kill_after_s: float = 10.0,
    watchdog_s: float = 0.0,
    credits: int = 0,
) -> AsyncIterator[Bench]:
    bench = Bench(engine)
    bench.credits = credits
    bench.hard_kill_after_s = hard_kill_after_s
    bench.watchdog_s = watchdog_s
    service = Service(
        "forebay.dispatch.v1.DispatchService",
        lambda server: add_DispatchServiceServicer_to_server(bench.scheduler, server),
    )
    async with grpc_server("127.0.0.1:0", [service], grace_s=0) as server, asyncio.TaskGroup() as group:
        await bench.store.membership.announce("scheduler", "s", server.address.encode(), 60_000)
        task = group.create_task(bench.runner(lambda report: engine, grace_s).run(bench.stop))
        await bench.scheduler.until(lambda: bench.scheduler.credits > 0)
        yield bench
        bench.stop.set()
        bench.usable = await asyncio.wait_for(task, LONGEST_WAIT_S)


async def test_it_attaches_executes_writes_settles_and_returns_the_credit() -> None:
    async with running(FakeEngine(), credits=1024) as b:
        scheduler = b.scheduler
        assert scheduler.credits == 1024
        hello = scheduler.requests[0].hello
        assert (hello.runner, hello.model, hello.pool) == ("runner-1", "m", "default")
        assert (hello.zone, hello.weight, hello.slots, hello.reserve) == ("", 100, 8, 0)
        ids = await b.assign(*[tensor_spec() for _ in range(200)])
        await scheduler.until(lambda: len(scheduler.settled) == 200)
        assert set(await b.states(ids)) == {TaskState.SUCCEEDED}
        assert all(one.cost.execute_us >= one.cost.work_us >= 0 for one in scheduler.settled)
        assert all(one.HasField("cost") and not one.failed for one in scheduler.settled)
        assert {one.fate for one in scheduler.settled} == {Settled.FATE_TERMINAL}
        assert sum(request.credits for request in scheduler.requests) == 1024 + 200
        assert len(scheduler.requests) < 60


async def test_of_quick_tasks_more_are_taken_ahead_as_soon_as_some_have_ended() -> None:
    async with running(FakeEngine()) as b:
        scheduler = b.scheduler
        assert scheduler.credits == LEAST_TOGETHER
        assert scheduler.requests[0].hello.reserve == 1
        await b.assign(*[tensor_spec() for _ in range(LEAST_TOGETHER)])
        await scheduler.until(lambda: scheduler.credits > 3 * LEAST_TOGETHER)


async def test_a_generation_is_streamed_and_grants_twice_its_capacity() -> None:
    async with running(FakeEngine(EngineKind.GENERATE, capacity=3)) as b:
        assert b.scheduler.credits == 6
        [task_id] = await b.assign(generate_spec(max_tokens=40))
        await b.scheduler.until(lambda: len(b.scheduler.settled) == 1)
        payloads = [payload for _, payload in await b.store.records.output(task_id, 0, 1000)]
    chunks = [StreamOutputResponse.FromString(payload) for payload in payloads]
    assert "".join(chunk.text for chunk in chunks) == "abcdefghijklmnopqrstuvwxyzabcdefghijklmn"
    assert [token for chunk in chunks for token in chunk.token_ids] == list(range(40))
    assert len(chunks) < 40


async def test_a_cancel_from_the_scheduler_frees_the_engine() -> None:
    engine = FakeEngine(EngineKind.GENERATE, capacity=1)
    async with running(engine) as b:
        engine.go.clear()
        ids = await b.assign(generate_spec())
        b.scheduler.orders.put_nowait(AttachResponse(cancelled=ids))
        await b.scheduler.until(lambda: len(b.scheduler.settled) == 1)
        engine.go.set()
        [again] = await b.assign(generate_spec())
        await b.scheduler.until(lambda: len(b.scheduler.settled) == 2)
        assert await b.states([again]) == [TaskState.SUCCEEDED]


async def test_a_broken_stream_is_dialled_again_and_work_goes_on() -> None:
    async with running(FakeEngine()) as b:
        b.scheduler.orders.put_nowait(None)
        await b.scheduler.until(lambda: sum(r.HasField("hello") for r in b.scheduler.requests) == 2)
        ids = await b.assign(tensor_spec())
        await b.scheduler.until(lambda: len(b.scheduler.settled) == 1)
        assert await b.states(ids) == [TaskState.SUCCEEDED]


async def test_draining_finishes_what_runs_and_hands_back_the_rest() -> None:
    engine = FakeEngine(EngineKind.GENERATE, capacity=1)
    async with running(engine) as b:
        engine.go.clear()
        runs, waits = await b.assign(generate_spec(), generate_spec())
        await asyncio.to_thread(engine.stepped.wait, LONGEST_WAIT_S)
        b.stop.set()
        await b.scheduler.until(lambda: len(b.scheduler.settled) == 1)
        engine.go.set()
        await b.scheduler.until(lambda: len(b.scheduler.settled) == 2)
    fates = {one.id: one.fate for one in b.scheduler.settled}
    assert fates == {waits: Settled.FATE_RETURNED, runs: Settled.FATE_TERMINAL}
    assert b.usable
    assert await b.card() is None
    assert engine.closed.is_set()
    assert sum(request.credits for request in b.scheduler.requests) <= 2


async def test_what_does_not_end_within_the_grace_period_is_handed_back_too() -> None:
    engine = FakeEngine(EngineKind.GENERATE, capacity=1)
    async with running(engine, grace_s=0.05) as b:
        engine.go.clear()
        ids = await b.assign(generate_spec())
        await asyncio.to_thread(engine.stepped.wait, LONGEST_WAIT_S)
    assert [(one.id, one.fate) for one in b.scheduler.settled] == [(ids[0], Settled.FATE_RETURNED)]


async def test_health_and_status_follow_its_life() -> None:
    async with running(FakeEngine(capacity=5)) as b:
        card = await b.card()
        assert card is not None
        async with grpc.aio.insecure_channel(card.runner.address) as channel:
            stream = RunnerServiceStub(channel).WatchStatus(WatchStatusRequest(), timeout=LONGEST_WAIT_S)
            states = aiter(stream)
            first = await anext(states)
            assert first.runner.state == models.RUNNER_STATE_READY
            assert (first.runner.capacity, first.runner.engine) == (5, models.ENGINE_KIND_TENSOR)
            assert first.model.ready_runners == 1
            health = await HealthStub(channel).Check(HealthCheckRequest(), timeout=LONGEST_WAIT_S)
            assert health.status == HealthCheckResponse.SERVING
            b.stop.set()
            assert [one.runner.state async for one in states][:1] == [models.RUNNER_STATE_DRAINING]


async def test_a_model_that_cannot_be_loaded_is_announced_with_the_reason() -> None:
    def broken(report: Callable[[str], None]) -> Engine:
        raise ModelUnusable("m.onnx is not a model")

    bench = Bench(FakeEngine())
    assert await asyncio.wait_for(bench.runner(broken, 1).run(bench.stop), LONGEST_WAIT_S) is False
    card = await bench.card()
    assert card is not None
    assert card.runner.state == models.RUNNER_STATE_FAILED
    assert card.runner.reason == "m.onnx is not a model"
    assert list(card.model.failures) == ["m.onnx is not a model"]


async def test_a_fault_of_the_loader_itself_makes_the_model_unusable_too(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(report: Callable[[str], None]) -> Engine:
        raise RuntimeError("bug")

    bench = Bench(FakeEngine())
    with caplog.at_level(logging.CRITICAL):
        assert await asyncio.wait_for(bench.runner(broken, 1).run(bench.stop), LONGEST_WAIT_S) is False
    card = await bench.card()
    assert card is not None
    assert card.runner.reason == "m cannot be loaded: RuntimeError"


async def test_an_engine_that_breaks_ends_the_runner() -> None:
    with pytest.raises(ExceptionGroup) as caught:
        async with running(FakeEngine(EngineKind.GENERATE)) as b:
            await b.assign(generate_spec("crash"))
            await asyncio.Event().wait()
    assert caught.group_contains(RuntimeError, match="the engine is broken")


async def test_a_stuck_engine_ends_the_runner_after_all_else_is_handed_back() -> None:
    engine = FakeEngine(capacity=2)
    entered, release = threading.Event(), threading.Event()

    def step() -> Sequence[Update]:
        entered.set()
        release.wait(LONGEST_WAIT_S)
        return []

    engine.step = step  # type: ignore[method-assign]
    with pytest.raises(ExceptionGroup) as caught:
        async with running(engine, hard_kill_after_s=0.02) as b:
            stuck, neighbour, waits = await b.assign(*[tensor_spec() for _ in range(3)])
            await asyncio.to_thread(entered.wait, LONGEST_WAIT_S)
            await b.store.records.cancel([stuck], "t", b"", b"")
            b.scheduler.orders.put_nowait(AttachResponse(cancelled=[stuck]))
            await b.scheduler.until(lambda: len(b.scheduler.settled) == 3)
            await asyncio.Event().wait()
    release.set()
    assert caught.group_contains(EngineStuck)
    assert {one.id: one.fate for one in b.scheduler.settled} == {
        stuck: Settled.FATE_TERMINAL,
        neighbour: Settled.FATE_RETURNED,
        waits: Settled.FATE_RETURNED,
    }


async def test_what_a_hung_step_ran_stays_leased_for_the_agent_and_the_rest_is_handed_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    engine = FakeEngine(capacity=2)
    release = threading.Event()

    def step() -> Sequence[Update]:
        release.wait(LONGEST_WAIT_S)
        return []

    engine.step = step  # type: ignore[method-assign]
    with caplog.at_level(logging.ERROR), pytest.raises(ExceptionGroup) as caught:
        async with running(engine, watchdog_s=0.05) as b:
            first, second, waits = await b.assign(*[tensor_spec() for _ in range(3)])
            await asyncio.Event().wait()
    release.set()
    assert caught.group_contains(EngineHung)
    assert [(one.id, one.fate) for one in b.scheduler.settled] == [(waits, Settled.FATE_RETURNED)]
    assert await b.states([first, second]) == [TaskState.RUNNING, TaskState.RUNNING]
    assert len([record for record in caplog.records if record.message.startswith("engine stuck")]) == 1


async def test_the_card_of_a_runner_tells_what_its_language_model_can_do() -> None:
    class Reporting(FakeEngine):
        times = StepTimes()

        def stats(self) -> GenerationStats:
            return GenerationStats(kv_capacity=192)

    engine = Reporting(EngineKind.GENERATE, capacity=3)
    engine.card = replace(engine.card, batch_invariant=True)
    async with running(engine) as b:
        card = await b.card()
    assert card is not None
    assert (card.runner.capacity, card.runner.cache_tokens, card.runner.batch_invariant) == (3, 192, True)
    assert card.model.context_length == 64
