"""How probable a chosen token was, and which ones were most probable."""

import math

import numpy as np
from numpy.typing import NDArray

from inference.engine import TokenLogprob
from inference.generate.sampling.ranking import highest


def logprob_of(
    logits: NDArray[np.float32], token: int, top: int, scratch: NDArray[np.float32]
) -> TokenLogprob:
    """Return the log-softmax of raw logits (vocabulary,) at a token and at the `top` most probable ones.

    Tokens that cannot be (minus infinity) are never among these. `scratch` (vocabulary,) float32 is written over.
    """
    best = logits.max()
    weights = np.subtract(logits, best, out=scratch)
    np.exp(weights, out=weights)
    log_sum = float(best) + math.log(float(weights.sum()))
    likeliest: tuple[tuple[int, float], ...] = ()
    if top > 0:
        at = highest(logits, min(top, len(logits)))
        at = at[np.argsort(-logits[at], kind="stable")]
        at = at[np.isfinite(logits[at])]
        values = logits[at].astype(np.float64) - log_sum
        likeliest = tuple(zip(at.tolist(), values.tolist(), strict=True))
    return TokenLogprob(token, float(logits[token]) - log_sum, likeliest)
