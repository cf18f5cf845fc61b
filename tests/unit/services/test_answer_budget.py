"""How many bytes of known answers a tenant's tasks may be ended with."""

from scheduler.adapters.clock import FakeClock
from services.answer_budget import AnswerBudget


def budget(clock: FakeClock) -> AnswerBudget:
    return AnswerBudget(clock.monotonic, per_s=10.0, at_once=100.0)


def test_an_answer_of_any_size_comes_through_and_is_waited_for_afterwards() -> None:
    clock = FakeClock()
    made = budget(clock)
    assert made.spend("t", 60)
    assert made.spend("t", 1_000)
    assert not made.has_some("t") and not made.spend("t", 1)
    clock.advance(95.0)
    assert not made.has_some("t")
    clock.advance(2.0)
    assert made.has_some("t") and made.spend("t", 1)


def test_each_tenant_has_its_own_and_never_more_than_the_burst() -> None:
    clock = FakeClock()
    made = budget(clock)
    clock.advance(3_600.0)
    assert made.spend("t", 100)
    assert not made.spend("t", 1)
    assert made.spend("u", 1)


def test_what_came_to_nothing_is_given_back() -> None:
    made = budget(FakeClock())
    assert made.spend("t", 150)
    made.give_back("t", 100)
    assert made.spend("t", 1)
