"""Made-up texts, run before a model serves: how long a run takes, and whether a vector depends on its neighbours."""

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from inference.embed.layouts import Ids, Vectors
from inference.embed.texts import normalized

TOLERANCE: Final = 1e-5
"""By which a number of a vector of length 1 may differ."""

Run = Callable[[Sequence[Ids]], Vectors]


def made_up(tokens: Ids, *lengths: int) -> list[Ids]:
    """Return texts of some lengths, out of the tokens of a real one."""
    source = np.resize(tokens, max(lengths) + len(lengths))
    return [np.array(source[at : at + length]) for at, length in enumerate(lengths)]


def same_in_any_company(run: Run, tokens: Ids, longest: int) -> bool:
    """Run texts alone, and beside longer and shorter ones, in another order; compare their vectors."""
    lengths = [min(length, longest) for length in (9, 2, 40, 17, 64, 3, 31)]
    texts = made_up(tokens, *lengths)
    alone: NDArray[np.float32] = np.concatenate([normalized(run([text])) for text in texts])
    together = normalized(run(texts))
    turned = normalized(run(texts[::-1]))[::-1]
    return all(bool(np.allclose(alone, each, rtol=0, atol=TOLERANCE)) for each in (together, turned))
