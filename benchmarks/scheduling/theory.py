"""What queueing theory says of one server that never pauses what it executes, whoever chooses what is next.

Poisson arrivals of several levels, the highest of those that wait goes first, the first of them that came (Cobham,
"Priority Assignment in Waiting Line Problems", Operations Research, 1954, for the means; Kesten and Runnenburg,
"Priority in Waiting Line Problems", Indagationes Mathematicae, 1957, for the distribution). The highest level waits for
the rest of what is executed when it comes, and for what of its own came before: no policy can give it less.
"""

from collections.abc import Sequence

import numpy as np


def mean_waits_ms(per_s: Sequence[float], mean_ms: float, second_ms2: float) -> list[float]:
    """Return the mean wait of each level, the highest first, where so many tasks of each come in a second, all with
    lengths of this mean and second moment.
    """
    rates = [rate / 1000 for rate in per_s]
    rest_ms = sum(rates) * second_ms2 / 2
    waits, load = [], 0.0
    for rate in rates:
        above, load = load, load + rate * mean_ms
        waits.append(rest_ms / ((1 - above) * (1 - load)))
    return waits


def highest_wait_ms(part: float, highest_load: float, load: float, least_ms: float, most_ms: float) -> float:
    """Return what a part (0.99 for the p99) of the tasks of the highest level waits at most, where lengths lie evenly
    between two values and loads are those of the highest level and of all.

    The wait is a geometric number of rests of its own level, and mostly one rest of a lower one: sums of what is left
    of a length when one looks at any moment. Computed on a grid of 1/500 of the longest length.
    """
    cells = 500
    step_ms = most_ms / cells
    at_ms = (np.arange(cells) + 0.5) * step_ms
    # What is left of a length has a density in proportion to the part of the lengths that are longer.
    rest = np.clip((most_ms - at_ms) / (most_ms - least_ms), 0.0, 1.0)
    rest /= rest.sum()
    lower = (load - highest_load) / (1 - highest_load)
    term = np.concatenate(([1 - lower], lower * rest)) * (1 - highest_load)
    whole = np.zeros(0)
    while term.sum() > 1e-9:
        longer = np.zeros(len(term))
        longer[: len(whole)] = whole
        whole = longer + term
        term = highest_load * np.convolve(term, np.concatenate(([0.0], rest)))
    # Each rest was rounded up by half a cell on the average.
    return float(np.searchsorted(np.cumsum(whole), part) * step_ms)
