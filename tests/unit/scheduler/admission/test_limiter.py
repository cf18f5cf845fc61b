from collections.abc import Sequence

import pytest

from scheduler.admission import Decision, Limiter, Refusal, Waiting, Wanted
from scheduler.policies.policy import Limit

CRITICAL, HIGH, NORMAL, LOW = 1, 2, 3, 4


def limiter(*limits: Limit) -> Limiter:
    made = Limiter()
    made.follow(limits)
    return made


def offer(
    made: Limiter, level: int, count: int, *, tenant: str = "t", now_s: float = 0.0, work_ms: float = 1.0
) -> Decision:
    return made.decide(tenant, [Wanted(level, work_ms)] * count, now_s)


def accepted(decision: Decision) -> int:
    return sum(refusal is None for refusal in decision.refusals)


def refusal(decision: Decision) -> Refusal:
    found = [one for one in decision.refusals if one is not None]
    assert found and all(one is found[0] for one in found)
    return found[0]


def test_without_limits_nothing_is_active() -> None:
    made = limiter(Limit(queued_tasks=1))
    assert made.active
    made.follow(())
    assert not made.active


@pytest.mark.parametrize(("level", "room"), [(CRITICAL, 100), (HIGH, 90), (NORMAL, 80), (LOW, 70)])
def test_each_level_may_fill_its_part_of_a_limit_for_all_levels(level: int, room: int) -> None:
    assert accepted(offer(limiter(Limit(queued_tasks=100)), level, 200)) == room


def test_a_limit_of_one_level_holds_that_level_alone_and_to_all_of_it() -> None:
    made = limiter(Limit(level=LOW, queued_tasks=10))
    assert accepted(offer(made, LOW, 20)) == 10
    assert accepted(offer(made, NORMAL, 20)) == 20


def test_lower_levels_are_refused_first_and_leave_room_for_higher_ones() -> None:
    made = limiter(Limit(queued_tasks=100))
    room = [accepted(offer(made, level, 1000)) for level in (LOW, NORMAL, HIGH, CRITICAL)]
    assert room == [70, 10, 10, 10]
    assert accepted(offer(made, CRITICAL, 1)) == 0


def test_a_small_limit_still_lets_every_level_in() -> None:
    for level in (CRITICAL, HIGH, NORMAL, LOW):
        assert accepted(offer(limiter(Limit(queued_tasks=1)), level, 5)) == 1
        assert accepted(offer(limiter(Limit(rate=1.0, burst=1)), level, 5)) == 1


def test_a_limit_of_no_tenant_is_for_each_tenant_by_itself() -> None:
    made = limiter(Limit(queued_tasks=10))
    assert accepted(offer(made, CRITICAL, 50, tenant="flood")) == 10
    assert accepted(offer(made, CRITICAL, 5, tenant="quiet")) == 5


def test_a_limit_of_one_tenant_does_not_hold_others() -> None:
    made = limiter(Limit(tenant="t", queued_tasks=10))
    assert accepted(offer(made, CRITICAL, 50)) == 10
    assert accepted(offer(made, CRITICAL, 50, tenant="u")) == 50


def test_a_shared_limit_is_for_all_tenants_together() -> None:
    made = limiter(Limit(shared=True, queued_tasks=10))
    assert accepted(offer(made, CRITICAL, 7)) == 7
    assert accepted(offer(made, CRITICAL, 7, tenant="u")) == 3


def test_a_task_must_be_within_every_limit_that_applies() -> None:
    made = limiter(Limit(shared=True, queued_tasks=10), Limit(tenant="t", queued_tasks=20), Limit(rate=5.0))
    decision = offer(made, CRITICAL, 30)
    assert accepted(decision) == 10
    assert refusal(decision).subject == "all tenants"


def test_what_waits_already_takes_up_room() -> None:
    made = limiter(Limit(queued_tasks=10))
    made.backlog.begin_look(0.0)
    made.backlog.end_look([("t", LOW, 8, 8.0)])
    assert accepted(offer(made, CRITICAL, 5)) == 2


