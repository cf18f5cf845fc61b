"""Choosing the next token from logits: greedy, or at random among the likely ones.

The order of the filters is the usual one: temperature, top-k, top-p, min-p. Each row draws from its own PCG64
generator, so the same seed on the same logits gives the same tokens whatever else runs in the batch.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_BOUNDS = (1e-2, 1e-4, 1e-6)
"""Weights relative to the most likely token: below them are usually none of the candidates."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How one row chooses. Values are checked by the engine."""

    temperature: float = 0.0
    """0 is greedy."""
    top_p: float = 1.0
    top_k: int = 0
    """0 is no limit."""
    min_p: float = 0.0


class Sampler:
    """The choices of one row."""

    def __init__(self, sampling: Sampling, seed: int | None) -> None:
        """Take how to choose; without a seed the choices differ from run to run."""
        self._sampling = sampling
        self._random = None if sampling.temperature == 0 else np.random.Generator(np.random.PCG64(seed))

    def choose(self, logits: NDArray[np.float32]) -> int:
        """Return the next token from logits (vocabulary,) float32, which are left as they are.

        Among equal logits the greedy choice is the lowest id. Raises ValueError when no logit is a number.
        """
        best = int(logits.argmax())
        if not np.isfinite(logits[best]):
            raise ValueError("the model's logits are not finite")
        if self._random is None:
            return best
        tokens, weights = candidates(logits, self._sampling)
        bounds = np.cumsum(weights, dtype=np.float64)
        at = int(np.searchsorted(bounds, self._random.random() * bounds[-1], side="right"))
        return int(tokens[min(at, len(tokens) - 1)])


def candidates(
    logits: NDArray[np.float32], sampling: Sampling
) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Return the tokens that may be chosen and their weights relative to the most likely; they need not sum to 1.

    With any filter they come most likely first, equal ones by id.
    """
    weights = np.exp((logits - logits.max()) / np.float32(sampling.temperature))
    limit = min(sampling.top_k or len(weights), len(weights))
    if limit == len(weights) and sampling.top_p >= 1 and sampling.min_p <= 0:
        return np.arange(len(weights)), weights
    if limit < len(weights):
        tokens = _most_likely(weights, lambda kept: len(kept) >= limit)[:limit]
        total = weights[tokens].sum(dtype=np.float64)
    else:
        total = weights.sum(dtype=np.float64)
        tokens = (
            _nucleus(weights, sampling.top_p * total)
            if sampling.top_p < 1
            else _at_least(weights, sampling.min_p)
        )
    kept = weights[tokens]
    if sampling.top_p < 1:
        before = np.cumsum(kept, dtype=np.float64) - kept
        keep = max(1, int(np.searchsorted(before, sampling.top_p * total, side="left")))
        tokens, kept = tokens[:keep], kept[:keep]
    keep = max(1, int(np.count_nonzero(kept >= sampling.min_p)))
    return tokens[:keep], kept[:keep]


def _nucleus(weights: NDArray[np.float32], wanted: float) -> NDArray[np.intp]:
    """Return enough of the most likely tokens to weigh more than `wanted`."""
    return _most_likely(weights, lambda kept: bool(kept.sum(dtype=np.float64) > wanted))


def _most_likely(
    weights: NDArray[np.float32], enough: Callable[[NDArray[np.float32]], bool]
) -> NDArray[np.intp]:
    """Return the tokens over the highest of a few bounds that leaves enough of them: few are sorted as a rule."""
    for bound in _BOUNDS:
        tokens = _at_least(weights, bound, enough)
        if len(tokens):
            return tokens
    return _at_least(weights, 0.0)


def _at_least(
    weights: NDArray[np.float32],
    bound: float,
    enough: Callable[[NDArray[np.float32]], bool] = lambda kept: True,
) -> NDArray[np.intp]:
    """Return the tokens of at least this weight, most likely first and equal ones by id; none when not enough."""
    tokens = np.flatnonzero(weights >= bound)
    kept = weights[tokens]
    return tokens[np.argsort(-kept, kind="stable")] if enough(kept) else tokens[:0]
