"""A whole runner in one process, and gateways that hold real streams to it."""

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import grpc
import grpc.aio
import numpy as np
import pytest
from google.rpc import code_pb2, error_details_pb2

from forebay.dispatch.v1.dispatch_service_pb2 import AttachResponse
from forebay.runner.v1.runner_service_pb2 import (
    Answer,
    ExecuteRequest,
    ExecuteResponse,
    ReadStatisticsRequest,
)
from forebay.runner.v1.runner_service_pb2_grpc import RunnerServiceStub
from forebay.tasks.v1.task_pb2 import Result
from inference.engine import EngineKind, Request, RunCounts, RunSize, Update
from inference.runner.direct.call_table import CallTable
from inference.runner.direct.outbox import Outbox
from inference.runner.direct.stream import hold_stream
from inference.runner.stuck import EngineStuck
from scheduler.ports.records import Wanted
from scheduler.states import Level, TaskState
from services.lifecycle import CHANNEL_OPTIONS
from tests.unit.inference.runner.direct.gateways import (
    Gateway,
    gateway,
    generate_call,
    outcome,
    tensor_call,
)
from tests.unit.inference.runner.engine_threads import PreemptingEngine
from tests.unit.inference.runner.fakes import (
    LONGEST_WAIT_S,
    FakeEngine,
    assignment,
    embed_spec,
    generate_spec,
    new_task,
    tensor_spec,
)
from tests.unit.inference.runner.test_runner import Bench, running


def reason(answer: Answer) -> str:
    info = error_details_pb2.ErrorInfo()
    assert answer.error.details[0].Unpack(info)
    return str(info.reason)


async def address_of(bench: Bench) -> str:
    card = await bench.card()
    assert card is not None
    return card.runner.address


@asynccontextmanager
async def served(engine: FakeEngine, **given: Any) -> AsyncIterator[tuple[Bench, Gateway]]:
    async with running(engine, **given) as bench, gateway(await address_of(bench)) as one:
        yield bench, one


async def test_many_calls_of_one_message_are_answered_together() -> None:
    async with served(FakeEngine(capacity=64)) as (_, one):
        await one.send(*[tensor_call(number, float(number)) for number in range(1, 65)])
        ended = await one.answered(*range(1, 65))
        assert {
            number: np.frombuffer(answer.tensors.tensors[0].raw, np.float32)[0]
            for number, answer in ended.items()
        } == {number: float(number) for number in range(1, 65)}
        assert all(answer.started and answer.batch > 0 for answer in ended.values())
        assert len(one.responses) == 1


async def test_a_streamed_generation_comes_in_chunks_and_then_whole() -> None:
    async with served(FakeEngine(EngineKind.GENERATE)) as (_, one):
        await one.send(generate_call(1, 5, stream=True), generate_call(2, 5))
        ended = await one.answered(1, 2)
        chunks = [answer.chunk for answer in one.answers if outcome(answer) == "chunk"]
        assert {answer.id for answer in one.answers if outcome(answer) == "chunk"} == {1}
        assert "".join(chunk.text for chunk in chunks) == ended[1].generate.text == "abcde"
        assert [token for chunk in chunks for token in chunk.token_ids] == [0, 1, 2, 3, 4]
        assert [chunk.finish_reason for chunk in chunks][-1] == ended[1].generate.finish_reason
        assert (ended[2].usage.input_tokens, ended[2].usage.output_tokens) == (3, 5)
        assert ended[2].first_token_us >= 250_000


async def test_each_token_of_a_streamed_call_is_told_at_once() -> None:
    engine = FakeEngine(EngineKind.GENERATE)
    turn = threading.Semaphore(0)
    advance = engine.step

    def step() -> Sequence[Update]:
        return advance() if turn.acquire(timeout=0.002) else []

    engine.step = step  # type: ignore[method-assign]
    async with served(engine) as (_, one):
        await one.send(generate_call(1, 4, stream=True))
        for tokens in range(1, 4):
            # The next step waits for the token of this one to arrive.
            turn.release()
            await one.until(lambda tokens=tokens: len(one.answers) == tokens)  # type: ignore[misc]
        turn.release()
        await one.answered(1)


