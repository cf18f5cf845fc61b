"""The value of an entry: an answer with its usage, whole or as the stream that it came as.

A stream is kept as its chunks, and only when they make exactly the outcome that ended it: a recording that missed
something, or grew too long, is given up, and the answer kept whole. So an answer never differs from what was computed.
"""

from collections.abc import Iterable, Sequence
from typing import Final, Protocol

from google.protobuf.message import DecodeError

from cache.entry import Damaged
from forebay.cache.v1.stored_answer_pb2 import StoredAnswer, StoredChunk
from forebay.tasks.v1.inputs_pb2 import (
    FINISH_REASON_ABORTED,
    Choice,
    EmbedOutput,
    FinishReason,
    GenerateOutput,
    TensorOutput,
    TokenLogprob,
)
from forebay.tasks.v1.task_pb2 import Usage

Outcome = GenerateOutput | TensorOutput | EmbedOutput

LONGEST_RECORDING_BYTES: Final = 8 << 20
"""Streams with more are kept whole: recordings are in memory while their generations run."""


class Chunk(Protocol):
    """New output of a generation: GenerateOutput in a stream of calls, StreamOutputResponse in one of tasks."""

    text: str
    finish_reason: FinishReason.ValueType

    @property
    def token_ids(self) -> Sequence[int]:
        """The new tokens of choice 0."""
        ...

    @property
    def logprobs(self) -> Iterable[TokenLogprob]:
        """One for each of them, where they were asked for."""
        ...

    @property
    def others(self) -> Iterable[Choice]:
        """What is new of other choices."""
        ...


class Bearer(Protocol):
    """A message that carries an outcome: a runner's Answer, a task's Result, a StoredAnswer. It owns its fields."""

    @property
    def generate(self) -> GenerateOutput:
        """A whole generation."""
        ...

    @property
    def tensors(self) -> TensorOutput:
        """Outputs of a tensor model."""
        ...

    @property
    def embed(self) -> EmbedOutput:
        """Vectors."""
        ...


def outcome_in(bearer: Bearer, kind: str | None) -> Outcome | None:
    """Return what a message carries, which belongs to it; `kind` names its field that is set. None where that is no
    outcome: an error, a chunk, nothing.
    """
    if kind == "generate":
        return bearer.generate
    if kind == "tensors":
        return bearer.tensors
    return bearer.embed if kind == "embed" else None


def write_outcome(outcome: Outcome, bearer: Bearer) -> None:
    """Write a copy of an outcome into a message."""
    if isinstance(outcome, GenerateOutput):
        bearer.generate.CopyFrom(outcome)
    elif isinstance(outcome, TensorOutput):
        bearer.tensors.CopyFrom(outcome)
    else:
        bearer.embed.CopyFrom(outcome)


def is_whole(outcome: Outcome) -> bool:
    """Tell whether an outcome is all that was asked for; a generation that was broken off is not, and is not kept."""
    if not isinstance(outcome, GenerateOutput):
        return True
    reasons = [outcome.finish_reason, *(one.finish_reason for one in outcome.others)]
    return FINISH_REASON_ABORTED not in reasons


class Recording:
    """The chunks of one running generation, in order. Bounded; what is over the bound ends the recording."""

    def __init__(self, longest_bytes: int = LONGEST_RECORDING_BYTES) -> None:
        self._left_bytes = self._longest_bytes = longest_bytes
        self._chunks: list[StoredChunk] = []
        self._began_ms = 0.0

    @property
    def chunks(self) -> Sequence[StoredChunk]:
        """What came so far; empty when nothing came or it was too much."""
        return self._chunks

    def add(self, chunk: Chunk, at_ms: float) -> None:
        """Take a chunk that came at a time by any clock. It is copied."""
        if self._left_bytes < 0:
            return
        if not self._chunks:
            self._began_ms = at_ms
        stored = StoredChunk(after_ms=max(0, round(at_ms - self._began_ms)))
        new = stored.new
        new.text = chunk.text
        new.token_ids.extend(chunk.token_ids)
        new.finish_reason = chunk.finish_reason
        new.logprobs.extend(chunk.logprobs)
        new.others.extend(chunk.others)
        self._left_bytes -= stored.ByteSize()
        if self._left_bytes < 0:
            self._chunks.clear()
        else:
            self._chunks.append(stored)

    def restart(self) -> None:
        """Forget what came: a new attempt begins, which voids it."""
        self._chunks.clear()
        self._left_bytes = self._longest_bytes


def write_answer(
    outcome: Outcome,
    *,
    model: str,
    version: int,
    usage: Usage | None = None,
    sampled: bool = False,
    recording: Recording | None = None,
) -> StoredAnswer:
    """Return what is kept of an outcome; its chunks in place of it where the recording is exactly it.

    `sampled` says that it is one of many answers that may come. The body of an entry is its `SerializeToString()`.
    """
    stored = StoredAnswer(model=model, version=version, sampled=sampled, usage=usage)
    if isinstance(outcome, GenerateOutput):
        chunks = recording.chunks if recording is not None else ()
        if chunks and put_together(chunks) == outcome:
            stored.chunks.extend(chunks)
            return stored
    write_outcome(outcome, stored)
    return stored


def read_answer(body: bytes) -> StoredAnswer:
    """Return the answer in an entry's body. Raises Damaged when there is none in it."""
    try:
        stored = StoredAnswer.FromString(body)
    except DecodeError:
        raise Damaged("the body is no stored answer")
    if stored.WhichOneof("outcome") is None and not stored.chunks:
        raise Damaged("the stored answer has no outcome")
    return stored


def outcome_of(stored: StoredAnswer) -> Outcome:
    """Return the whole outcome of a stored answer; it belongs to it where it is kept whole."""
    outcome = outcome_in(stored, stored.WhichOneof("outcome"))
    return put_together(stored.chunks) if outcome is None else outcome


def usage_of_hit(stored: StoredAnswer) -> Usage:
    """Return the usage that a hit tells: as when it was computed, with every token of the prompt from a cache."""
    usage = Usage()
    usage.CopyFrom(stored.usage)
    usage.cached_tokens = usage.input_tokens
    return usage


def put_together(chunks: Iterable[StoredChunk]) -> GenerateOutput:
    """Return the generation that chunks make: of each choice, its pieces in order."""
    whole = GenerateOutput()
    texts: list[str] = []
    others: dict[int, tuple[Choice, list[str]]] = {}
    for chunk in chunks:
        new = chunk.new
        texts.append(new.text)
        _append(whole, new)
        for one in new.others:
            if one.index not in others:
                others[one.index] = Choice(index=one.index), []
            choice, pieces = others[one.index]
            pieces.append(one.text)
            _append(choice, one)
    whole.text = "".join(texts)
    for _, (choice, pieces) in sorted(others.items()):
        choice.text = "".join(pieces)
        whole.others.append(choice)
    return whole


def _append(whole: GenerateOutput | Choice, new: GenerateOutput | Choice) -> None:
    """Append everything of a piece but its text."""
    whole.token_ids.extend(new.token_ids)
    whole.logprobs.extend(new.logprobs)
    if new.finish_reason:
        whole.finish_reason = new.finish_reason
