"""How outputs and endings are written."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import numpy as np
import pytest
from google.rpc.status_pb2 import Status

from forebay.tasks.v1.inputs_pb2 import (
    FINISH_REASON_ABORTED,
    FINISH_REASON_LENGTH,
    FINISH_REASON_STOP,
    FINISH_REASON_UNSPECIFIED,
)
from forebay.tasks.v1.task_pb2 import TASK_STATE_FAILED, TASK_STATE_SUCCEEDED, Result
from forebay.tasks.v1.task_service_pb2 import StreamOutputResponse
from inference.engine import (
    Choice,
    Chunk,
    Done,
    Failed,
    Finish,
    GenerateOutput,
    GenerateRequest,
    TensorOutput,
    TokenLogprob,
)
from inference.runner import outcomes
from inference.runner.held import Held
from inference.runner.outcomes import Outcome, OutcomeWriter
from scheduler.adapters.clock import FakeClock
from scheduler.errors import (
    DeadlinePassed,
    InvalidInput,
    ModelFailed,
    ModelOutOfMemory,
    Overloaded,
    RecordsUnavailable,
)
from scheduler.policies.failures import Backoff
from scheduler.ports.records import Ending, OutputChunk, Written
from scheduler.states import TaskState

from .fakes import LONGEST_WAIT_S, held


class Store:
    """Answers when `open` is set, unless it shall be away; keeps every batch."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.open.set()
        self.away = 0
        self.called = asyncio.Event()
        self.endings: list[list[Ending]] = []
        self.chunks: list[list[OutputChunk]] = []
        self.refused: set[str] = set()

    async def finish(self, endings: Sequence[Ending]) -> list[Written]:
        await self._answer()
        self.endings.append(list(endings))
        return [Written.FENCED if one.id in self.refused else Written.WRITTEN for one in endings]

    async def append_output(self, chunks: Sequence[OutputChunk]) -> list[int]:
        await self._answer()
        self.chunks.append(list(chunks))
        return [0 if one.id in self.refused else 1 for one in chunks]

    async def _answer(self) -> None:
        self.called.set()
        if self.away:
            self.away -= 1
            raise RecordsUnavailable("away")
        await self.open.wait()


class Listener:
    """Writes down what became of writes."""

    def __init__(self) -> None:
        self.done: list[tuple[str, Written]] = []
        self.lost: list[str] = []
        self.news = asyncio.Event()

    def finished(self, outcomes: Sequence[Outcome], written: Sequence[Written], write_s: float) -> None:
        assert write_s >= 0
        self.done += [(one.held.id, verdict) for one, verdict in zip(outcomes, written, strict=True)]
        self.news.set()

    def fenced(self, tasks: Sequence[Held]) -> None:
        self.lost += [task.id for task in tasks]
        self.news.set()


class Bench:
    """A writer with its store, clock and listener."""

    def __init__(self, *, streams: bool = False) -> None:
        self.store = Store()
        self.clock = FakeClock()
        self.listener = Listener()
        self.draw = 0.5
        self.writer = OutcomeWriter(
            self.store, self.clock, self.listener, streams=streams, draw=lambda: self.draw
        )

    async def heard(self, ends: int) -> None:
        async with asyncio.timeout(LONGEST_WAIT_S):
            while len(self.listener.done) < ends:
                self.listener.news.clear()
                await self.listener.news.wait()


@asynccontextmanager
async def bench(*, streams: bool = False) -> AsyncIterator[Bench]:
    made = Bench(streams=streams)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(made.writer.run())
        yield made
        running.cancel()


def tensor_done(key: str) -> Done:
    return Done(key, TensorOutput({}))


def generation(key: str, attempt: int = 1) -> Held:
    return held(key, request=GenerateRequest(prompt="hi"), attempt=attempt)


def generated(key: str, text: str, tail: str = "") -> Done:
    output = GenerateOutput([Choice(text, [1, 2], Finish.LENGTH)], 5, 0.5)
    return Done(key, output, Chunk(key, tail, [2], finish=Finish.LENGTH) if tail else None)


def chunk_of(payload: bytes) -> StreamOutputResponse:
    return StreamOutputResponse.FromString(payload)


async def test_what_ends_while_a_write_is_on_its_way_goes_with_the_next_one() -> None:
    async with bench() as b:
        b.store.open.clear()
        b.writer.done(held("first"), tensor_done("first"), 101)
        await b.store.called.wait()
        for key in "abc":
            b.writer.done(held(key), tensor_done(key), 101)
        b.store.open.set()
        await b.heard(4)
    assert [[one.id for one in batch] for batch in b.store.endings] == [["first"], ["a", "b", "c"]]


