"""The hit-ratio curve is exact on small traces, and the miniature is the policy itself."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from cache.advice import Access, foretell, lru_curve, reuse_distances
from cache.eviction import PolicyName
from cache.tiers.settings import TierSettings
from tests.unit.cache.advice.traces import brute_lru_hits, key, whole

LARGEST = 50


@st.composite
def traces(draw: st.DrawFn) -> list[Access]:
    sizes = draw(st.lists(st.integers(1, LARGEST), min_size=1, max_size=12))
    numbers = draw(st.lists(st.integers(0, len(sizes) - 1), max_size=80))
    return [Access(key(number), sizes[number], place, 1.0) for place, number in enumerate(numbers)]


@given(traces())
def test_distances_are_the_bytes_of_the_different_keys_since_the_last_use(accesses: list[Access]) -> None:
    expected: list[int | None] = []
    for place, access in enumerate(accesses):
        before = [p for p in range(place) if accesses[p].key == access.key]
        since = {each.key: each.size for each in accesses[before[-1] : place]} if before else {}
        expected.append(sum(since.values()) if before else None)
    assert reuse_distances(accesses) == expected


@given(traces(), st.lists(st.integers(LARGEST, 500), min_size=1, max_size=6))
def test_the_curve_is_exact_for_every_size_that_holds_the_largest_entry(
    accesses: list[Access], sizes: list[int]
) -> None:
    curve = lru_curve(whole(accesses), sizes)
    for size, ratio in zip(sizes, curve.hit_ratios, strict=True):
        assert round(ratio * len(accesses), 6) == brute_lru_hits(accesses, size)


@given(traces(), st.integers(LARGEST, 500))
def test_the_miniature_of_everything_is_an_lru_cache(accesses: list[Access], size: int) -> None:
    settings = TierSettings(size, size, LARGEST, 1_000_000, PolicyName.LRU)
    foretold = foretell(whole(accesses), settings, Random(1))
    assert round(foretold.hit_ratio * len(accesses), 6) == brute_lru_hits(accesses, size)
    assert foretold.held_bytes <= size
