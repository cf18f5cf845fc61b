"""The fluid forecast of starts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.policies.estimate import Asked, Backlog, forecast
from scheduler.policies.fluid import Fleet
from scheduler.policies.levels import DEFAULT_WEIGHTS
from scheduler.states import Level

ONE_RUNNER = Fleet(1000.0, 0, {})


def line(level: Level, tenant: str, tasks: int, before: int = 0, each_ms: float = 10.0) -> Backlog:
    return Backlog(level, tenant, tasks, tasks * each_ms, before)


def asked(level: Level = Level.NORMAL, tenant: str = "a") -> Asked:
    return Asked(level, tenant, 10.0, 10.0)


def test_alone_in_its_level_it_starts_when_the_tasks_before_it_are_done() -> None:
    found, before = forecast(
        asked(), [line(Level.NORMAL, "a", 301, before=300)], ONE_RUNNER, DEFAULT_WEIGHTS, {}
    )
    assert found is not None
    assert found.start_s == pytest.approx(3.0)
    assert [(one.tenant, one.tasks) for one in before] == [("a", 300)]


def test_with_free_credit_and_nobody_before_it_it_starts_at_once() -> None:
    fleet = Fleet(1000.0, 4, {})
    found, before = forecast(asked(), [line(Level.NORMAL, "a", 1)], fleet, DEFAULT_WEIGHTS, {})
    assert found is not None
    assert (found.start_s, before) == (0.0, [])


def test_a_tenant_that_floods_costs_another_only_its_turns() -> None:
    flood = [line(Level.NORMAL, "flood", 100_000), line(Level.NORMAL, "a", 3, before=2)]
    found, before = forecast(asked(), flood, ONE_RUNNER, DEFAULT_WEIGHTS, {})
    assert found is not None
    assert found.start_s == pytest.approx(0.05)
    assert {one.tenant: one.tasks for one in before} == {"a": 2, "flood": 3}


def test_weights_of_tenants_count() -> None:
    both = [line(Level.NORMAL, "heavy", 1000), line(Level.NORMAL, "a", 10, before=9)]
    found, _ = forecast(asked(), both, ONE_RUNNER, DEFAULT_WEIGHTS, {"heavy": 4.0})
    assert found is not None
    assert found.start_s == pytest.approx(0.09 + 0.4)


def test_a_higher_level_with_a_backlog_leaves_the_lower_one_its_share() -> None:
    both = [line(Level.HIGH, "b", 10_000), line(Level.NORMAL, "a", 101, before=100)]
    found, before = forecast(asked(), both, ONE_RUNNER, DEFAULT_WEIGHTS, {})
    assert found is not None
    # Weights 16 to 4: a fifth of the runner.
    assert found.start_s == pytest.approx(5.0)
    assert [(one.level, one.tasks) for one in before] == [(Level.HIGH, 400), (Level.NORMAL, 100)]


def test_in_strict_mode_everything_of_a_higher_level_comes_first() -> None:
    both = [line(Level.HIGH, "b", 400), line(Level.NORMAL, "a", 101, before=100)]
    found, _ = forecast(asked(), both, ONE_RUNNER, DEFAULT_WEIGHTS, {}, strict=True)
    assert found is not None
    assert found.start_s == pytest.approx(5.0)


def test_a_higher_level_that_takes_all_in_strict_mode_leaves_nothing_to_expect() -> None:
    fleet = Fleet(1000.0, 0, {Level.HIGH: 2000.0})
    found, _ = forecast(
        asked(), [line(Level.NORMAL, "a", 2, before=1)], fleet, DEFAULT_WEIGHTS, {}, strict=True
    )
    assert found is None


def test_what_keeps_arriving_at_a_higher_level_is_served_beside() -> None:
    fleet = Fleet(1000.0, 0, {Level.HIGH: 500.0})
    found, _ = forecast(asked(), [line(Level.NORMAL, "a", 101, before=100)], fleet, DEFAULT_WEIGHTS, {})
    assert found is not None
    assert found.start_s == pytest.approx(2.0)


def test_what_arrives_beyond_its_share_becomes_backlog_and_is_served_when_it_stops_coming() -> None:
    # HIGH gets four fifths, 800, of the 2000 that come in for a second; the other 1200 take another second and a half.
    fleet = Fleet(1000.0, 0, {Level.HIGH: 2000.0}, lasting_s={Level.HIGH: 1.0})
    found, _ = forecast(asked(), [line(Level.NORMAL, "a", 51, before=50)], fleet, DEFAULT_WEIGHTS, {})
    assert found is not None
    assert found.start_s == pytest.approx(2.5)
    found, _ = forecast(asked(), [line(Level.NORMAL, "a", 151, before=150)], fleet, DEFAULT_WEIGHTS, {})
    assert found is not None
    assert found.start_s == pytest.approx(2.5 + 1.0)


def test_how_long_work_goes_on_coming_in_makes_the_late_side_of_an_interval_wider() -> None:
    lines = [line(Level.NORMAL, "a", 1001, before=1000)]
    calm, _ = forecast(asked(), lines, ONE_RUNNER, DEFAULT_WEIGHTS, {})
    fleet = Fleet(1000.0, 0, {Level.HIGH: 500.0}, lasting_s={Level.HIGH: 4.0})
    found, _ = forecast(asked(), lines, fleet, DEFAULT_WEIGHTS, {})
    assert calm is not None and found is not None
    assert found.start_s == pytest.approx(12.0)
    assert calm.latest_start_s / calm.start_s < found.latest_start_s / found.start_s
    # Were it to go on for nine times as long, the start would be at 20 s.
    assert 17.0 < found.latest_start_s < 25.0


def test_the_more_tasks_are_before_it_the_less_their_costs_make_a_start_uncertain() -> None:
    steady = ONE_RUNNER._replace(rate_spread=1.01)
    few, many = (
        forecast(asked(), [line(Level.NORMAL, "a", n + 1, n, 1000.0)], steady, DEFAULT_WEIGHTS, {})[0]
        for n in (10, 1000)
    )
    assert few is not None and many is not None
    assert many.latest_start_s / many.start_s < few.latest_start_s / few.start_s


def test_without_a_runner_nothing_can_be_expected() -> None:
    found, before = forecast(
        asked(), [line(Level.NORMAL, "a", 2, before=1)], Fleet(0.0, 0, {}), DEFAULT_WEIGHTS, {}
    )
    assert found is None
    assert [one.tasks for one in before] == [1]


@given(
    lines=st.lists(
        st.tuples(
            st.sampled_from(list(Level)), st.sampled_from("abc"), st.integers(1, 10**6), st.floats(0.1, 1e4)
        ),
        max_size=8,
        unique_by=lambda one: one[:2],
    ),
    level=st.sampled_from(list(Level)),
    rate=st.floats(1.0, 1e6),
    free=st.integers(0, 100),
    arriving=st.dictionaries(st.sampled_from(list(Level)), st.floats(0, 1e6)),
    strict=st.booleans(),
)
def test_a_forecast_is_ordered_and_never_sooner_with_a_slower_fleet(
    lines: list[tuple[Level, str, int, float]],
    level: Level,
    rate: float,
    free: int,
    arriving: dict[Level, float],
    strict: bool,
) -> None:
    backlogs = [line(level, tenant, tasks, tasks // 2, each) for level, tenant, tasks, each in lines]
    task = asked(level)
    quick, _ = forecast(task, backlogs, Fleet(rate, free, arriving), DEFAULT_WEIGHTS, {}, strict=strict)
    slow, _ = forecast(task, backlogs, Fleet(rate / 2, free, arriving), DEFAULT_WEIGHTS, {}, strict=strict)
    if quick is not None:
        assert 0 <= quick.earliest_start_s <= quick.start_s <= quick.latest_start_s
        assert quick.earliest_end_s <= quick.end_s <= quick.latest_end_s
        assert slow is None or slow.start_s >= quick.start_s * (1 - 1e-6) - 1e-6
    else:
        assert slow is None