async def test_large_results_are_written_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outcomes, "LARGEST_WRITE_BYTES", 150)
    async with bench() as b:
        b.store.open.clear()
        b.writer.done(held("first"), tensor_done("first"), 101)
        await b.store.called.wait()
        for key in "abc":
            b.writer.done(held(key), generated(key, "x" * 100), 101)
        b.store.open.set()
        await b.heard(4)
    assert [[one.id for one in batch] for batch in b.store.endings] == [["first"], ["a", "b"], ["c"]]


async def test_an_output_that_no_store_takes_fails_its_task_and_holds_up_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(outcomes, "LARGEST_RESULT_BYTES", 150)
    async with bench(streams=True) as b:
        b.writer.done(generation("huge"), generated("huge", "x" * 200), 101)
        b.writer.done(generation("small"), generated("small", "x"), 101)
        await b.heard(2)
    [huge, small] = [ending for batch in b.store.endings for ending in batch]
    assert (huge.state, huge.reason, small.state) == (TaskState.FAILED, "MODEL_FAILED", TaskState.SUCCEEDED)
    assert chunk_of(huge.last_output).state == TASK_STATE_FAILED


async def test_an_output_that_is_far_too_large_is_refused_without_a_copy_of_it() -> None:
    terabyte = np.broadcast_to(np.float32(0), (1 << 38,))
    async with bench() as b:
        b.writer.done(held("huge"), Done("huge", TensorOutput({"y": terabyte})), 101)
        b.writer.done(held("small"), tensor_done("small"), 101)
        await b.heard(2)
    [huge, small] = [ending for batch in b.store.endings for ending in batch]
    assert (huge.state, huge.reason, small.state) == (TaskState.FAILED, "MODEL_FAILED", TaskState.SUCCEEDED)


async def test_a_write_is_repeated_until_the_store_answers() -> None:
    async with bench() as b:
        b.store.away = 3
        b.writer.done(held("a"), tensor_done("a"), 101)
        for _ in range(3):
            await b.clock.until_asleep()
            b.clock.advance(10)
        await b.heard(1)
    assert b.listener.done == [("a", Written.WRITTEN)]
    assert len(b.store.endings) == 1


async def test_chunks_of_one_task_become_one_and_are_written_before_its_ending() -> None:
    async with bench(streams=True) as b:
        task = generation("a")
        b.writer.chunk(task, Chunk("a", "He", [1]))
        b.writer.chunk(task, Chunk("a", "llo", [2, 3]))
        await b.store.called.wait()
        b.writer.chunk(task, Chunk("a", " wor", [4]))
        b.writer.done(task, generated("a", "Hello world", "ld"), 103)
        await b.heard(1)
    [[first]] = b.store.chunks
    assert (chunk_of(first.payload).text, list(chunk_of(first.payload).token_ids)) == ("Hello", [1, 2, 3])
    [[ending]] = b.store.endings
    last = chunk_of(ending.last_output)
    assert (last.text, list(last.token_ids)) == (" world", [4, 2])
    assert last.state == TASK_STATE_SUCCEEDED
    assert last.finish_reason == FINISH_REASON_LENGTH
    assert not last.restarted


async def test_choices_stay_apart_and_each_of_the_others_says_once_why_it_ended() -> None:
    async with bench(streams=True) as b:
        task = generation("a")
        b.writer.chunk(task, Chunk("a", "He", [1]))
        b.writer.chunk(task, Chunk("a", "Ba", [7], index=2))
        b.writer.chunk(task, Chunk("a", "llo", [2], finish=Finish.STOP))
        b.writer.chunk(task, Chunk("a", "Yes", [5], index=1))
        b.writer.chunk(task, Chunk("a", "!", [6], index=1, finish=Finish.LENGTH))
        await b.store.called.wait()
        texts = [("Hello", Finish.STOP), ("Yes!", Finish.LENGTH), ("Bah", Finish.STOP)]
        output = GenerateOutput([Choice(text, [1, 2], finish) for text, finish in texts], 5, 0.5)
        b.writer.done(task, Done("a", output, Chunk("a", "h", [8], index=2, finish=Finish.STOP)), 103)
        await b.heard(1)
    [[written]] = b.store.chunks
    first = chunk_of(written.payload)
    assert (first.text, list(first.token_ids), first.finish_reason) == ("Hello", [1, 2], 0)
    assert [(one.index, one.text, list(one.token_ids), one.finish_reason) for one in first.others] == [
        (1, "Yes!", [5, 6], FINISH_REASON_LENGTH),
        (2, "Ba", [7], FINISH_REASON_UNSPECIFIED),
    ]
    [[ending]] = b.store.endings
    last = chunk_of(ending.last_output)
    assert (last.text, last.finish_reason) == ("", FINISH_REASON_STOP)
    [other] = last.others
    assert (other.index, other.text, other.finish_reason) == (2, "h", FINISH_REASON_STOP)
    result = Result.FromString(ending.result).generate
    assert [result.text, *(one.text for one in result.others)] == ["Hello", "Yes!", "Bah"]


