"""What language and embedding models answered: plain, frozen values."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class TopLogprob:
    """One of the most probable tokens."""

    token_id: int
    logprob: float
    """Natural logarithm of its probability."""


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """How probable a generated token was, by the model's own distribution."""

    token_id: int
    logprob: float
    """Natural logarithm of its probability."""
    top: tuple[TopLogprob, ...] = ()
    """The most probable tokens in its place, best first: as many as were asked for."""


@dataclass(frozen=True, slots=True)
class Choice:
    """One of several answers to the same prompt; in a stream, what is new of it."""

    index: int
    """0 to n - 1."""
    text: str
    token_ids: tuple[int, ...] = ()
    finish_reason: str = ""
    """`stop` or `length`; in a stream empty before it ended."""
    logprobs: tuple[TokenLogprob, ...] = ()
    """One for each of token_ids when they were asked for."""


@dataclass(frozen=True, slots=True)
class GenerateResult:
    """What a language model answered; with n over 1, the first of its answers, and the others."""

    text: str
    token_ids: tuple[int, ...]
    finish_reason: str
    """`stop`, `length` or `aborted`."""
    logprobs: tuple[TokenLogprob, ...] = ()
    """One for each of token_ids when they were asked for."""
    others: tuple[Choice, ...] = ()
    """Answers 1 to n - 1."""

    @property
    def choices(self) -> tuple[Choice, ...]:
        """All answers, in order of their index."""
        return (Choice(0, self.text, self.token_ids, self.finish_reason, self.logprobs), *self.others)


@dataclass(frozen=True, slots=True, eq=False)
class EmbedResult:
    """What an embedding model answered: one of each for each text, in order."""

    vectors: NDArray[np.float32]
    """[texts, dimensions], read-only."""
    tokens: tuple[int, ...]
    """Tokens of a text that the model read, those that mark its beginning and end included."""
    truncated: tuple[bool, ...]
    """Whether a text was longer than the model reads: its vector is that of its beginning."""
