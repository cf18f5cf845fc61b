"""What one row carries from one choice to the next."""

import numpy as np
from numpy.typing import NDArray

from inference.generate.sampling.occurrences import Occurrences
from inference.generate.sampling.parameters import Sampling


class SamplerState:
    """The random generator of one row and the tokens that its penalties count."""

    __slots__ = ("_random", "occurrences", "plain", "sampling")

    def __init__(
        self, sampling: Sampling, prompt: NDArray[np.int64], seed: int | None = None, index: int = 0
    ) -> None:
        """Take how to choose and the prompt (any,) int64; without a seed the choices differ from run to run.

        `index` tells the answers to one request apart: with one seed, each has its own stream of random numbers
        (NumPy's SeedSequence with the index as spawn key), and that of answer 0 is PCG64 with the seed itself.
        """
        self.sampling = sampling
        self._random: np.random.Generator | None = None
        if not sampling.greedy:
            key = (index,) if index else ()
            self._random = np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=key)))
        self.occurrences: Occurrences | None = None
        """None when nothing counts them."""
        if sampling.penalised:
            self.occurrences = Occurrences(prompt if sampling.repetition_penalty != 1 else prompt[:0])
        self.plain = sampling.greedy and self.occurrences is None and len(sampling.bias_tokens) == 0
        """Whether the highest of the raw logits wins."""

    def draw(self) -> float:
        """Return the next random number, at least 0 and under 1. Only for rows that are not greedy."""
        assert self._random is not None, "a greedy row draws nothing"
        return self._random.random()

    def count(self, token: int) -> None:
        """Take note of a generated token. `choose` does it for those that it chooses; call it for tokens that were
        appended without a choice.
        """
        if self.occurrences is not None:
            self.occurrences.count(token)
