"""When an execution that has begun is expected to end, given that it has not ended so far.

How long tasks take is taken to be lognormal around what is expected of them: a task that has run past its expectation
is expected to go on for longer, not to end at once.
"""

from math import exp, log
from statistics import NormalDist
from typing import Final, NamedTuple

_NORMAL: Final = NormalDist()
_QUARTILE: Final = _NORMAL.inv_cdf(0.75)
_LEAST_SPREAD: Final = 1.05
"""No tasks are so alike that one that lasts a twentieth longer is out of this world."""
_NOTHING_S: Final = 1e-9
_FARTHEST: Final = 6.0
"""Deviations from which on a task is none of its kind any more: it is expected to go on for as long again."""


class Stay(NamedTuple):
    """Seconds from the beginning to the end: the middle, and between which it lies in eight of ten cases."""

    middle_s: float
    earliest_s: float
    latest_s: float


def stay(expected_s: float, spread: float, passed_s: float) -> Stay:
    """Return how long an execution takes in all that has lasted for `passed_s` seconds. Half of such executions lie
    between `expected_s` divided by and multiplied with `spread`.
    """
    expected_s, passed_s = max(expected_s, 1e-6), max(passed_s, 0.0)
    sigma = log(max(spread, _LEAST_SPREAD)) / _QUARTILE
    place = log(passed_s / expected_s) / sigma if passed_s > _NOTHING_S else -_FARTHEST
    if place >= _FARTHEST:
        return Stay(2 * passed_s, 1.1 * passed_s, 10 * passed_s)
    left = 1 - _NORMAL.cdf(place)
    middle, earliest, latest = (
        max(passed_s, expected_s * exp(sigma * _NORMAL.inv_cdf(1 - left * (1 - part))))
        for part in (0.5, 0.1, 0.9)
    )
    return Stay(middle, earliest, latest)