async def test_logprobs_go_with_the_tokens_of_their_choice() -> None:
    async with bench(streams=True) as b:
        task = generation("a")
        b.writer.chunk(task, Chunk("a", "x", [1], logprobs=[TokenLogprob(1, -0.5, [(1, -0.5), (4, -1.5)])]))
        b.writer.chunk(task, Chunk("a", "y", [2], index=1, logprobs=[TokenLogprob(2, -0.25)]))
        b.writer.chunk(task, Chunk("a", "z", [3], logprobs=[TokenLogprob(3, -2.0)]))
        await b.store.called.wait()
        b.writer.done(task, generated("a", "xz"), 103)
        await b.heard(1)
    chunk = chunk_of(b.store.chunks[0][0].payload)
    assert [(one.token_id, one.logprob) for one in chunk.logprobs] == [(1, -0.5), (3, -2.0)]
    assert [(one.token_id, one.logprob) for one in chunk.logprobs[0].top] == [(1, -0.5), (4, -1.5)]
    assert [(one.token_id, one.logprob) for one in chunk.others[0].logprobs] == [(2, -0.25)]


async def test_a_failure_keeps_what_is_pending_of_every_choice() -> None:
    async with bench(streams=True) as b:
        task = generation("a")
        b.writer.chunk(task, Chunk("a", "x", [1]))
        b.writer.chunk(task, Chunk("a", "y", [2], index=1))
        b.writer.failed(task, Failed("a", ModelFailed("no luck")), 101)
        await b.heard(1)
    last = chunk_of(b.store.endings[0][0].last_output)
    assert (last.text, last.finish_reason) == ("x", FINISH_REASON_ABORTED)
    assert [(one.text, one.finish_reason) for one in last.others] == [("y", FINISH_REASON_UNSPECIFIED)]


async def test_only_the_first_chunk_of_a_later_attempt_says_that_it_restarts() -> None:
    async with bench(streams=True) as b:
        task = generation("a", attempt=2)
        b.writer.chunk(task, Chunk("a", "x", [1]))
        await b.store.called.wait()
        b.writer.done(task, generated("a", "xy", "y"), 103)
        await b.heard(1)
    assert chunk_of(b.store.chunks[0][0].payload).restarted
    assert not chunk_of(b.store.endings[0][0].last_output).restarted


async def test_an_answer_that_fits_in_one_write_restarts_in_its_closing_chunk() -> None:
    async with bench(streams=True) as b:
        b.writer.done(generation("a", attempt=2), generated("a", "x", "x"), 103)
        await b.heard(1)
    assert chunk_of(b.store.endings[0][0].last_output).restarted


async def test_output_that_the_fence_refuses_is_reported_once() -> None:
    async with bench(streams=True) as b:
        b.store.refused = {"a"}
        b.writer.chunk(generation("a"), Chunk("a", "x", [1]))
        b.writer.chunk(generation("b"), Chunk("b", "x", [1]))
        async with asyncio.timeout(LONGEST_WAIT_S):
            await b.listener.news.wait()
    assert b.listener.lost == ["a"]


async def test_forgotten_output_is_not_written() -> None:
    async with bench(streams=True) as b:
        task = generation("a")
        b.writer.chunk(task, Chunk("a", "x", [1]))
        b.writer.forget(task)
        b.writer.done(generation("b"), generated("b", "x"), 101)
        await b.heard(1)
    assert b.store.chunks == []


