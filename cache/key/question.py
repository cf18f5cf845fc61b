"""What is asked, as plain data with every default filled in: all that can change the answer, and nothing else.

What is not here cannot change an answer: who asks, priority, pool, deadline, earliest start, retries, labels,
idempotency key, parents, and whether the answer comes as a stream. What does not count in a combination is set to one
value by whoever makes a question, so that questions with the same answer are equal: see `GenerateQuestion`.
"""

from dataclasses import dataclass
from typing import Final, NamedTuple

DEFAULT_MAX_TOKENS: Final = 256
"""As in the contract, forebay.tasks.v1.GenerateInput."""
GREEDY_BELOW: Final = 1e-5
"""Temperatures under this always take the most probable token, as the engine does."""


@dataclass(frozen=True, slots=True)
class Model:
    """Which model is asked."""

    name: str
    """Without a version."""
    version: int
    """The one that answers, also where the request leaves it open; 0 for a model without versions."""
    identity: bytes
    """Digest of everything about the model that can change an answer: `identity_of` in `cache.key.identity`. Empty
    when that is not known; nothing is cached then."""
    stateful: bool = False
    """Whether it keeps state between calls. Not part of the key: such a model's answers are never cached."""
    unsteady_chats: bool = False
    """Whether its chat template writes the time, or something at random. Not part of the key: chats with it are never
    cached."""
    draws: bool = False
    """Whether its graph draws random numbers. Not part of the key: its answers are as those that are sampled without a
    seed."""


class Message(NamedTuple):
    """One message of a chat."""

    role: str
    content: str
    """Its text parts in one: the model is given no borders between them."""


@dataclass(slots=True)
class GenerateQuestion:
    """What a language model is asked. Fields as in forebay.tasks.v1.GenerateInput.

    When `greedy`, nothing is drawn: temperature, top_p, top_k, min_p and seed have their defaults here, whatever the
    request says. Nobody changes one; it is not frozen because that would take a tenth of the time of its key.
    """

    prompt: str | None
    """None for a chat."""
    messages: tuple[Message, ...]
    max_tokens: int
    temperature: float
    top_p: float
    top_k: int
    min_p: float
    seed: int | None
    """None when the runner draws one."""
    stop: tuple[str, ...]
    """Ascending, each once: the text ends before the one that begins first, in whatever order they were given."""
    ignore_eos: bool
    presence_penalty: float
    frequency_penalty: float
    repetition_penalty: float
    logit_bias: tuple[tuple[int, float], ...]
    """Token and bias, by token."""
    logprobs: int | None
    """None when none are asked for."""
    stop_token_ids: tuple[int, ...]
    """Ascending, each once."""
    n: int
    format: tuple[str, str] | None
    """Kind and definition of the response format; None for any text."""
    unread: bool = False
    """See `TensorQuestion`."""

    @property
    def greedy(self) -> bool:
        """Whether the answer is not drawn at random. NaN is not greedy."""
        return self.temperature < GREEDY_BELOW


@dataclass(frozen=True, slots=True)
class Tensor:
    """One named input, little-endian and in row-major order."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    raw: bytes


@dataclass(frozen=True, slots=True)
class WantedOutput:
    """One output that is asked for: the tensor, or its `classes` highest values of each row."""

    name: str
    classes: int = 0


@dataclass(frozen=True, slots=True)
class TensorQuestion:
    """What a model with named tensors is asked."""

    tensors: tuple[Tensor, ...]
    """By name."""
    outputs: tuple[WantedOutput, ...]
    """In the order of the request, which is that of the answer; empty for all, in the model's order."""
    in_sequence: bool = False
    """Whether it belongs to a sequence. Not part of the key: such a question is never cached."""
    unread: bool = False
    """Whether the request has fields of a later version of the contract, which are not in the question. Not part of the
    key: its answer is never cached, for runners may know these fields."""


@dataclass(frozen=True, slots=True)
class EmbedQuestion:
    """Which texts an embedding model is asked to turn into vectors."""

    texts: tuple[str, ...]
    """In the order of the request, which is that of the vectors."""
    normalize: bool
    unread: bool = False
    """See `TensorQuestion`."""


Asked = GenerateQuestion | TensorQuestion | EmbedQuestion


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of which model."""

    model: Model
    asked: Asked
