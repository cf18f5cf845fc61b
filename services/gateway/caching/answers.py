"""From a runner's answer to what is kept of it, and from what is kept to an answer."""

from collections.abc import Iterable, Iterator

from cache.answer import (
    Recording,
    is_whole,
    outcome_in,
    outcome_of,
    usage_of_hit,
    write_answer,
    write_outcome,
)
from forebay.cache.v1.stored_answer_pb2 import StoredAnswer, StoredChunk
from forebay.runner.v1.runner_service_pb2 import Answer


def stored_of(
    answer: Answer, *, model: str, version: int, sampled: bool, recording: Recording | None
) -> StoredAnswer:
    """Return what is kept of an answer. Raises ValueError for one without an outcome."""
    kind = answer.WhichOneof("outcome")
    outcome = outcome_in(answer, kind)
    if outcome is None:
        raise ValueError(f"an answer with {kind} ends no call")
    usage = answer.usage if answer.HasField("usage") else None
    return write_answer(
        outcome, model=model, version=version, usage=usage, sampled=sampled, recording=recording
    )


def answer_of(stored: StoredAnswer) -> Answer:
    """Return a kept answer as a runner would have given it, without times."""
    answer = Answer(usage=usage_of_hit(stored) if stored.HasField("usage") else None)
    write_outcome(outcome_of(stored), answer)
    return answer


def may_be_kept(answer: Answer) -> bool:
    """Tell whether an answer is all that was asked for."""
    outcome = outcome_in(answer, answer.WhichOneof("outcome"))
    return outcome is not None and is_whole(outcome)


def chunks_of(stored: StoredAnswer) -> Iterator[bytes]:
    """Return the chunks of a generation as they travel; one that is kept whole is a single chunk."""
    chunks: Iterable[StoredChunk] = stored.chunks
    if not stored.chunks:
        chunks = [StoredChunk(new=stored.generate)]
    return (chunk.SerializeToString() for chunk in chunks)


def content_of(chunk: bytes) -> bytes:
    """Return the part of a chunk that is the same whoever computes it: all but its time."""
    content: bytes = StoredChunk.FromString(chunk).new.SerializeToString(deterministic=True)
    return content