async def test_a_message_for_a_generating_model_is_acknowledged_before_anything_is_done() -> None:
    engine = FakeEngine(EngineKind.GENERATE)
    engine.go.clear()
    async with served(engine) as (_, one):
        await one.send(generate_call(1), generate_call(2))
        await one.until(lambda: len(one.responses) == 1)
        assert not one.answers
        assert one.responses[0].load.held == 2
        engine.go.set()
        await one.answered(1, 2)


async def test_a_message_for_a_slow_tensor_model_is_acknowledged_soon() -> None:
    engine = FakeEngine()
    engine.go.clear()
    async with served(engine) as (_, one):
        await one.send(tensor_call(1))
        await one.until(lambda: len(one.responses) == 1)
        assert not one.answers
        engine.go.set()
        await one.answered(1)
        assert one.responses[-1].load.held == 0


async def test_texts_become_vectors_on_both_ways() -> None:
    async with served(FakeEngine(EngineKind.EMBED)) as (bench, one):
        call = tensor_call(1)
        call.embed.texts.extend(["a b", "long enough"])
        call.embed.normalize = False
        await one.send(call)
        answer = (await one.answered(1))[1]
        assert [list(each.values) for each in answer.embed.embeddings] == [[3.0, 0.0], [11.0, 0.0]]
        assert [each.truncated for each in answer.embed.embeddings] == [False, True]
        assert answer.usage.input_tokens == 8
        [task_id] = await bench.assign(embed_spec("a b"))
        await bench.scheduler.until(lambda: len(bench.scheduler.settled) == 1)
        assert await bench.states([task_id]) == [TaskState.SUCCEEDED]
        [record] = await bench.store.records.get([task_id], True)
    assert record is not None
    result = Result.FromString(record.result)
    assert [list(each.values) for each in result.embed.embeddings] == [[3.0, 1.0]]
    assert result.usage.input_tokens == 4


async def test_what_does_not_fit_the_model_is_refused_with_every_fault_and_the_rest_is_executed() -> None:
    async with served(FakeEngine()) as (_, one):
        damaged = tensor_call(2)
        damaged.tensors.tensors[0].raw = b"abc"
        await one.send(tensor_call(1), damaged, generate_call(3), tensor_call(4))
        ended = await one.answered(1, 2, 3, 4)
        assert [outcome(ended[number]) for number in (1, 2, 3, 4)] == ["tensors", "error", "error", "tensors"]
        assert {ended[number].error.code for number in (2, 3)} == {code_pb2.INVALID_ARGUMENT}
        assert "tensors.tensors[0].raw" in ended[2].error.message
        assert "takes tensors" in ended[3].error.message
        assert {reason(ended[number]) for number in (2, 3)} == {"INVALID_INPUT"}
        assert not ended[2].started


async def test_a_cancelled_call_frees_the_engine_and_is_not_answered() -> None:
    engine = FakeEngine(EngineKind.GENERATE, capacity=1)
    async with served(engine) as (_, one):
        await one.send(generate_call(1, 1_000_000))
        await asyncio.to_thread(engine.stepped.wait, LONGEST_WAIT_S)
        await one.send(generate_call(2), cancelled=(1, 77))
        await one.answered(2)
        assert one.ended.keys() == {2}


@pytest.mark.parametrize("end", ["cancel", "half close"])
async def test_the_end_of_a_stream_frees_the_engine(end: str) -> None:
    engine = FakeEngine(EngineKind.GENERATE, capacity=1)
    async with served(engine) as (bench, one):
        await one.send(generate_call(1, 1_000_000), generate_call(2, 1_000_000))
        await asyncio.to_thread(engine.stepped.wait, LONGEST_WAIT_S)
        if end == "cancel":
            one.cancel()
        else:
            await one.done_writing()
            await one.until(lambda: one.end is grpc.StatusCode.OK)
        async with gateway(await address_of(bench)) as other:
            await other.send(generate_call(1))
            ended = await other.answered(1)
            assert ended[1].generate.text == "abc"
            assert other.responses[-1].load.held == 0


