"""Fair sharing between the tenants of one level and model."""

from collections import Counter

import pytest

from scheduler.policies.levels import OWED
from scheduler.policies.policy import Policy
from scheduler.policies.tenants import REMEMBERED, TenantShares


def shares(*tenants: str, **weights: float) -> TenantShares:
    made = TenantShares(Policy(tenant_weights=weights))
    for tenant in tenants:
        made.arrive(tenant)
    return made


def starts(of: TenantShares, count: int, **work_ms: float) -> list[str]:
    order = []
    for _ in range(count):
        tenant = of.next()
        of.charge(tenant, work_ms.get(tenant, 1.0))
        order.append(tenant)
    return order


def test_equal_tenants_take_turns() -> None:
    assert starts(shares("a", "b", "c"), 9) == ["a", "b", "c"] * 3


def test_turns_are_counted_in_work() -> None:
    counts = Counter(starts(shares("a", "b"), 110, a=10.0, b=1.0))
    assert counts == {"a": 10, "b": 100}


def test_a_tenant_of_twice_the_weight_gets_twice_the_work() -> None:
    assert Counter(starts(shares("a", "b", a=2.0), 300)) == {"a": 200, "b": 100}


def test_who_comes_to_a_flood_is_next_but_one_and_earned_nothing_by_being_away() -> None:
    of = shares("flood")
    starts(of, 1_000)
    of.arrive("new")
    assert starts(of, 6) == ["flood", "new"] * 3


def test_who_leaves_while_ahead_is_as_far_ahead_when_coming_back() -> None:
    of = shares("a", "b")
    of.charge("a", 5.0)
    of.leave("a")
    of.arrive("a")
    assert starts(of, 7) == ["b"] * 5 + ["a", "b"]


def test_who_comes_when_nobody_waits_is_where_the_last_one_left() -> None:
    of = shares("a")
    starts(of, 50)
    of.leave("a")
    of.arrive("b")
    of.arrive("a")
    assert starts(of, 4) == ["b", "a"] * 2


def test_who_was_charged_too_much_catches_up_within_bounds() -> None:
    of = shares("a", "b")
    of.charge("a", 6.0)
    of.correct("a", -5.0)
    assert starts(of, 3) == ["b", "a", "b"]
    of.correct("a", -1_000_000.0)
    assert starts(of, 100).index("b") <= 2 * (OWED + 2)


def test_who_was_charged_too_little_pays_even_while_away() -> None:
    of = shares("a", "b")
    of.charge("a", 1.0)
    of.leave("a")
    of.correct("a", 4.0)
    of.arrive("a")
    assert starts(of, 6) == ["b"] * 5 + ["a"]


def test_other_weights_hold_from_now_on_and_what_a_tenant_is_ahead_stays() -> None:
    of = shares("a", "b")
    starts(of, 1_000)
    of.charge("a", 8.0)
    of.follow(Policy(tenant_weights={"a": 8.0}))
    assert Counter(starts(of, 91)) == pytest.approx({"a": 80, "b": 11}, abs=1)


def test_only_those_who_are_ahead_are_remembered_and_not_without_bound() -> None:
    of = shares("always")
    for number in range(3 * REMEMBERED):
        of.arrive(str(number))
        of.charge(str(number), 1.0 + number)
        of.leave(str(number))
    assert len(of._counters) <= REMEMBERED + 1
    # The one who had most is among them.
    of.arrive(str(3 * REMEMBERED - 1))
    assert set(starts(of, 2 * REMEMBERED)) == {"always"}
    starts(of, 9 * REMEMBERED)
    for number in range(2 * REMEMBERED):
        of.arrive(str(number))
        of.leave(str(number))
    assert len(of._counters) <= REMEMBERED + 2


def test_work_that_can_hardly_be_counted_shuts_nobody_out() -> None:
    of = shares("tiny", tiny=1e-300)
    of.charge("tiny", 1e7)
    of.leave("tiny")
    for tenant in ("a", "b", "c"):
        of.arrive(tenant)
    # Their work is nothing beside the counter that they were lifted to, and yet they take turns.
    little = {"a": 1e-9, "b": 1e-9, "c": 1e-9}
    assert Counter(starts(of, 300, **little)) == {"a": 100, "b": 100, "c": 100}
    of.charge("c", 1.0)
    assert "c" in starts(of, 2_000, **little)