def test_expected_work_is_limited_in_seconds_of_one_runner() -> None:
    made = limiter(Limit(queued_work_s=1.0))
    assert accepted(offer(made, CRITICAL, 100, work_ms=100.0)) == 10


def test_what_waits_alone_is_let_in_however_much_work_it_is() -> None:
    made = limiter(Limit(queued_work_s=1.0))
    assert accepted(offer(made, LOW, 2, work_ms=60_000.0)) == 1


def test_a_rate_lets_in_a_burst_and_then_so_many_a_second() -> None:
    made = limiter(Limit(rate=10.0, burst=5))
    assert accepted(offer(made, CRITICAL, 100)) == 5
    assert accepted(offer(made, CRITICAL, 100, now_s=0.3)) == 3
    assert accepted(offer(made, CRITICAL, 100, now_s=100.0)) == 5


def test_a_rate_without_a_burst_lets_in_two_seconds_worth_at_once() -> None:
    assert accepted(offer(limiter(Limit(rate=10.0)), CRITICAL, 100)) == 20


def test_a_rate_gives_lower_levels_only_what_higher_ones_leave() -> None:
    made = limiter(Limit(rate=10.0, burst=10))
    assert accepted(offer(made, LOW, 100)) == 7
    assert accepted(offer(made, CRITICAL, 100)) == 3
    # Tokens that come in go to whoever may take the last ones.
    assert accepted(offer(made, LOW, 100, now_s=0.2)) == 0
    assert accepted(offer(made, CRITICAL, 100, now_s=0.2)) == 2


def test_what_was_not_recorded_after_all_gives_its_room_and_its_tokens_back() -> None:
    made = limiter(Limit(queued_tasks=10, rate=10.0, burst=10))
    decision = offer(made, CRITICAL, 10)
    assert accepted(offer(made, CRITICAL, 10)) == 0
    made.settle(decision, {CRITICAL: Waiting(4, 4.0)})
    assert accepted(offer(made, CRITICAL, 10)) == 6


def test_what_was_recorded_as_ended_gives_its_room_back_and_no_token() -> None:
    made = limiter(Limit(queued_tasks=10, rate=10.0, burst=15))
    decision = offer(made, CRITICAL, 10)
    made.settle(decision, {CRITICAL: Waiting(4, 4.0)}, {CRITICAL: 5})
    # Of fifteen tokens nine are spent, and of ten places four are taken.
    assert made.backlog.waiting("t", 0).tasks == 4
    assert accepted(offer(made, CRITICAL, 10)) == 6
    made.backlog.begin_look(0.0)
    made.backlog.end_look([])
    assert accepted(offer(made, CRITICAL, 10)) == 0


def test_a_change_of_the_policy_is_no_second_burst() -> None:
    limit = Limit(rate=10.0, burst=10)
    made = limiter(limit)
    assert accepted(offer(made, CRITICAL, 100)) == 10
    made.follow([limit, Limit(tenant="u", queued_tasks=1)])
    assert accepted(offer(made, CRITICAL, 100)) == 0
    made.follow([limit._replace(rate=20.0, burst=20)])
    assert accepted(offer(made, CRITICAL, 100)) == 0


def refusals_by_wording() -> Sequence[tuple[Limit, int, str, str]]:
    tasks = "at most 10 tasks may wait"
    return (
        (Limit(queued_tasks=10), CRITICAL, "tenant t", tasks),
        (Limit(queued_tasks=10), LOW, "tenant t", f"{tasks}; low is refused from 7 on"),
        (Limit(level=LOW, queued_tasks=10), LOW, "tenant t, level low", tasks),
        (Limit(shared=True, queued_tasks=10), CRITICAL, "all tenants", tasks),
        (
            Limit(queued_work_s=0.01),
            NORMAL,
            "tenant t",
            "at most 0.01 s of expected work may wait; normal is refused from 0.008 s on",
        ),
        (
            Limit(rate=5.0),
            HIGH,
            "tenant t",
            "at most 5 tasks a second may come in, 10 at once; high leaves 10% of those to higher levels",
        ),
    )


