"""The last part of a step: the tokens of all its rows are chosen together, and what that brings is told."""

import time
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from inference.engine import Update
from inference.generate.admitted import Admitted
from inference.generate.constraints import fill_masks
from inference.generate.measured import Measured
from inference.generate.row import Row
from inference.generate.sampling import choose
from inference.generate.session import Logits


def choose_tokens(admitted: Admitted, rows: Sequence[Row], logits: Logits, step: Measured) -> list[Update]:
    """Choose the next token of each row from logits (rows, vocabulary), and say what that brings."""
    began_s = time.perf_counter()
    masks, refused = _masks(rows, logits.shape[1])
    chosen = choose(logits, [row.sampler for row in rows], masks)
    step.sample_s += time.perf_counter() - began_s
    failed = {**chosen.failed, **refused}
    updates: list[Update] = []
    for number, (row, token) in enumerate(zip(rows, chosen.tokens.tolist(), strict=True)):
        if row.generation.key not in admitted:
            continue
        if number in failed:
            updates.append(admitted.fail(row.generation, failed[number]))
            continue
        try:
            chunk = row.accept(token, chosen.logprobs.get(number))
        except Exception as error:  # a tokenizer or a grammar that fails on a token fails its own row
            updates.append(admitted.fail(row.generation, error))
            continue
        updates.append(admitted.ended(row, chunk) if chunk.finish is not None else chunk)
    return updates


def _masks(
    rows: Sequence[Row], vocabulary: int
) -> tuple[list[NDArray[np.int32] | None] | None, Mapping[int, Exception]]:
    """Return what the constraint of each row allows, and why by number where that cannot be said."""
    constrained = [number for number, row in enumerate(rows) if row.constraint is not None]
    if not constrained:
        return None, {}
    words = np.empty((len(constrained), (vocabulary + 31) // 32), np.int32)
    faults = fill_masks([rows[number].constraint for number in constrained], words)
    masks: list[NDArray[np.int32] | None] = [None] * len(rows)
    for place, number in enumerate(constrained):
        masks[number] = words[place]
    return masks, {constrained[place]: fault for place, fault in faults.items()}
