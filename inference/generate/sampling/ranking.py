"""The few highest of many values, without sorting the many."""

import numpy as np
from numpy.typing import NDArray

_BLOCKS = 4
"""Blocks for each value wanted: with more the bound lies closer, with fewer it is found sooner."""


def highest(values: NDArray[np.float32], count: int) -> NDArray[np.intp]:
    """Return the positions (count,), rising, of the `count` highest of values (any,); of equal ones the first.

    count is from 1 to the number of values; none of them is NaN.
    """
    least = _nth_highest(values, count)
    at = np.flatnonzero(values >= least)
    surplus = len(at) - count
    if surplus:
        equal = np.flatnonzero(values.take(at) == least)
        at = np.delete(at, equal[-surplus:])
    return at


def _nth_highest(values: NDArray[np.float32], count: int) -> np.float32:
    """Return the lowest of the `count` highest values.

    `count` blocks have a maximum of at least the count-th highest maximum, so that many values reach it: only those
    that do need to be partitioned.
    """
    block = len(values) // (_BLOCKS * count)
    if block > 1:
        maxima = np.maximum.reduceat(values, np.arange(0, len(values), block))
        bound = np.partition(maxima, len(maxima) - count)[len(maxima) - count]
        values = values.take(np.flatnonzero(values >= bound))
    nth: np.float32 = np.partition(values, len(values) - count)[len(values) - count]
    return nth
