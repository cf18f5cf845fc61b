"""The size of the cache, before it is taken."""

import resource

import pytest

from inference.generate.memory import CachePlan, free_bytes, plan_cache
from scheduler.errors import ModelUnusable


def test_all_slots_are_had_where_they_fit() -> None:
    plan = plan_cache(slots=4, context=100, bytes_per_token=1000, limit_bytes=400_000)
    assert plan == CachePlan(4, 100, 400_000)


def test_fewer_slots_are_had_where_memory_is_short() -> None:
    assert plan_cache(slots=4, context=100, bytes_per_token=1000, limit_bytes=399_999).slots == 3


def test_a_context_of_which_not_one_fits_is_refused_with_the_numbers() -> None:
    with pytest.raises(ModelUnusable, match=r"100 tokens takes 5 MB .50000 bytes.*4 MB.*at most 80 tokens"):
        plan_cache(slots=4, context=100, bytes_per_token=50_000, limit_bytes=4_000_000)


def test_free_memory_is_bounded_by_the_address_space(monkeypatch: pytest.MonkeyPatch) -> None:
    free = free_bytes()
    assert free > 0
    limit = 1 << 40
    monkeypatch.setattr(resource, "getrlimit", lambda which: (limit, limit))
    assert free_bytes() <= limit
    monkeypatch.setattr(resource, "getrlimit", lambda which: (1, 1))
    assert free_bytes() == 0
