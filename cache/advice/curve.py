"""The hit ratio of an LRU cache as a curve over its size."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from cache.advice.distances import reuse_distances
from cache.advice.trace import Sample


@dataclass(frozen=True, slots=True)
class Curve:
    """Hit ratios by size; of one namespace's part of a tier, which is where keys compete."""

    sizes_bytes: tuple[int, ...]
    hit_ratios: tuple[float, ...]

    def knee_bytes(self, part: float = 0.95) -> int | None:
        """Return the smallest size that has this part of the hits of the largest; None when there are no hits."""
        wanted = self.hit_ratios[-1] * part if self.hit_ratios else 0.0
        if wanted <= 0:
            return None
        return next(
            size for size, ratio in zip(self.sizes_bytes, self.hit_ratios, strict=True) if ratio >= wanted
        )


def lru_curve(sample: Sample, sizes_bytes: Sequence[int]) -> Curve:
    """Return the hit ratio for each size.

    With a rate of 1 it is exact for sizes that are not smaller than the largest entry, one that is refused being no
    part of the theory. Otherwise the distances are scaled by the rate, and the uses that the sample has too many or
    too few of are put down to the shortest distances, as in SHARDS: they are those of a few very popular keys.
    """
    distances = sorted(
        distance / sample.rate for distance in reuse_distances(sample.accesses) if distance is not None
    )
    expected = sample.total * sample.rate
    correction = expected - len(sample.accesses)
    ratios = []
    for size in sizes_bytes:
        hits = bisect_right(distances, size) + correction
        ratios.append(min(1.0, max(0.0, hits / expected)) if expected else 0.0)
    return Curve(tuple(sizes_bytes), tuple(ratios))
