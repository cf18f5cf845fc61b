"""Each call that is taken is answered once, or forgotten because nobody waits for it."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.rpc import code_pb2

from forebay.runner.v1.runner_service_pb2 import Answer, Call, ExecuteRequest, Load
from forebay.tasks.v1 import task_pb2
from inference.engine import (
    Chunk,
    Done,
    EngineKind,
    Failed,
    Finish,
    TensorOutput,
    TensorRequest,
    WantedOutput,
)
from inference.journal import JournalWriter, read_journal
from inference.runner.direct import answers, call_table
from inference.runner.direct.call_table import CallTable
from inference.runner.direct.held_call import HeldCall
from inference.runner.direct.outbox import Outbox
from inference.runner.direct.reading import read_call
from inference.runner.direct.stream import hold_stream
from inference.runner.tally import Tally
from inference.runner.telemetry import Telemetry
from observability import names, tracing
from observability.metrics import RunnerMetrics, new_registry
from scheduler.errors import ModelFailed, Overloaded
from scheduler.states import Level
from tests.unit.inference.runner.direct.gateways import generate_call, outcome, tensor_call
from tests.unit.inference.runner.fakes import LONGEST_WAIT_S

PARENT = "00-" + "1" * 32 + "-" + "2" * 16 + "-01"


class Executor:
    """Keeps what it is given; a test plays the engine."""

    def __init__(self) -> None:
        self.admitted: list[HeldCall] = []
        self.cancelled: list[str] = []
        self.raised: list[tuple[str, Level]] = []
        self.news = asyncio.Event()

    def admit(self, tasks: Sequence[HeldCall]) -> None:
        self.admitted += tasks
        self.news.set()

    def cancel(self, keys: Sequence[str]) -> None:
        self.cancelled += keys

    def raise_level(self, key: str, level: Level) -> None:
        self.raised.append((key, level))


class Bench:
    """The calls of a runner whose engine is a test."""

    def __init__(self, kind: EngineKind = EngineKind.TENSOR, **given: Any) -> None:
        self.executor = Executor()
        self.tally = Tally("m", 0)
        telemetry = Telemetry(RunnerMetrics(new_registry(), "m"), model="m", provider="CPU", runner="r-1")
        self.calls = CallTable(kind, "m", self.executor, telemetry, self.tally, self._weigh, **given)

    def _weigh(self, load: Load) -> None:
        load.held = len(self.calls)

    def send(self, outbox: Outbox, *calls: Call, cancelled: Sequence[int] = ()) -> list[HeldCall]:
        before = len(self.executor.admitted)
        self.calls.received(outbox, ExecuteRequest(calls=calls, cancelled=cancelled))
        return self.executor.admitted[before:]


async def told(outbox: Outbox) -> list[Answer]:
    async with asyncio.timeout(LONGEST_WAIT_S):
        response = await outbox.next_response()
    assert response is not None
    return list(response.answers)


def done(call: HeldCall, value: float = 1.0, batch: int = 0) -> Done:
    call.admitted_s, call.execute_s = call.received_s + 0.5, 0.25
    return Done(call.key, TensorOutput({"y": np.full(1, value, np.float32)}), batch=batch)


async def test_answers_go_to_the_stream_that_the_call_came_by() -> None:
    bench = Bench()
    first, second = bench.calls.open(), bench.calls.open()
    [one] = bench.send(first, tensor_call(1))
    [other] = bench.send(second, tensor_call(1))
    assert one.key != other.key
    assert bench.calls.updated([done(other, batch=2), Done("task#1", TensorOutput({})), done(one)]) == [
        Done("task#1", TensorOutput({}))
    ]
    [answer] = await told(second)
    assert (answer.id, answer.batch, answer.queue_us, answer.execute_us) == (1, 2, 500_000, 250_000)
    assert len(await told(first)) == 1
    assert len(bench.calls) == 0


async def test_a_call_that_became_more_urgent_is_raised_where_it_waits_and_an_unknown_one_is_passed_over() -> (
    None
):
    bench = Bench()
    outbox, other = bench.calls.open(), bench.calls.open()
    [job] = bench.send(outbox, tensor_call(1, level=Level.LOW))
    bench.send(other, tensor_call(1, level=Level.LOW))
    request = ExecuteRequest()
    request.raised.add(id=1, priority=task_pb2.PRIORITY_HIGH)
    request.raised.add(id=2, priority=task_pb2.PRIORITY_HIGH)
    bench.calls.received(outbox, request)
    assert bench.executor.raised == [(job.key, Level.HIGH)]


async def test_what_a_call_asks_for_reaches_the_engine() -> None:
    bench = Bench()
    call = tensor_call(1, level=Level.HIGH, timeout_ms=1500, traceparent=PARENT)
    call.outputs.add(name="y", classes=3)
    call.sequence.id = "s"
    call.sequence.end = True
    [job] = bench.send(bench.calls.open(), call)
    assert isinstance(job.request, TensorRequest)
    assert (job.level, job.request.level, job.request.tenant) == (Level.HIGH, Level.HIGH, "t")
    assert job.request.outputs == (WantedOutput("y", 3),)
    assert job.request.sequence is not None
    assert (job.request.sequence.id, job.request.sequence.start, job.request.sequence.end) == (
        "s",
        False,
        True,
    )
    assert job.due_s - job.received_s == pytest.approx(1.5)
    assert job.traceparent == PARENT
    assert "#" not in job.key


@pytest.mark.parametrize("limits", [{"most_calls": 2}, {"most_bytes": 8}])
async def test_more_than_may_be_held_is_refused_to_be_tried_elsewhere(limits: dict[str, Any]) -> None:
    bench = Bench(**limits)
    outbox = bench.calls.open()
    jobs = bench.send(outbox, *[tensor_call(number) for number in (1, 2, 3)])
    assert [job.id for job in jobs] == [1, 2]
    [refused] = await told(outbox)
    assert (refused.id, refused.error.code, refused.started) == (3, code_pb2.RESOURCE_EXHAUSTED, False)
    bench.calls.updated([done(jobs[0])])
    assert len(bench.send(outbox, tensor_call(4))) == 1


async def test_a_failure_of_the_model_is_told_with_its_reason_and_that_it_was_started() -> None:
    bench = Bench()
    outbox = bench.calls.open()
    [job] = bench.send(outbox, tensor_call(1))
    job.admitted_s = job.received_s
    bench.calls.updated([Failed(job.key, ModelFailed("no luck"))])
    [answer] = await told(outbox)
    assert (answer.error.code, answer.error.message, answer.started) == (code_pb2.UNKNOWN, "no luck", True)


async def test_a_fault_in_reading_a_call_concerns_nobody_else(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    read = read_call

    def faulty(call: Call, *given: Any) -> HeldCall:
        if call.id == 2:
            raise ValueError("a part of the input")
        return read(call, *given)

    monkeypatch.setattr(call_table, "read_call", faulty)
    bench = Bench()
    outbox = bench.calls.open()
    assert [job.id for job in bench.send(outbox, *map(tensor_call, (1, 2, 3)))] == [1, 3]
    [answer] = await told(outbox)
    assert (answer.id, answer.started) == (2, False)
    assert "a part of" not in answer.error.message
    assert "call not read" in caplog.messages


async def test_a_call_that_is_cancelled_twice_is_forgotten_once() -> None:
    bench = Bench()
    outbox = bench.calls.open()
    [job] = bench.send(outbox, tensor_call(1))
    bench.send(outbox, cancelled=[1, 1, 9])
    bench.send(outbox, cancelled=[1])
    assert bench.executor.cancelled == [job.key]
    assert len(bench.calls) == 0


async def test_the_text_of_an_unknown_error_is_not_shown() -> None:
    bench = Bench()
    outbox = bench.calls.open()
    [job] = bench.send(outbox, tensor_call(1))
    bench.calls.updated([Failed(job.key, RuntimeError("a part of the input"))])
    [answer] = await told(outbox)
    assert "input" in answer.error.message
    assert "a part of" not in answer.error.message


async def test_an_output_that_no_message_can_carry_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "LARGEST_RESULT_BYTES", 3)
    bench = Bench()
    outbox = bench.calls.open()
    [job] = bench.send(outbox, tensor_call(1))
    bench.calls.updated([done(job)])
    [answer] = await told(outbox)
    assert outcome(answer) == "error"
    assert "4 bytes" in answer.error.message
    assert bench.tally.statistics(None).fail.count == 1


async def test_an_output_that_is_far_too_large_is_refused_without_a_copy_of_it() -> None:
    bench = Bench()
    outbox = bench.calls.open()
    [job, other] = bench.send(outbox, tensor_call(1), tensor_call(2))
    terabyte = np.broadcast_to(np.float32(0), (1 << 38,))
    bench.calls.updated([Done(job.key, TensorOutput({"y": terabyte})), done(other)])
    answers = {answer.id: answer for answer in await told(outbox)}
    assert f"{1 << 40} bytes" in answers[1].error.message
    assert outcome(answers[2]) == "tensors"


async def test_chunks_of_one_step_are_one_answer_of_the_call_and_its_choices_stay_apart() -> None:
    bench = Bench(EngineKind.GENERATE)
    outbox = bench.calls.open()
    [job, whole] = bench.send(outbox, generate_call(1, stream=True), generate_call(2))
    bench.calls.updated(
        [
            Chunk(job.key, "a", [1]),
            Chunk(whole.key, "never told", [1]),
            Chunk(job.key, "x", [7], index=1, finish=Finish.STOP),
            Chunk(job.key, "b", [2], finish=Finish.LENGTH),
        ]
    )
    [answer] = await told(outbox)
    assert (answer.chunk.text, list(answer.chunk.token_ids), answer.chunk.finish_reason) == ("ab", [1, 2], 2)
    [other] = answer.chunk.others
    assert (other.index, other.text, list(other.token_ids), other.finish_reason) == (1, "x", [7], 1)


async def test_the_end_of_a_stream_cancels_what_is_left_of_it_and_nothing_else() -> None:
    bench = Bench()
    first, second = bench.calls.open(), bench.calls.open()
    jobs = bench.send(first, tensor_call(1), tensor_call(2))
    [kept] = bench.send(second, tensor_call(1))
    bench.calls.updated([done(jobs[0])])
    bench.calls.close(first)
    assert bench.executor.cancelled == [jobs[1].key]
    assert bench.calls.updated([done(jobs[1])]) == [done(jobs[1])]
    bench.calls.updated([done(kept)])
    assert len(await told(second)) == 1


async def test_streams_are_ended_once_their_gateways_have_had_the_time_to_leave() -> None:
    bench = Bench()
    leaves, stays = bench.calls.open(), bench.calls.open()
    bench.calls.drain()
    bench.send(leaves, tensor_call(1))
    [refused] = await told(leaves)
    assert (refused.error.code, refused.started) == (code_pb2.UNAVAILABLE, False)
    async with asyncio.timeout(LONGEST_WAIT_S), asyncio.TaskGroup() as group:
        finishing = group.create_task(bench.calls.finish(3600.0))
        await asyncio.sleep(0)
        bench.calls.close(leaves)
        await asyncio.sleep(0)
        assert not finishing.done()
        bench.calls.close(stays)
    stays = bench.calls.open()
    await bench.calls.finish(0)
    assert await stays.next_response() is None


async def test_the_journal_knows_that_calls_are_held(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    bench = Bench(journal=JournalWriter(path))
    [job] = bench.send(bench.calls.open(), tensor_call(1))
    assert read_journal(path).held_calls
    bench.calls.updated([done(job)])
    assert not read_journal(path).held_calls


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    written: list[dict[str, Any]] = []
    monkeypatch.setattr(tracing, "enabled", lambda: True)

    def emit(name: str, **given: Any) -> str:
        written.append({"name": name, **given})
        return ""

    monkeypatch.setattr(tracing, "emit", emit)
    return written


async def test_a_traced_call_has_a_span_below_its_gateways_and_others_have_none(
    spans: list[dict[str, Any]],
) -> None:
    bench = Bench(EngineKind.GENERATE)
    outbox = bench.calls.open()
    traced, failing, silent = bench.send(
        outbox,
        generate_call(1, traceparent=PARENT),
        generate_call(2, traceparent=PARENT),
        generate_call(3),
    )
    bench.calls.updated([done(traced), Failed(failing.key, ModelFailed("no")), done(silent)])
    assert [(span["name"], span["parent"], span["failed"]) for span in spans] == [
        ("text_completion m", PARENT, ""),
        ("text_completion m", PARENT, "MODEL_FAILED"),
    ]
    assert spans[0]["attributes"][names.QUEUE_LEVEL] == "normal"
    assert names.TASK_ID not in spans[0]["attributes"]


class Context:
    """The runner's end of a stream, whose other end takes nothing before it is told to."""

    def __init__(self) -> None:
        self.requests: asyncio.Queue[ExecuteRequest] = asyncio.Queue()
        self.takes = asyncio.Event()
        self.writes = 0

    def peer(self) -> str:
        return "nobody"

    async def read(self) -> ExecuteRequest:
        return await self.requests.get()

    async def write(self, response: object) -> None:
        self.writes += 1
        await self.takes.wait()


