"""What comes of requests: pieces of text while they run, outputs, and failures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from inference.engine.card import Array


class Finish(StrEnum):
    """Why a generation ended."""

    STOP = "stop"
    LENGTH = "length"


@dataclass(frozen=True, slots=True)
class TensorOutput:
    """Named arrays in the model's order."""

    outputs: Mapping[str, Array]


@dataclass(frozen=True, slots=True)
class EmbedOutput:
    """Vectors of texts."""

    vectors: NDArray[np.float32]
    """[texts, dimensions]"""
    tokens: Sequence[int]
    """Of each text, as far as it was read."""
    truncated: Sequence[bool]
    """Whether a text was longer than the model reads."""


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """How probable the model itself found a chosen token: by its raw logits, before bias, constraint, penalties and
    temperature.
    """

    token: int
    logprob: float
    """Natural logarithm."""
    top: Sequence[tuple[int, float]] = ()
    """The most probable tokens and their logprobs, best first; tokens that cannot be are left out."""


@dataclass(frozen=True, slots=True)
class Choice:
    """One whole answer."""

    text: str
    token_ids: Sequence[int]
    finish: Finish
    logprobs: Sequence[TokenLogprob] = ()
    """One for each token when they were asked for."""


@dataclass(frozen=True, slots=True)
class GenerateOutput:
    """All answers to one request, in order of their index."""

    choices: Sequence[Choice]
    input_tokens: int
    time_to_first_token_s: float
    """From admission to the first sampled token, by the monotonic clock."""
    cached_tokens: int = 0
    """Prompt tokens that were not computed because a cache held them."""

    @property
    def output_tokens(self) -> int:
        """Tokens generated, over all choices."""
        return sum(len(choice.token_ids) for choice in self.choices)


@dataclass(frozen=True, slots=True)
class Chunk:
    """New output of one choice: whole UTF-8 characters only; text may lag behind token_ids."""

    key: str
    text: str
    token_ids: Sequence[int]
    index: int = 0
    logprobs: Sequence[TokenLogprob] = ()
    finish: Finish | None = None
    """Set on the last one of a choice."""


@dataclass(frozen=True, slots=True)
class Done:
    """A request ended with an output. What the last step brought and no Chunk carried is in `tail`: a Chunk of the
    choice that ended last; None for tensors.
    """

    key: str
    output: TensorOutput | GenerateOutput | EmbedOutput
    tail: Chunk | None = None
    batch: int = 0
    """Requests that shared its run; 0 where there is no one run."""


@dataclass(frozen=True, slots=True)
class Failed:
    """A request ended without an output."""

    key: str
    error: Exception
    """Of a run: ModelOutOfMemory when it wanted more memory than there is, else ModelFailed; InvalidInput where only a
    run shows what the client got wrong, and SequenceUnknown where the call before it took the state of its sequence
    along. Of what never ran, also what `Engine.admit` raised, and DeadlinePassed."""


Update = Chunk | Done | Failed
