"""The circuit of one runner."""

from scheduler.routing.breaker import FIRST_REST_S, LEAST, LONGEST_REST_S, WINDOW, Breaker, Circuit

HEALTHY = (0, 20)


def opened(now_s: float = 0.0) -> Breaker:
    breaker = Breaker()
    for _ in range(LEAST):
        breaker.outcome(True, now_s, HEALTHY)
    assert breaker.state(now_s) is Circuit.OPEN
    return breaker


def test_a_runner_that_fails_where_others_do_not_gets_no_more_work() -> None:
    breaker = opened()
    assert breaker.room(0.1, 0, 8) == 0


def test_a_flood_of_tasks_that_fail_everywhere_takes_nobody_out() -> None:
    breaker = Breaker()
    for _ in range(3 * WINDOW):
        breaker.outcome(True, 0.0, (18, 20))
    assert breaker.state(0.0) is Circuit.CLOSED


def test_the_only_runner_of_a_model_is_never_taken_out() -> None:
    breaker = Breaker()
    for _ in range(3 * WINDOW):
        breaker.outcome(True, 0.0, (0, 0))
    assert breaker.room(0.0, 0, 8) == 8


def test_a_few_failures_among_many_successes_take_nobody_out() -> None:
    breaker = Breaker()
    for turn in range(10 * WINDOW):
        breaker.outcome(turn % 3 == 0, 0.0, HEALTHY)
    assert breaker.state(0.0) is Circuit.CLOSED


def test_after_its_rest_it_is_tried_with_one_task_at_a_time() -> None:
    breaker = opened()
    later_s = FIRST_REST_S
    assert breaker.state(later_s) is Circuit.HALF_OPEN
    assert breaker.room(later_s, 0, 8) == 1
    assert breaker.room(later_s, 1, 7) == 0


def test_a_probe_that_goes_well_brings_it_back_with_a_clean_past() -> None:
    breaker = opened()
    assert breaker.outcome(False, FIRST_REST_S, HEALTHY)
    assert breaker.state(FIRST_REST_S) is Circuit.CLOSED
    assert breaker.failures == (0, 0)


def test_each_probe_that_fails_doubles_the_rest_up_to_a_minute() -> None:
    breaker, now_s, rest_s = opened(), 0.0, FIRST_REST_S
    for _ in range(8):
        now_s += rest_s
        assert breaker.state(now_s) is Circuit.HALF_OPEN
        breaker.outcome(True, now_s, HEALTHY)
        rest_s = min(LONGEST_REST_S, 2 * rest_s)
        assert breaker.state(now_s + 0.99 * rest_s) is Circuit.OPEN
    assert rest_s == LONGEST_REST_S


def test_what_was_assigned_before_it_opened_neither_closes_nor_prolongs_it() -> None:
    breaker = opened()
    assert not breaker.outcome(False, 0.5, HEALTHY)
    assert breaker.state(0.5) is Circuit.OPEN
    breaker.outcome(True, 0.9, HEALTHY)
    assert breaker.state(FIRST_REST_S) is Circuit.HALF_OPEN