async def test_the_result_tells_usage_and_times() -> None:
    async with bench(streams=True) as b:
        task = generation("a")
        task.admitted_s = 102.0
        b.writer.done(task, generated("a", "x"), 104.5)
        await b.heard(1)
    [[ending]] = b.store.endings
    result = Result.FromString(ending.result)
    assert ending.state is TaskState.SUCCEEDED
    assert (result.usage.input_tokens, result.usage.output_tokens) == (5, 2)
    assert result.timing.queue.ToTimedelta().total_seconds() == 1.5
    assert result.timing.execute.ToTimedelta().total_seconds() == 4.5
    assert result.timing.time_to_first_token.ToTimedelta().total_seconds() == 2.5


async def test_a_tensor_task_has_no_stream_to_close() -> None:
    async with bench() as b:
        b.writer.done(held("a"), tensor_done("a"), 101)
        b.writer.failed(held("b"), Failed("b", ModelFailed("no luck")), 101)
        await b.heard(2)
    assert [one.last_output for one in b.store.endings[0]] == [b"", b""]
    result = Result.FromString(b.store.endings[0][0].result)
    assert result.WhichOneof("output") == "tensors"
    assert not result.timing.HasField("time_to_first_token")


async def test_a_failed_generation_closes_its_stream_with_the_error() -> None:
    async with bench(streams=True) as b:
        task = generation("a")
        b.writer.chunk(task, Chunk("a", "x", [1]))
        b.writer.failed(task, Failed("a", ModelFailed("no luck")), 101)
        await b.heard(1)
    [[ending]] = b.store.endings
    last = chunk_of(ending.last_output)
    assert (ending.state, ending.reason) == (TaskState.FAILED, "MODEL_FAILED")
    assert (last.state, last.finish_reason) == (TASK_STATE_FAILED, FINISH_REASON_ABORTED)
    assert (last.text, last.error.message) == ("x", "no luck")
    assert Status.FromString(ending.error) == last.error


@pytest.mark.parametrize("error", [ValueError("secret prompt"), KeyError("secret prompt")])
async def test_the_text_of_a_foreign_error_is_shown_to_nobody(error: Exception) -> None:
    async with bench(streams=True) as b:
        b.writer.failed(generation("a"), Failed("a", error), 101)
        await b.heard(1)
    [[ending]] = b.store.endings
    assert b"secret" not in ending.error + ending.last_output
    assert ending.reason == "MODEL_FAILED"


async def ending_of(error: Exception, attempt: int = 1, backoff: Backoff | None = None) -> Ending:
    async with bench(streams=True) as b:
        task = generation("a", attempt)
        if backoff is not None:
            task.backoff = backoff
        b.writer.failed(task, Failed("a", error), 101)
        await b.heard(1)
    [[ending]] = b.store.endings
    return ending


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ModelFailed("no luck"), "MODEL_FAILED"),
        (ModelOutOfMemory("too much"), "MODEL_OUT_OF_MEMORY"),
        (MemoryError("secret"), "MODEL_OUT_OF_MEMORY"),
        (ValueError("secret"), "MODEL_FAILED"),
    ],
)
async def test_a_failure_that_may_be_mended_rests_half_of_half_a_second_by_half_a_draw(
    error: Exception, reason: str
) -> None:
    ending = await ending_of(error)
    assert (ending.state, ending.reason, ending.retry_in_ms) == (TaskState.FAILED, reason, 250)
    assert b"secret" not in ending.error
    # Closes the stream if the record has no further attempt for it.
    assert chunk_of(ending.last_output).state == TASK_STATE_FAILED


@pytest.mark.parametrize(("attempt", "rest_ms"), [(1, 250), (2, 500), (3, 1000), (7, 16_000), (40, 30_000)])
async def test_rests_double_up_to_a_minute(attempt: int, rest_ms: int) -> None:
    assert (await ending_of(ModelFailed("no luck"), attempt)).retry_in_ms == rest_ms


async def test_the_rests_are_those_of_the_task() -> None:
    ending = await ending_of(ModelFailed("no luck"), 3, Backoff(100, 10_000, 3.0))
    assert ending.retry_in_ms == 450


async def test_a_hint_is_the_shortest_rest() -> None:
    assert (await ending_of(Overloaded("busy", retry_after_s=7.5))).retry_in_ms == 7500


@pytest.mark.parametrize("error", [InvalidInput.of("x", "bad"), DeadlinePassed("too late")])
async def test_what_would_fail_again_is_not_tried_again(error: Exception) -> None:
    assert (await ending_of(error)).retry_in_ms == -1