async def test_a_call_that_waits_past_its_deadline_is_never_begun_and_one_that_runs_is_stopped() -> None:
    engine = FakeEngine(EngineKind.GENERATE, capacity=1)
    async with served(engine) as (_, one):
        await one.send(generate_call(1, 1_000_000, timeout_ms=200))
        await asyncio.to_thread(engine.stepped.wait, LONGEST_WAIT_S)
        await one.send(generate_call(2, timeout_ms=20))
        ended = await one.answered(1, 2)
        assert [ended[number].error.code for number in (1, 2)] == [code_pb2.DEADLINE_EXCEEDED] * 2
        assert [ended[number].started for number in (1, 2)] == [True, False]
        await one.send(generate_call(3, timeout_ms=60_000))
        assert (await one.answered(3))[3].generate.text == "abc"
        assert len(engine.order) == 2


async def test_a_runner_that_goes_answers_what_it_began_and_refuses_the_rest_unstarted() -> None:
    engine = FakeEngine(EngineKind.GENERATE, capacity=1)
    engine.go.clear()
    async with served(engine) as (bench, one):
        await one.send(generate_call(1), generate_call(2))
        await asyncio.to_thread(engine.stepped.wait, LONGEST_WAIT_S)
        bench.stop.set()
        await one.answered(2)
        await one.send(generate_call(3))
        await one.answered(3)
        assert {(one.ended[number].error.code, one.ended[number].started) for number in (2, 3)} == {
            (code_pb2.UNAVAILABLE, False)
        }
        engine.go.set()
        await one.until(lambda: one.end is not None)
        assert one.ended[1].generate.text == "abc"
        assert one.end is grpc.StatusCode.UNAVAILABLE
    assert bench.usable


async def test_what_does_not_end_within_the_grace_period_is_answered_as_started() -> None:
    engine = FakeEngine(EngineKind.GENERATE, capacity=1)
    engine.go.clear()
    async with served(engine, grace_s=0.05) as (bench, one):
        await one.send(generate_call(1))
        await asyncio.to_thread(engine.stepped.wait, LONGEST_WAIT_S)
        bench.stop.set()
        answer = (await one.answered(1))[1]
        assert (answer.error.code, answer.started) == (code_pb2.UNAVAILABLE, True)
        await one.until(lambda: one.end is grpc.StatusCode.UNAVAILABLE)


async def test_an_idle_stream_is_ended_when_the_runner_goes() -> None:
    async with served(FakeEngine()) as (bench, one):
        await one.send(tensor_call(1))
        await one.answered(1)
        bench.stop.set()
        await one.until(lambda: one.end is grpc.StatusCode.UNAVAILABLE)


async def test_an_engine_that_is_stuck_ends_its_calls_too() -> None:
    engine = FakeEngine(capacity=2)
    entered, release = threading.Event(), threading.Event()

    def step() -> Sequence[Update]:
        entered.set()
        release.wait(LONGEST_WAIT_S)
        return []

    engine.step = step  # type: ignore[method-assign]
    with pytest.raises(ExceptionGroup) as caught:
        async with served(engine, hard_kill_after_s=0.02) as (_, one):
            await one.send(*[tensor_call(number) for number in (1, 2, 3)])
            await asyncio.to_thread(entered.wait, LONGEST_WAIT_S)
            await one.send(cancelled=(1,))
            ended = await one.answered(2, 3)
            assert [ended[number].started for number in (2, 3)] == [True, False]
            await asyncio.Event().wait()
    release.set()
    assert caught.group_contains(EngineStuck)


@pytest.mark.parametrize("direct", [Level.CRITICAL, Level.LOW])
async def test_the_higher_level_enters_first_whichever_way_it_came(direct: Level) -> None:
    durable = Level.LOW if direct is Level.CRITICAL else Level.CRITICAL
    engine = FakeEngine(EngineKind.GENERATE, capacity=1)
    engine.go.clear()
    async with served(engine) as (bench, one):
        await one.send(generate_call(1))
        await asyncio.to_thread(engine.stepped.wait, LONGEST_WAIT_S)
        sent = assignment(generate_spec(), level=durable)
        await bench.store.records.create([new_task(sent)])
        await bench.store.records.lease([Wanted(sent.envelope.id, 1)], "runner-1", 10_000)
        bench.scheduler.orders.put_nowait(AttachResponse(assignments=[sent]))
        await one.send(generate_call(2, level=direct))
        # Both wait in the runner once it says that it holds three, which it does with every answer: also with that to a
        # call that it refuses.
        number = 100
        while not one.responses or one.responses[-1].load.held < 3:
            number += 1
            await one.send(tensor_call(number))
            await one.answered(number)
        engine.go.set()
        await one.answered(1, 2)
        await bench.scheduler.until(lambda: len(bench.scheduler.settled) == 1)
    ways = ["durable" if "#" in key else "direct" for key in engine.order[1:]]
    assert ways == (["direct", "durable"] if direct is Level.CRITICAL else ["durable", "direct"])


