"""Runs on made-up input before a model serves: whether an answer depends on what runs beside it, and the extremes of
what will be run.

Kernels may add in another order when there are more rows, and then the same prompt gives other text in other company.
Those that this project's models use on CPUs do not, but nobody promises that for every model and provider.
"""

from typing import Final

import numpy as np

from inference.generate.plan import SHORTEST
from inference.generate.session import DecoderSession
from inference.generate.slots import run_sizes

_PROMPT: Final = 40
_CUT: Final = 13


def run_extremes(session: DecoderSession, slots: int, piece: int) -> None:
    """Run the largest and the smallest piece of a prompt and decode run.

    Parts of a model for which TensorRT was told no range of shapes, because other providers run what is before them,
    get theirs from the runs they meet, and an engine is built again whenever one lies outside: twice now, not later.
    Overwrites what the slots hold.
    """
    session.prefill(0, np.zeros(piece, np.int64), 0)
    for size in (slots, 1):
        session.decode(np.zeros(size, np.int64), np.zeros(size, np.int64))


def same_in_any_batch(session: DecoderSession, slots: int) -> bool:
    """Run one prompt and one token in every size of run, and compare the logits bit for bit.

    Also a prompt that is read in pieces, of the shortest length that plan.py cuts. The first and the last slot of each
    run hold the same row, others a single token. Overwrites what the slots hold.
    """
    prompt = np.arange(_PROMPT, dtype=np.int64) % 29
    whole = session.prefill(0, prompt, 0)
    session.prefill(0, prompt[:_CUT], 0)
    session.prefill(0, prompt[_CUT:-SHORTEST], _CUT)
    if not np.array_equal(whole, session.prefill(0, prompt[-SHORTEST:], _PROMPT - SHORTEST)):
        return False
    alone = session.decode(np.array([7]), np.array([_PROMPT]))[0].copy()
    for size in run_sizes(slots)[1:]:
        session.prefill(size - 1, prompt, 0)
        tokens, held = np.arange(size, dtype=np.int64), np.zeros(size, np.int64)
        tokens[[0, -1]], held[[0, -1]] = 7, _PROMPT
        logits = session.decode(tokens, held)
        if not (np.array_equal(logits[0], alone) and np.array_equal(logits[-1], alone)):
            return False
    return True
