"""One token drawn at random from logits, among those that temperature, top-k, top-p and min-p leave.

The nucleus of top-p is never listed: a token is drawn from all of them, and drawn again among the more likely ones
when it lies outside (rejection sampling, as FlashInfer does on GPUs). The result has the distribution that sorting
them would give, and costs a few passes over the vocabulary whatever its shape.
"""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from inference.generate.sampling.parameters import Sampling
from inference.generate.sampling.ranking import highest

_BLOCK = 256
"""Weights that are summed before a running sum is taken: a running sum over all of them is ten times slower."""


def draw(
    logits: NDArray[np.float32],
    sampling: Sampling,
    random: Callable[[], float],
    scratch: NDArray[np.float32],
) -> int:
    """Return the position of one token drawn from logits (tokens,), the highest of which is finite.

    Positions rise with the token ids: of equally likely tokens at the border of a filter, the first stay. `random`
    gives numbers of at least 0 and under 1, as many as it takes. `scratch` (at least tokens,) float32 is written
    over; it may be the memory of the logits.
    """
    at: NDArray[np.intp] | None = None
    if 0 < sampling.top_k < len(logits):
        at = highest(logits, sampling.top_k)
        logits = logits.take(at)
    weights = np.subtract(logits, logits.max(), out=scratch[: len(logits)])
    weights /= np.float32(sampling.temperature)
    np.exp(weights, out=weights)
    sums = _block_sums(weights)
    nucleus = sampling.top_p * float(sums[-1])
    if sampling.min_p > 0:
        # It is relative to the most likely token, which every filter leaves. So it takes the same tokens away before
        # top-p as after, now that the size of the nucleus is known.
        at, weights = _only(weights >= min(sampling.min_p, 1.0), at, weights)
        sums = _block_sums(weights)
    while True:
        drawn = _at(weights, sums, random())
        if sampling.top_p < 1:
            likelier = weights > weights[drawn]
            likelier[:drawn] |= weights[:drawn] == weights[drawn]
            if float(weights.take(np.flatnonzero(likelier)).sum(dtype=np.float64)) >= nucleus:
                at, weights = _only(likelier, at, weights)
                sums = _block_sums(weights)
                continue
        return drawn if at is None else int(at[drawn])


def _only(
    kept: NDArray[np.bool_], at: NDArray[np.intp] | None, weights: NDArray[np.float32]
) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Return the positions and weights that are kept; `at` are the positions so far, None for all."""
    left = np.flatnonzero(kept)
    return (left if at is None else at.take(left)), weights.take(left)


def _block_sums(weights: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the running sum of the weights (any,) at the end of each block."""
    return np.add.reduceat(weights, np.arange(0, len(weights), _BLOCK)).cumsum(dtype=np.float64)


def _at(weights: NDArray[np.float32], sums: NDArray[np.float64], part: float) -> int:
    """Return the position at which the running sum of the weights first exceeds a part of their sum."""
    value = part * float(sums[-1])
    block = _first_over(sums, value)
    start = block * _BLOCK
    before = float(sums[block - 1]) if block else 0.0
    return start + _first_over(weights[start : start + _BLOCK].cumsum(dtype=np.float64), value - before)


def _first_over(sums: NDArray[np.float64], value: float) -> int:
    """Return the first position whose running sum exceeds a value.

    A value that rounding brought to the last sum counts as less, so that what weighs nothing is never taken.
    """
    return int(sums.searchsorted(min(value, math.nextafter(float(sums[-1]), 0.0)), side="right"))
