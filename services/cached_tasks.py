"""From what a task came to to what the result cache keeps of it, and from what is kept to the end of another task.

For the gateway, which ends tasks as it accepts them, and the scheduler, which ends those that wait and keeps what runs
bring.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from google.protobuf.message import DecodeError

from cache.answer import (
    Recording,
    is_whole,
    outcome_in,
    outcome_of,
    usage_of_hit,
    write_answer,
    write_outcome,
)
from forebay.cache.v1.stored_answer_pb2 import StoredAnswer
from forebay.tasks.v1.inputs_pb2 import GenerateOutput
from forebay.tasks.v1.task_pb2 import TASK_STATE_SUCCEEDED, Result
from forebay.tasks.v1.task_service_pb2 import StreamOutputResponse

MOST_CHUNKS: Final = 1024
"""A stream of more chunks is given to a task as a single one: each is an entry in the record store."""
VOID: Final[bytes] = StreamOutputResponse(restarted=True).SerializeToString()
"""The chunk that says that those before it are void."""


class KnownEnd(NamedTuple):
    """The end of a task whose answer is known."""

    result: bytes
    """A serialised Result."""
    outputs: tuple[bytes, ...]
    """Its stream, each a serialised StreamOutputResponse, the last one with the terminal state; empty for all but
    generations."""

    @property
    def size(self) -> int:
        """How many bytes it takes."""
        return len(self.result) + sum(map(len, self.outputs))


def end_of(stored: StoredAnswer) -> KnownEnd:
    """Return how a task ends with a kept answer: with the chunks that it came in, where it is a generation."""
    outcome = outcome_of(stored)
    result = Result(sampled=stored.sampled)
    if stored.HasField("usage"):
        result.usage.CopyFrom(usage_of_hit(stored))
    write_outcome(outcome, result)
    outputs = _stream(stored, outcome) if isinstance(outcome, GenerateOutput) else ()
    return KnownEnd(result.SerializeToString(), outputs)


def answer_of_run(
    result: bytes, outputs: Sequence[bytes], *, model: str, version: int, sampled: bool
) -> StoredAnswer | None:
    """Return what is kept of a run's serialised Result and stream; None for what is not to be kept: a generation that
    was broken off, or bytes that this version cannot read. Chunks of tasks have no times.
    """
    try:
        read = Result.FromString(result)
        chunks = [StreamOutputResponse.FromString(payload) for payload in outputs]
    except DecodeError:
        return None
    outcome = outcome_in(read, read.WhichOneof("output"))
    if outcome is None or not is_whole(outcome):
        return None
    recording = None
    if isinstance(outcome, GenerateOutput):
        recording = Recording()
        for chunk in chunks:
            if chunk.restarted:
                recording.restart()
            recording.add(chunk, 0.0)
    usage = read.usage if read.HasField("usage") else None
    return write_answer(
        outcome, model=model, version=version, usage=usage, sampled=sampled, recording=recording
    )


def _stream(stored: StoredAnswer, outcome: GenerateOutput) -> tuple[bytes, ...]:
    pieces = [chunk.new for chunk in stored.chunks]
    if not 1 <= len(pieces) <= MOST_CHUNKS:
        pieces = [outcome]
    chunks = [
        StreamOutputResponse(
            text=piece.text, token_ids=piece.token_ids, logprobs=piece.logprobs, others=piece.others
        )
        for piece in pieces
    ]
    # Why choice 0 ended is told in the last chunk of a task's stream, with its state.
    chunks[-1].finish_reason = outcome.finish_reason
    chunks[-1].state = TASK_STATE_SUCCEEDED
    return tuple(chunk.SerializeToString() for chunk in chunks)
