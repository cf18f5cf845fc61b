from dataclasses import replace

from cache.advice import Advice, SuggestionKind, advise
from cache.eviction import PolicyName
from cache.tiers.settings import TierSettings
from tests.unit.cache.advice.traces import uses, whole, zipf

FOREVER_MS = 10**9
LRU = TierSettings(100_000, 100_000, 1_000, FOREVER_MS, PolicyName.LRU)


def kinds(advice: Advice) -> list[SuggestionKind]:
    return [suggestion.kind for suggestion in advice.suggestions]


def test_a_loop_a_little_larger_than_the_tier_wants_a_larger_tier_or_another_policy() -> None:
    advice = advise("memory", LRU, whole(uses(list(range(150)) * 20)))
    assert advice.now.hit_ratio == 0
    assert kinds(advice)[0] is SuggestionKind.LARGER
    larger = advice.suggestions[0]
    assert larger.settings == replace(LRU, capacity_bytes=200_000, namespace_bytes=200_000)
    assert larger.gain == larger.then.hit_ratio == 0.95
    assert larger.then.saved_ms == 9.5
    assert SuggestionKind.POLICY in kinds(advice)


def test_a_tier_that_holds_more_than_is_asked_may_be_smaller() -> None:
    advice = advise("redis", LRU, whole(uses(list(range(20)) * 100)))
    assert kinds(advice) == [SuggestionKind.SMALLER]
    assert advice.suggestions[0].settings.capacity_bytes == 25_000
    assert advice.suggestions[0].gain == 0
    assert not advice.doubtful


def test_scans_between_what_is_asked_often_want_a_policy_that_resists_them() -> None:
    numbers = []
    for turn in range(12):
        numbers += [*range(60)] * 2 + [*range(10_000 + turn * 120, 10_120 + turn * 120)]
    advice = advise("memory", LRU, whole(uses(numbers)))
    [policy] = [each for each in advice.suggestions if each.kind is SuggestionKind.POLICY]
    assert policy.settings.policy in (PolicyName.SCAN_RESISTANT, PolicyName.LFU)
    assert policy.gain > 0.1


def test_what_ends_before_it_is_asked_again_wants_a_longer_time_to_live() -> None:
    settings = replace(LRU, ttl_ms=150)
    advice = advise("disk", settings, whole(uses(list(range(50)) * 40, every_ms=4)))
    [longer] = advice.suggestions
    assert longer.kind is SuggestionKind.LONGER_TTL
    assert longer.settings.ttl_ms == 600
    assert longer.gain > 0.6


def test_where_things_are_well_nothing_is_suggested() -> None:
    settings = replace(LRU, capacity_bytes=1_000_000, namespace_bytes=1_000_000, policy=PolicyName.LFU)
    numbers = zipf(1_000, 5_000, 2)
    advice = advise("memory", settings, whole(uses(numbers)), measured=0.5)
    assert set(kinds(advice)) <= {SuggestionKind.SMALLER}
    assert advice.measured == 0.5
    ratios = [foretold.hit_ratio for _, foretold in advice.by_size]
    assert ratios == sorted(ratios)
    assert {name for name, _ in advice.by_policy} == set(PolicyName)


def test_advice_on_little_says_that_it_is_doubtful() -> None:
    advice = advise("memory", LRU, whole([]))
    assert advice.doubtful
    assert (advice.now.hit_ratio, advice.uses) == (0.0, 0)
    assert all(suggestion.gain == 0 for suggestion in advice.suggestions)
