"""What a model is asked: tensors, texts to embed, or prompts to continue. Plain data, of no transport."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from inference.engine.card import Array
from scheduler.states import Level


@dataclass(frozen=True, slots=True)
class SequencePlace:
    """Where a request stands in a sequence of requests between which the model keeps state."""

    id: str
    start: bool = False
    end: bool = False


@dataclass(frozen=True, slots=True)
class WantedOutput:
    """An output that is wanted: the tensor, or its `classes` highest values of each row as BYTES
    "value:index" or "value:index:label".
    """

    name: str
    classes: int = 0


@dataclass(frozen=True, slots=True)
class TensorRequest:
    """Named arrays, each of a model input's dtype; BYTES inputs are object arrays of bytes."""

    inputs: Mapping[str, Array]
    level: Level = Level.NORMAL
    tenant: str = ""
    """Whose it is: sequences of two tenants are never the same."""
    outputs: tuple[WantedOutput, ...] = ()
    """Empty for all, in the model's order."""
    sequence: SequencePlace | None = None


@dataclass(frozen=True, slots=True)
class EmbedRequest:
    """Texts, none empty, that become vectors; scaled to length 1 with `normalize`."""

    texts: tuple[str, ...]
    normalize: bool = True
    level: Level = Level.NORMAL


@dataclass(frozen=True, slots=True)
class Message:
    """One chat message."""

    role: str
    content: str


class FormatKind(StrEnum):
    """What an answer is made to look like."""

    JSON_OBJECT = "json_object"
    JSON_SCHEMA = "json_schema"
    REGEX = "regex"
    GRAMMAR = "grammar"


@dataclass(frozen=True, slots=True)
class ResponseFormat:
    """What constrains the tokens of an answer."""

    kind: FormatKind
    definition: str = ""
    """The JSON schema, the regular expression, or the Lark grammar; empty for json_object."""


@dataclass(frozen=True, slots=True)
class GenerateRequest:
    """A prompt or a chat, and how to continue it. Fields as in forebay.tasks.v1.GenerateInput."""

    prompt: str | None = None
    messages: tuple[Message, ...] = ()
    max_tokens: int = 256
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    ignore_eos: bool = False
    stop_token_ids: tuple[int, ...] = ()
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    logprobs: int | None = None
    """None: none are returned. Otherwise those of the chosen tokens and of that many of the most probable ones."""
    n: int = 1
    """Independent answers to the same prompt."""
    response_format: ResponseFormat | None = None
    level: Level = Level.NORMAL
    tenant: str = ""
    """Whose it is: prompts of one tenant are not recognised for another unless the settings say so."""


Request = TensorRequest | GenerateRequest | EmbedRequest