async def test_a_gateway_that_reads_nothing_is_given_up_once_too_much_waits_for_it() -> None:
    bench, context = Bench(most_pending_bytes=1000), Context()
    context.requests.put_nowait(ExecuteRequest(calls=[tensor_call(number) for number in range(100)]))
    with pytest.raises(Overloaded, match="too slowly"):
        async with asyncio.timeout(LONGEST_WAIT_S):
            holding = asyncio.ensure_future(hold_stream(bench.calls, context))
            await bench.executor.news.wait()
            for job in bench.executor.admitted[:60]:
                bench.calls.updated([done(job)])
                await asyncio.sleep(0)
            await bench.calls.emptied()
            # What the stream has under way is all that is left of it.
            assert not holding.done()
            context.takes.set()
            await holding
    assert context.writes == 1
    assert len(bench.executor.cancelled) >= 40


async def test_a_gateway_that_takes_one_message_for_too_long_is_given_up(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bench, context = Bench(EngineKind.GENERATE), Context()
    context.requests.put_nowait(ExecuteRequest(calls=[generate_call(1)]))
    with pytest.raises(Overloaded, match="too slowly"):
        async with asyncio.timeout(LONGEST_WAIT_S):
            holding = asyncio.ensure_future(hold_stream(bench.calls, context, write_deadline_s=0.01))
            await bench.executor.news.wait()
            await bench.calls.emptied()
            assert bench.executor.cancelled == [bench.executor.admitted[0].key]
            context.takes.set()
            await holding
    assert "gateway given up: it takes no answers" in caplog.messages
