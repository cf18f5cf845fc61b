"""A stored stream comes again in the same chunks, at once or at its pace."""

import pytest

from cache.answer import Recording, write_answer
from cache.replay import LONGEST_WAIT_MS, Pace, pieces, replay
from forebay.cache.v1.stored_answer_pb2 import StoredAnswer
from forebay.tasks.v1.inputs_pb2 import FINISH_REASON_STOP, EmbedOutput, GenerateOutput, TensorOutput

CHUNKS = [
    GenerateOutput(text="a", token_ids=[1]),
    GenerateOutput(text="b", token_ids=[2]),
    GenerateOutput(text="c", token_ids=[3], finish_reason=FINISH_REASON_STOP),
]
WHOLE = GenerateOutput(text="abc", token_ids=[1, 2, 3], finish_reason=FINISH_REASON_STOP)


def stream(*at_ms: float) -> StoredAnswer:
    recording = Recording()
    for chunk, ms in zip(CHUNKS, at_ms, strict=True):
        recording.add(chunk, ms)
    return write_answer(WHOLE, model="m", version=1, recording=recording)


class Sleeps:
    """Takes note of how long it was asked to sleep, and does not."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)


async def test_at_once_the_same_chunks_come_without_waiting() -> None:
    sleeps = Sleeps()
    assert [new async for new in replay(stream(500, 520, 640), Pace.AT_ONCE, sleeps)] == CHUNKS
    assert sleeps.seconds == []


async def test_at_its_pace_each_chunk_comes_as_long_after_the_one_before_as_it_did() -> None:
    sleeps = Sleeps()
    assert [new async for new in replay(stream(500, 520, 640), Pace.AS_GENERATED, sleeps)] == CHUNKS
    assert sleeps.seconds == [0.02, 0.12]


def test_a_pause_of_the_generation_is_not_replayed_in_full() -> None:
    stored = stream(0, 10, 60_000)
    assert [piece.wait_ms for piece in pieces(stored, Pace.AS_GENERATED)] == [0, 10, LONGEST_WAIT_MS]


def test_times_that_go_back_wait_for_nothing() -> None:
    stored = stream(0, 10, 20)
    stored.chunks[2].after_ms = 5
    assert [piece.wait_ms for piece in pieces(stored, Pace.AS_GENERATED)] == [0, 10, 0]


@pytest.mark.parametrize("pace", list(Pace))
async def test_an_answer_that_is_kept_whole_is_one_chunk(pace: Pace) -> None:
    stored = write_answer(WHOLE, model="m", version=1)
    assert [new async for new in replay(stored, pace, Sleeps())] == [WHOLE]


@pytest.mark.parametrize("outcome", [TensorOutput(), EmbedOutput()])
def test_only_generations_are_streams(outcome: TensorOutput | EmbedOutput) -> None:
    stored = write_answer(outcome, model="m", version=1)
    with pytest.raises(ValueError, match="only generations"):
        list(pieces(stored, Pace.AT_ONCE))


async def test_a_replay_that_is_left_early_ends() -> None:
    replayed = replay(stream(0, 1, 2), Pace.AT_ONCE, Sleeps())
    assert await anext(replayed) == CHUNKS[0]
    await replayed.aclose()
    assert [new async for new in replayed] == []
