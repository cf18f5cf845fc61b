"""The first runs of an encoder, before it serves: they tell how long a run takes, and whether a vector depends on what
runs beside it.
"""

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from inference.embed.layouts import Ids, Vectors
from inference.embed.opening import Parts
from inference.embed.trial import made_up, same_in_any_company
from inference.engine import ModelCard
from inference.providers import brief
from scheduler.errors import ModelUnusable

_TOKENS: Final = (8, 64, 64, 64, 64)
"""Lengths of the texts that the model runs first."""
_RUNS: Final = 3


def warm_up(parts: Parts) -> ModelCard:
    """Run made-up texts; return what is known of the model then.

    Raises ModelUnusable when a text of the greatest length cannot be run.
    """
    layout = parts.layout

    def run(texts: Sequence[Ids]) -> Vectors:
        [hidden] = parts.model.run((layout.output,), layout.feeds(texts))
        return layout.pool(hidden, texts, parts.pooling)  # type: ignore[arg-type] # FP32: layout_of

    sample = parts.tokenizing.read("a b c d e f").ids
    longest = parts.card.context_length
    texts = made_up(sample, *(min(length, longest) for length in _TOKENS))
    try:
        run(made_up(sample, longest))
    except Exception as error:  # whatever the provider raises
        raise ModelUnusable(f"the model cannot run a text of {longest} tokens: {brief(error)}")
    seconds = []
    for _ in range(_RUNS):
        began_s = time.perf_counter()
        vectors = run(texts)
        seconds.append(time.perf_counter() - began_s)
    parts.pace.ran(sum(map(len, texts)), min(seconds), full=True)
    invariant = same_in_any_company(run, sample, longest)
    return replace(parts.card, dimensions=vectors.shape[1], batch_invariant=invariant)
