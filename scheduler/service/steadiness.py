"""How far the rate at which a model starts tasks moves, while there is enough to do: what a forecast must allow for.

The error of the simplest forecast there is, that the next ten seconds are as the last ten, told as it turned out lately
(calibration by one's own errors, as in split conformal prediction: Vovk, Gammerman and Shafer, "Algorithmic Learning
in a Random World", Springer 2005; here by the mean of absolute errors, taken to be normal).
"""

from collections import deque
from math import exp, log
from typing import Final

LAG_S: Final = 10.0
"""How long ago the rate was taken that the present one is compared with."""
LEAST_STARTS: Final = 16
"""Fewer starts within a rate say more of chance than of the fleet."""
USUAL: Final = 0.15
"""What is taken for the mean error, as a logarithm, before anything was seen."""
_PRIOR: Final = 20.0
"""How many comparisons that weighs."""
_MOST: Final = 240.0
"""How many the past weighs: two minutes of two in a second."""
_EIGHT_OF_TEN: Final = 1.6
"""Eight of ten values of a normal distribution lie within so many mean absolute errors."""
MOST_KEPT: Final = 64


class Steadiness:
    """One model's rates."""

    __slots__ = ("_error", "_kept", "_seen")

    def __init__(self) -> None:
        self._kept: deque[tuple[float, float]] = deque(maxlen=MOST_KEPT)
        self._error = USUAL
        self._seen = 0.0

    def note(self, now_s: float, rate: float, over_s: float) -> None:
        """Take in how many tasks start per second, by the mean over some seconds in which there was enough to do."""
        if rate * over_s < LEAST_STARTS:
            return
        before = None
        while self._kept and self._kept[0][0] <= now_s - LAG_S:
            before = self._kept.popleft()
        self._kept.append((now_s, rate))
        if before is not None:
            self._seen = min(_MOST, self._seen + 1.0)
            self._error += (abs(log(rate / before[1])) - self._error) / (self._seen + _PRIOR)

    def rested(self) -> None:
        """Note that there was not enough to do: what comes after is not compared with what was before."""
        self._kept.clear()

    @property
    def spread(self) -> float:
        """Eight of ten rates lie within the one before divided by and multiplied with this; more than 1."""
        return exp(_EIGHT_OF_TEN * self._error)
