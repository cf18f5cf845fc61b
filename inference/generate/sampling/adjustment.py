"""Logits of single tokens changed before anything is compared: logit bias and penalties."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from inference.generate.sampling.occurrences import Occurrences
from inference.generate.sampling.parameters import Sampling

LEAST_PENALTY: Final = 1e-6
"""A repetition penalty below acts as this: a logit divided by it decides alone already, and one divided by much less
would be no number.
"""


def adjusted(
    logits: NDArray[np.float32],
    sampling: Sampling,
    occurrences: Occurrences | None,
    scratch: NDArray[np.float32],
) -> NDArray[np.float32]:
    """Return logits (vocabulary,) with bias and penalties: written into `scratch` (vocabulary,), or the same array
    when there are none.
    """
    biased = len(sampling.bias_tokens) > 0
    penalised = occurrences is not None and len(occurrences.tokens) > 0
    if not biased and not penalised:
        return logits
    np.copyto(scratch, logits)
    logits = scratch
    if biased:
        logits[sampling.bias_tokens] += sampling.bias_values
    if occurrences is not None and penalised:
        logits[occurrences.tokens] = _penalised(logits[occurrences.tokens], sampling, occurrences.generated)
    return logits


def _penalised(
    logits: NDArray[np.float32], sampling: Sampling, generated: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return the logits of tokens that occurred, given how often each was generated; both (distinct,) float32."""
    if sampling.repetition_penalty != 1:
        penalty = np.float32(max(sampling.repetition_penalty, LEAST_PENALTY))
        logits = np.where(logits > 0, logits / penalty, logits * penalty)
    if sampling.frequency_penalty:
        logits = logits - np.float32(sampling.frequency_penalty) * generated
    if sampling.presence_penalty:
        logits = logits - np.where(generated > 0, np.float32(sampling.presence_penalty), np.float32(0))
    return logits