@pytest.mark.parametrize(("limit", "level", "subject", "description"), refusals_by_wording())
def test_a_refusal_says_whose_limit_it_is_and_what_it_allows(
    limit: Limit, level: int, subject: str, description: str
) -> None:
    assert refusal(offer(limiter(limit), level, 50))[:2] == (subject, description)


def test_a_rate_says_when_the_next_token_comes() -> None:
    made = limiter(Limit(rate=2.0, burst=1))
    offer(made, CRITICAL, 1)
    assert refusal(offer(made, CRITICAL, 1)).retry_after_s == pytest.approx(0.25)


def test_many_refused_tasks_are_told_to_wait_until_there_is_room_for_a_good_part_of_them() -> None:
    made = limiter(Limit(rate=10.0, burst=20))
    assert refusal(offer(made, CRITICAL, 1000)).retry_after_s == pytest.approx(1.0)


def test_a_full_line_says_when_it_will_have_drained_enough() -> None:
    made = limiter(Limit(queued_tasks=100))
    made.backlog.begin_look(0.0)
    made.backlog.end_look([("t", LOW, 120, 120.0)])
    assert refusal(offer(made, CRITICAL, 50)).retry_after_s == 1.0
    made.backlog.begin_look(1.0)
    made.backlog.end_look([("t", LOW, 110, 110.0)])
    # Ten too many, room for ten, and ten a second go.
    assert refusal(offer(made, CRITICAL, 50)).retry_after_s == pytest.approx(2.0)


def test_nobody_is_told_to_come_back_at_once_or_next_year() -> None:
    slow = limiter(Limit(rate=0.001, burst=1))
    offer(slow, CRITICAL, 1)
    assert refusal(offer(slow, CRITICAL, 1)).retry_after_s == 60.0
    quick = limiter(Limit(rate=100_000.0, burst=1))
    offer(quick, CRITICAL, 1)
    assert refusal(offer(quick, CRITICAL, 1)).retry_after_s == 0.05


def move(made: Limiter, level: int, count: int, *, now_s: float = 0.0) -> Decision:
    return made.decide("t", [Wanted(level, 1.0)] * count, now_s, moved=True)


def test_a_task_that_changes_its_level_must_be_within_the_limits_of_its_new_one() -> None:
    made = limiter(Limit(level=HIGH, queued_tasks=10), Limit(level=LOW, queued_tasks=1))
    assert accepted(move(made, HIGH, 20)) == 10
    assert accepted(offer(made, HIGH, 1)) == 0


def test_what_is_for_all_levels_counts_a_task_that_changes_its_level_once() -> None:
    made = limiter(Limit(queued_tasks=10), Limit(shared=True, queued_tasks=10), Limit(rate=0.001, burst=10))
    assert accepted(offer(made, CRITICAL, 10)) == 10
    assert accepted(move(made, HIGH, 5)) == 5
    assert made.backlog.waiting("t", 0).tasks == made.backlog.waiting("", 0).tasks == 10
    assert made.backlog.waiting("t", HIGH).tasks == made.backlog.waiting("", HIGH).tasks == 5


def test_a_move_that_came_to_nothing_takes_up_no_room_and_no_token() -> None:
    made = limiter(Limit(level=HIGH, queued_tasks=3, rate=0.001, burst=3))
    decision = move(made, HIGH, 3)
    assert accepted(move(made, HIGH, 1)) == 0
    made.settle(decision, {HIGH: Waiting(1, 1.0)})
    assert made.backlog.waiting("t", 0).tasks == 0
    assert accepted(move(made, HIGH, 5)) == 2
