"""How one row chooses its tokens."""

from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from inference.engine import GenerateRequest

GREEDY_BELOW: Final = 1e-5
"""Temperatures under this are greedy, as in vLLM: dividing logits by less leaves the range of float32."""


def _no_tokens() -> NDArray[np.int64]:
    return np.empty(0, np.int64)


def _no_values() -> NDArray[np.float32]:
    return np.empty(0, np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class Sampling:
    """How one row chooses. Its values are checked by whoever makes it: nothing here refuses them."""

    temperature: float = 0.0
    """0 is greedy."""
    top_p: float = 1.0
    """Over 0; 1 is no limit: the fewest of the most likely tokens that reach this probability together stay
    (nucleus sampling, arXiv:1904.09751).
    """
    top_k: int = 0
    """0 is no limit: this many of the most likely tokens stay (arXiv:1805.04833)."""
    min_p: float = 0.0
    """0 is no limit: tokens at least this likely relative to the most likely one stay (arXiv:2407.01082)."""
    repetition_penalty: float = 1.0
    """Over 0; 1 is none. Of tokens in the prompt or the output: divides logits over 0, multiplies the others
    (CTRL, arXiv:1909.05858, as Hugging Face and vLLM apply it).
    """
    presence_penalty: float = 0.0
    """Taken off the logits of tokens in the output (OpenAI)."""
    frequency_penalty: float = 0.0
    """Taken off the logits of tokens in the output once for each time that they occur in it (OpenAI)."""
    bias_tokens: NDArray[np.int64] = field(default_factory=_no_tokens)
    """(biases,) int64, each token at most once and in the vocabulary."""
    bias_values: NDArray[np.float32] = field(default_factory=_no_values)
    """(biases,) float32: added to the logits of `bias_tokens`."""
    logprobs: int | None = None
    """None: none are computed. Otherwise those of the chosen token and of that many of the most probable ones."""

    @classmethod
    def of(cls, request: GenerateRequest) -> "Sampling":
        """Take the fields of a request that say how to choose."""
        return cls(
            temperature=request.temperature,
            top_p=request.top_p,
            top_k=request.top_k,
            min_p=request.min_p,
            repetition_penalty=request.repetition_penalty,
            presence_penalty=request.presence_penalty,
            frequency_penalty=request.frequency_penalty,
            bias_tokens=np.fromiter(request.logit_bias.keys(), np.int64, len(request.logit_bias)),
            bias_values=np.fromiter(request.logit_bias.values(), np.float32, len(request.logit_bias)),
            logprobs=request.logprobs,
        )

    @property
    def greedy(self) -> bool:
        """Whether the highest logit wins."""
        return self.temperature < GREEDY_BELOW

    @property
    def penalised(self) -> bool:
        """Whether tokens that occurred count."""
        return self.repetition_penalty != 1 or self.presence_penalty != 0 or self.frequency_penalty != 0
