"""When an entry found below moves up."""

from cache.tiers import promotion
from cache.tiers.promotion import Promotion
from tests.conformance.cache_tiers import new_key


def test_the_use_that_was_asked_for_moves_and_then_the_count_begins_anew() -> None:
    rule = Promotion(3)
    assert [rule.used(new_key(1)) for _ in range(7)] == [False, False, True, False, False, True, False]


def test_uses_too_far_apart_do_not_count_together() -> None:
    rule = Promotion(2, window=10)
    rule.used(new_key(1))
    for n in range(100, 110):
        rule.used(new_key(n))
    assert not rule.used(new_key(1))
    assert rule.used(new_key(1))


def test_a_namespaces_scan_does_not_hide_anothers_use() -> None:
    rule = Promotion(2, window=10)
    rule.used(new_key(1, "b"))
    for n in range(1_000):
        rule.used(new_key(n, "a"))
    assert rule.used(new_key(1, "b"))


def test_the_memory_of_namespaces_is_bounded() -> None:
    rule = Promotion(2)
    for n in range(promotion._NAMESPACES + 10):
        rule.used(new_key(1, f"n{n}"))
    assert len(rule._namespaces) == promotion._NAMESPACES
    assert not rule.used(new_key(1, "n0"))
