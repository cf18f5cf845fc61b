from collections import Counter
from random import Random

import pytest

from cache.advice import Sample, SampledTrace, foretell, lru_curve
from cache.eviction import PolicyName
from cache.ports import Entry
from cache.tiers.settings import TierSettings
from tests.unit.cache.advice.traces import key, sampled, uses, whole, zipf

SIZES = [1_000 * 2**power for power in range(7, 13)]


def test_a_key_is_sampled_with_all_its_uses_or_with_none() -> None:
    trace = SampledTrace(0.1, most=100_000)
    for number in list(range(5_000)) * 3:
        trace.note(key(number), 10, 0, 1.0)
    sample = trace.sample()
    counts = Counter(access.key for access in sample.accesses)
    assert 0.08 < len(sample.accesses) / 15_000 < 0.12
    assert set(counts.values()) == {3}
    assert sample.total == 15_000
    assert abs(sample.rate - 0.1) < 1e-6


def test_memory_is_bounded_and_the_latest_uses_stay_with_their_own_total() -> None:
    trace = SampledTrace(1.0, most=100)
    for number in range(1_000):
        trace.note(key(number), 10, number, 1.0)
    sample = trace.sample()
    assert [access.at_ms for access in sample.accesses] == list(range(900, 1_000))
    assert sample.total == 100


@pytest.mark.parametrize("rate", [0.0, -0.1, 1.1])
def test_a_rate_that_is_none_is_refused(rate: float) -> None:
    with pytest.raises(ValueError, match="rate is"):
        SampledTrace(rate)


def test_samples_of_several_gateways_are_one_in_the_order_of_time() -> None:
    accesses = uses(zipf(100, 1_000, 1))
    parts = [sampled(accesses[0::2], 1.0), sampled(accesses[1::2], 1.0)]
    assert Sample.merged(parts) == whole(accesses)
    with pytest.raises(ValueError, match="different rates"):
        Sample.merged([parts[0], sampled(accesses, 0.5)])


def test_a_namespaces_part_is_its_own_uses() -> None:
    other = key(1, b"x" * 16)
    trace = SampledTrace(1.0)
    for each in (key(1), other, key(2), key(1)):
        trace.note(each, 10, 0, 1.0)
    part = trace.sample().of(key(1).namespace)
    assert [access.key for access in part.accesses] == [key(1), key(2), key(1)]
    assert part.total == 3


@pytest.mark.parametrize("seed", range(2))
def test_a_tenth_of_the_keys_tells_the_curve_of_all_of_them(seed: int) -> None:
    accesses = uses(zipf(5_000, 16_000, seed))
    exact, estimated = lru_curve(whole(accesses), SIZES), lru_curve(sampled(accesses, 0.1), SIZES)
    errors = [abs(one - other) for one, other in zip(exact.hit_ratios, estimated.hit_ratios, strict=True)]
    # Half of all uses are of a hundred keys, of which the sample has ten or so: no more can be had of so small a world.
    assert sum(errors) / len(errors) < 0.04
    assert exact.hit_ratios == tuple(sorted(exact.hit_ratios))


@pytest.mark.parametrize("policy", [PolicyName.LRU, PolicyName.LFU, PolicyName.SCAN_RESISTANT])
def test_a_miniature_foretells_the_tier_for_every_policy(policy: PolicyName) -> None:
    accesses = uses(zipf(5_000, 12_000, 4))
    settings = TierSettings(1_000_000, 1_000_000, 1_000, 10**9, policy)
    exact = foretell(whole(accesses), settings, Random(1))
    estimated = foretell(sampled(accesses, 0.2), settings, Random(1))
    assert abs(exact.hit_ratio - estimated.hit_ratio) < 0.1


def test_the_knee_is_the_smallest_size_with_nearly_all_hits() -> None:
    # A loop over 100 keys: nothing below its size, everything from there on.
    curve = lru_curve(whole(uses(list(range(100)) * 5)), [50_000, 99_999, 100_000, 400_000])
    assert curve.hit_ratios == (0.0, 0.0, 0.8, 0.8)
    assert curve.knee_bytes() == 100_000
    assert lru_curve(whole([]), [1_000]).knee_bytes() is None


def test_of_keys_that_are_not_in_the_sample_nobody_asks_how_large_their_entries_are() -> None:
    asked = []

    class Weighed(Entry):
        @property
        def size(self) -> int:
            asked.append(self)
            return 10

    trace = SampledTrace(rate=0.25)
    weighed = Weighed(b"", "m", b"", (), 0, 1, 2.0, False)
    for number in range(1_000):
        trace.used(key(number), weighed, 0)
    sample = trace.sample()
    assert sample.total == 1_000
    assert len(asked) == len(sample.accesses) < 500
    assert {(access.size, access.cost_ms) for access in sample.accesses} == {(10, 2.0)}
