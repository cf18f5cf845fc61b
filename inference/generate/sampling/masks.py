"""What a constraint allows, as bits: bit t % 32 of word t // 32 is set when token t is allowed.

The layout is that of llguidance and XGrammar. Tokens beyond the last word, as where a model's logits are padded past
its tokenizer, are not allowed.
"""

import numpy as np
from numpy.typing import NDArray

_FEW = 0.25
"""Part of the vocabulary under which it pays to pick out what is allowed."""


def allows(mask: NDArray[np.int32], token: int) -> bool:
    """Tell whether one token is allowed."""
    word = token >> 5
    return word < len(mask) and bool(int(mask[word]) >> (token & 31) & 1)


def masked(
    logits: NDArray[np.float32], mask: NDArray[np.int32], scratch: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.intp] | None]:
    """Return logits of allowed tokens, rising by token, and which tokens these are.

    When many are allowed, all logits (vocabulary,) come back, with minus infinity for the forbidden ones, and None.
    `scratch` (vocabulary,) float32 is written over then; it may be the logits.
    """
    words = np.ascontiguousarray(mask, "<i4")
    bits = np.unpackbits(words.view(np.uint8), count=len(logits), bitorder="little").view(np.bool_)
    if np.count_nonzero(bits) < len(logits) * _FEW:
        tokens = np.flatnonzero(bits)
        return logits.take(tokens), tokens
    if logits is not scratch:
        np.copyto(scratch, logits)
    scratch[np.flatnonzero(~bits)] = -np.inf
    return scratch, None
