"""An answer that is kept is the one that was computed, whole or as its stream."""

from typing import Any

import pytest

from cache.answer import Recording, outcome_of, put_together, read_answer, usage_of_hit, write_answer
from cache.entry import Damaged
from forebay.cache.v1.stored_answer_pb2 import StoredAnswer
from forebay.tasks.v1.inputs_pb2 import (
    FINISH_REASON_LENGTH,
    FINISH_REASON_STOP,
    Choice,
    Embedding,
    EmbedOutput,
    GenerateOutput,
    Tensor,
    TensorOutput,
    TokenLogprob,
    TopLogprob,
)
from forebay.tasks.v1.task_pb2 import Usage
from forebay.tasks.v1.task_service_pb2 import StreamOutputResponse


def logprob(token: int) -> TokenLogprob:
    return TokenLogprob(token_id=token, logprob=-0.5, top=[TopLogprob(token_id=9, logprob=-0.1)])


CHUNKS = [
    GenerateOutput(text="He", token_ids=[1], logprobs=[logprob(1)]),
    GenerateOutput(text="", token_ids=[2, 3], logprobs=[logprob(2), logprob(3)]),
    GenerateOutput(
        others=[Choice(index=2, text="B", token_ids=[7]), Choice(index=1, text="A", token_ids=[8])]
    ),
    GenerateOutput(text="llo", finish_reason=FINISH_REASON_STOP),
    GenerateOutput(others=[Choice(index=1, text="a", finish_reason=FINISH_REASON_LENGTH)]),
    GenerateOutput(others=[Choice(index=2, token_ids=[6], finish_reason=FINISH_REASON_STOP)]),
]
WHOLE = GenerateOutput(
    text="Hello",
    token_ids=[1, 2, 3],
    finish_reason=FINISH_REASON_STOP,
    logprobs=[logprob(1), logprob(2), logprob(3)],
    others=[
        Choice(index=1, text="Aa", token_ids=[8], finish_reason=FINISH_REASON_LENGTH),
        Choice(index=2, text="B", token_ids=[7, 6], finish_reason=FINISH_REASON_STOP),
    ],
)
TENSORS = TensorOutput(tensors=[Tensor(name="z", datatype="FP32", shape=[1], raw=b"1234")])
EMBED = EmbedOutput(embeddings=[Embedding(values=[0.5, -1.0], tokens=3, truncated=True)])
USAGE = Usage(input_tokens=10, output_tokens=3, cached_tokens=4)


def recorded(chunks: Any, every_ms: float = 10.4) -> Recording:
    recording = Recording()
    for number, chunk in enumerate(chunks):
        recording.add(chunk, 5000 + number * every_ms)
    return recording


def written(outcome: Any, **more: Any) -> StoredAnswer:
    stored = write_answer(outcome, model="m", version=2, usage=USAGE, **more)
    return read_answer(stored.SerializeToString())


@pytest.mark.parametrize("outcome", [WHOLE, TENSORS, EMBED, TensorOutput(), GenerateOutput()])
def test_an_outcome_comes_back_whole(outcome: Any) -> None:
    stored = written(outcome)
    assert outcome_of(stored) == outcome
    assert type(outcome_of(stored)) is type(outcome)
    assert (stored.model, stored.version, stored.usage) == ("m", 2, USAGE)
    assert not stored.sampled
    assert not stored.chunks


def test_a_stream_is_kept_as_its_chunks_and_makes_the_outcome() -> None:
    stored = written(WHOLE, recording=recorded(CHUNKS))
    assert stored.WhichOneof("outcome") is None
    assert [chunk.new for chunk in stored.chunks] == CHUNKS
    assert [chunk.after_ms for chunk in stored.chunks] == [0, 10, 21, 31, 42, 52]
    assert outcome_of(stored) == WHOLE


def test_chunks_of_the_stream_of_a_task_are_recorded_as_those_of_a_call() -> None:
    chunks = [
        StreamOutputResponse(
            sequence=number,
            text=one.text,
            token_ids=one.token_ids,
            finish_reason=one.finish_reason,
            logprobs=one.logprobs,
            others=one.others,
        )
        for number, one in enumerate(CHUNKS)
    ]
    assert recorded(chunks).chunks == recorded(CHUNKS).chunks


@pytest.mark.parametrize(
    "chunks", [CHUNKS[:-1], CHUNKS[1:], [*CHUNKS, GenerateOutput(text="!")], CHUNKS[::-1], [CHUNKS[0]], []]
)
def test_a_recording_that_is_not_the_outcome_is_given_up(chunks: list[GenerateOutput]) -> None:
    stored = written(WHOLE, recording=recorded(chunks))
    assert not stored.chunks
    assert outcome_of(stored) == WHOLE


def test_a_recording_is_a_copy() -> None:
    chunk = GenerateOutput(text="a")
    recording = recorded([chunk])
    chunk.text = "b"
    assert recording.chunks[0].new.text == "a"


def test_a_recording_is_bounded_and_gives_up_for_good() -> None:
    recording = Recording(longest_bytes=200)
    recording.add(GenerateOutput(text="a" * 100), 0)
    assert len(recording.chunks) == 1
    recording.add(GenerateOutput(text="b" * 100), 1)
    assert not recording.chunks
    recording.add(GenerateOutput(text="c"), 2)
    assert not recording.chunks, "its beginning is missing"


def test_a_new_attempt_voids_what_was_recorded() -> None:
    recording = recorded(CHUNKS[:3])
    recording.restart()
    for number, chunk in enumerate(CHUNKS):
        recording.add(chunk, 90_000 + number)
    assert [chunk.after_ms for chunk in recording.chunks] == [0, 1, 2, 3, 4, 5]
    assert written(WHOLE, recording=recording).chunks


def test_a_clock_that_goes_back_makes_no_time_before_the_first_chunk() -> None:
    recording = Recording()
    recording.add(CHUNKS[0], 100)
    recording.add(CHUNKS[1], 40)
    assert [chunk.after_ms for chunk in recording.chunks] == [0, 0]


def test_a_sampled_answer_says_so() -> None:
    assert written(WHOLE, sampled=True).sampled


def test_a_hit_tells_that_the_whole_prompt_came_from_a_cache() -> None:
    stored = written(WHOLE)
    assert usage_of_hit(stored) == Usage(input_tokens=10, output_tokens=3, cached_tokens=10)
    assert stored.usage == USAGE


def test_no_chunks_make_an_empty_generation() -> None:
    assert put_together([]) == GenerateOutput()


@pytest.mark.parametrize("body", [b"", b"\xff\xff", StoredAnswer(model="m").SerializeToString()])
def test_a_body_without_an_answer_is_damaged(body: bytes) -> None:
    with pytest.raises(Damaged):
        read_answer(body)
