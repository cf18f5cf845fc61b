"""The tokens of one step, chosen over all rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inference.engine import TokenLogprob
from inference.generate.sampling.adjustment import adjusted
from inference.generate.sampling.drawing import draw
from inference.generate.sampling.logprobs import logprob_of
from inference.generate.sampling.masks import allows, masked
from inference.generate.sampling.state import SamplerState


@dataclass(frozen=True, slots=True, eq=False)
class Chosen:
    """What came of one step."""

    tokens: NDArray[np.int64]
    """(rows,) int64; -1 where the row failed."""
    failed: Mapping[int, ValueError]
    """By row, why no token could be chosen: its logits are not numbers, or nothing is allowed."""
    logprobs: Mapping[int, TokenLogprob]
    """By row, for those that asked for them and did not fail."""


def choose(
    logits: NDArray[np.float32],
    states: Sequence[SamplerState],
    masks: Sequence[NDArray[np.int32] | None] | None = None,
) -> Chosen:
    """Choose the next token of every row, and count it in the row's state.

    logits are (rows, vocabulary) float32 and left as they are; minus infinity means that a token cannot be. masks
    hold for each row None, or what a constraint allows as (words,) int32: bit t % 32 of word t // 32 is set when
    token t is allowed, and tokens beyond the last word are not (the layout of llguidance). A row whose logits are
    not numbers, or that may choose nothing, is in `failed` and concerns no other row; its state is as before.
    """
    best = logits.argmax(axis=1)  # finds NaN before any number
    finite = np.isfinite(logits[np.arange(len(logits)), best])
    tokens = np.where(finite, best, -1).astype(np.int64)
    failed: dict[int, ValueError] = {}
    logprobs: dict[int, TokenLogprob] = {}
    # One piece of memory for all rows: fresh memory of this size costs more to touch than to compute on.
    scratch = np.empty(logits.shape[1], np.float32)
    for row, state in enumerate(states):
        mask = None if masks is None else masks[row]
        try:
            if not finite[row]:
                raise ValueError("the model's logits are not finite")
            if not state.plain or (mask is not None and not allows(mask, int(best[row]))):
                tokens[row] = _choose(logits[row], state, mask, scratch)
        except ValueError as error:
            tokens[row] = -1
            failed[row] = error
            continue
        if state.sampling.logprobs is not None:
            logprobs[row] = logprob_of(logits[row], int(tokens[row]), state.sampling.logprobs, scratch)
    return Chosen(tokens, failed, logprobs)


def _choose(
    logits: NDArray[np.float32],
    state: SamplerState,
    mask: NDArray[np.int32] | None,
    scratch: NDArray[np.float32],
) -> int:
    """Choose the token of one row and count it. `scratch` (vocabulary,) is written over. Raises ValueError when there
    is none.
    """
    # Overflow makes a logit infinite, which is looked for; warnings would tell nobody.
    with np.errstate(over="ignore", invalid="ignore"):
        logits = adjusted(logits, state.sampling, state.occurrences, scratch)
        tokens = None
        if mask is not None:
            # After the penalties, as under them minus infinity stays what it is and fewer logits are left to touch.
            logits, tokens = masked(logits, mask, scratch)
        at = int(logits.argmax()) if len(logits) else -1
        if at < 0 or np.isneginf(logits[at]):
            raise ValueError("no token is left to choose: the constraint allows none that the model can give")
        if not np.isfinite(logits[at]):
            raise ValueError("the logits are not finite after bias and penalties")
        if not state.sampling.greedy:
            at = draw(logits, state.sampling, state.draw, scratch)
    token = at if tokens is None else int(tokens[at])
    state.count(token)
    return token