class PausingEngine(PreemptingEngine):
    """Says when a CRITICAL call has come in although no place was free."""

    def __init__(self) -> None:
        super().__init__(capacity=1)
        self.came_in = threading.Event()

    def admit(self, key: str, request: Request) -> None:
        super().admit(key, request)
        if self.levels[key] is Level.CRITICAL:
            self.came_in.set()


async def test_a_critical_call_takes_the_place_of_a_leased_task_that_runs() -> None:
    engine = PausingEngine()
    engine.go.clear()
    async with served(engine) as (bench, one):
        await bench.assign(generate_spec())
        await asyncio.to_thread(engine.stepped.wait, LONGEST_WAIT_S)
        await one.send(generate_call(1, level=Level.CRITICAL))
        assert await asyncio.to_thread(engine.came_in.wait, LONGEST_WAIT_S)
        engine.go.set()
        await one.answered(1)
        await bench.scheduler.until(lambda: len(bench.scheduler.settled) == 1)


class CountingEngine(FakeEngine):
    def counts(self) -> RunCounts:
        return RunCounts(7, {2: RunSize(3, 0.1, 0.2, 0.3), 1: RunSize(1)}, 0.5, 0.6, 0.7)


async def test_every_request_is_counted_once_whichever_way_it_came() -> None:
    async with served(CountingEngine()) as (bench, one):
        await one.send(tensor_call(1), tensor_call(2), generate_call(3))
        await one.answered(1, 2, 3)
        await bench.assign(tensor_spec(), tensor_spec(), generate_spec())
        await bench.scheduler.until(lambda: len(bench.scheduler.settled) == 3)
        async with grpc.aio.insecure_channel(await address_of(bench)) as channel:
            told = await RunnerServiceStub(channel).ReadStatistics(
                ReadStatisticsRequest(), timeout=LONGEST_WAIT_S
            )
    assert (told.success.count, told.fail.count, told.queue.count) == (4, 2, 4)
    assert told.success.ns >= told.queue.ns
    assert told.last_request_ms > 1_700_000_000_000
    assert (told.model, told.inferences, told.executions) == ("m", 7, 4)
    assert [(each.rows, each.compute_infer.count) for each in told.batches] == [(1, 1), (2, 3)]
    assert (told.batches[1].compute_infer.ns, told.compute_output.ns) == (200_000_000, 700_000_000)


async def test_a_gateway_that_reads_nothing_is_given_up_and_others_go_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given_up = asyncio.Event()
    close = CallTable.close

    def note(calls: CallTable, outbox: Outbox) -> None:
        close(calls, outbox)
        given_up.set()

    monkeypatch.setattr(CallTable, "close", note)
    monkeypatch.setattr("inference.runner.service.hold_stream", partial(hold_stream, write_deadline_s=0.2))
    async with served(FakeEngine()) as (bench, one):
        address = await address_of(bench)
        async with grpc.aio.insecure_channel(address, options=CHANNEL_OPTIONS) as channel:
            deaf = RunnerServiceStub(channel).Execute()
            call = tensor_call(0)
            call.tensors.tensors[0].shape[:] = [1 << 20]
            call.tensors.tensors[0].raw = bytes(4 << 20)
            for number in range(1, 9):
                call.id = number
                await deaf.write(ExecuteRequest(calls=[call]))
            await given_up.wait()
            await one.send(tensor_call(1))
            await one.answered(1)
            assert one.responses[-1].load.held == 0
            # Now it reads after all.
            async with asyncio.timeout(LONGEST_WAIT_S):
                with pytest.raises(grpc.aio.AioRpcError) as told:
                    while isinstance(await deaf.read(), ExecuteResponse):
                        pass
            assert told.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_a_number_that_is_in_use_ends_the_stream() -> None:
    engine = FakeEngine()
    engine.go.clear()
    async with served(engine) as (_, one):
        await one.send(tensor_call(1), tensor_call(1))
        await one.until(lambda: one.end is grpc.StatusCode.INVALID_ARGUMENT)
        engine.go.set()
