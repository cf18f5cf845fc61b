"""How a positive quantity is distributed, lately: quantiles within 5 % and an exact mean, in so many buckets at most.

Buckets grow by a constant factor, as in DDSketch (Masson, Rim and Lee, "DDSketch: A Fast and Fully-Mergeable Quantile
Sketch with Relative-Error Guarantees", VLDB 2019). Old values fade by forward decay, in which the new ones weigh more
and nothing else is touched (Cormode, Shkapenyuk, Srivastava and Xu, "Forward Decay: A Practical Time Decay Model for
Streaming Systems", ICDE 2009); here the clock is the number of values.
"""

from collections.abc import Mapping
from math import exp, log, sqrt
from typing import Final

SMALLEST: Final = 1e-3
LARGEST: Final = 1e9
"""Values beyond are taken for these: a microsecond and eleven days, in milliseconds."""
HALF_LIFE: Final = 512
"""After so many values an old one weighs half."""

_PER_NAT: Final = 10.0
_SHIFT: Final = 70.0
"""Makes the bucket of SMALLEST the first one."""
_GROWTH: Final = exp(1 / _PER_NAT)
_BUCKETS: Final = int(log(LARGEST) * _PER_NAT + _SHIFT) + 1
_MIDDLES: Final = tuple(exp((n - _SHIFT) / _PER_NAT) * (1 + _GROWTH) / 2 for n in range(_BUCKETS))
_HEAVIEST: Final = 1e9
"""Weight of a value from which on all weights are brought down again."""
_FADED: Final = 1e-3
"""What weighs less than this part of a new value is dropped then."""


def bucket_of(value: float) -> int:
    """Return the number of the bucket of a value within SMALLEST and LARGEST."""
    return int(log(value) * _PER_NAT + _SHIFT)


def value_of(bucket: int) -> float:
    """Return the middle of a bucket."""
    return _MIDDLES[bucket]


class Sketch:
    """One quantity in one context."""

    __slots__ = ("_buckets", "_sum", "_total", "_weight")

    def __init__(self) -> None:
        self._buckets: dict[int, float] = {}
        self._sum = self._total = 0.0
        self._weight = 1.0
        """Of a new value."""

    @property
    def count(self) -> float:
        """How many new values all that is remembered amounts to."""
        return self._total / self._weight

    def add(self, buckets: Mapping[int, int], values: int, total: float) -> None:
        """Take in a batch: how many values fell into each bucket, how many they were, and their sum."""
        weight = self._weight = self._weight * 2.0 ** (values / HALF_LIFE)
        mine = self._buckets
        for bucket, count in buckets.items():
            mine[bucket] = mine.get(bucket, 0.0) + count * weight
        self._total += values * weight
        self._sum += total * weight
        if weight > _HEAVIEST:
            self._lighten()

    def forget(self, count: float) -> None:
        """Let everything so far weigh no more than that many new values."""
        if self._total > count * self._weight:
            self._weight = self._total / count
            self._lighten()

    def mean(self, cap: float = LARGEST) -> float:
        """Return the mean of the values, each taken for `cap` where it is above; 0 when there are none."""
        if not self._total:
            return 0.0
        last = bucket_of(min(max(cap, SMALLEST), LARGEST))
        if max(self._buckets) <= last:
            return self._sum / self._total
        parts = [
            (_MIDDLES[bucket] if bucket <= last else cap) * weight for bucket, weight in self._buckets.items()
        ]
        return sum(parts) / self._total

    def deviation(self) -> float:
        """Return the standard deviation of the values, as far as buckets tell; 0 when there are none."""
        if not self._total:
            return 0.0
        weights = self._buckets.items()
        mean = sum([_MIDDLES[bucket] * weight for bucket, weight in weights]) / self._total
        squares = sum([weight * (_MIDDLES[bucket] - mean) ** 2 for bucket, weight in weights])
        return sqrt(squares / self._total)

    def quantile(self, part: float) -> float:
        """Return the value that this part of the values, 0 to 1, does not exceed; 0 when there are none."""
        return value_of(self.bucket_at(part)) if self._buckets else 0.0

    def bucket_at(self, part: float) -> int:
        """Return the bucket of that quantile; 0 when there are none."""
        left = part * self._total
        last = 0
        for last in sorted(self._buckets):
            left -= self._buckets[last]
            if left <= 0:
                break
        return last

    def _lighten(self) -> None:
        weight, total = self._weight, self._total
        kept = {bucket: was / weight for bucket, was in self._buckets.items() if was > _FADED * weight}
        self._buckets = kept
        self._total = sum(kept.values())
        # What was dropped takes its part of the sum along.
        self._sum *= self._total / total
        self._weight = 1.0
