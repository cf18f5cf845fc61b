"""A stored generation as a stream again: the chunks that it came in, at once or at the pace at which they came."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from cache.answer import outcome_of
from forebay.cache.v1.stored_answer_pb2 import StoredAnswer
from forebay.tasks.v1.inputs_pb2 import GenerateOutput

LONGEST_WAIT_MS: Final = 1000
"""A generation that was paused, or waited behind others, is not paused again when it is replayed."""


class Pace(StrEnum):
    """How fast a stored stream is replayed."""

    AT_ONCE = "AT_ONCE"
    """Chunk after chunk, as fast as they are taken."""
    AS_GENERATED = "AS_GENERATED"
    """With the time between two chunks that it took to generate the second one; the first comes at once."""


@dataclass(frozen=True, slots=True)
class Piece:
    """One chunk of a replay."""

    wait_ms: int
    """How long after the chunk before it."""
    new: GenerateOutput
    """What is new. It belongs to the stored answer: not to be changed."""


def pieces(stored: StoredAnswer, pace: Pace) -> Iterator[Piece]:
    """Yield the chunks of a stored generation; one that is kept whole is a single chunk.

    Raises ValueError for an answer that is no generation.
    """
    if not stored.chunks:
        whole = outcome_of(stored)
        if not isinstance(whole, GenerateOutput):
            raise ValueError("only generations are replayed as streams")
        yield Piece(0, whole)
        return
    before_ms = stored.chunks[0].after_ms
    for chunk in stored.chunks:
        wait_ms = 0
        if pace is Pace.AS_GENERATED:
            wait_ms = min(max(0, chunk.after_ms - before_ms), LONGEST_WAIT_MS)
            before_ms = chunk.after_ms
        yield Piece(wait_ms, chunk.new)


async def replay(
    stored: StoredAnswer, pace: Pace, sleep: Callable[[float], Awaitable[None]]
) -> AsyncGenerator[GenerateOutput, None]:
    """Yield the chunks of a stored generation, each in its time; `sleep` takes seconds.

    Raises ValueError for an answer that is no generation. Cancelling it, or closing it early, leaves nothing behind.
    """
    for piece in pieces(stored, pace):
        if piece.wait_ms:
            await sleep(piece.wait_ms / 1000)
        yield piece.new
