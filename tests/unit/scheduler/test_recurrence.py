"""When schedules are due, and what becomes of due times that nobody saw."""

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.policies.recurrence import MISSED_AFTER_MS, WALK, Missed, Recurrence, Turn, turn

MINUTE = 60_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR


def at(text: str, zone: str = "UTC") -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp() * 1000)


def test_an_interval_counts_from_the_creation() -> None:
    every = Recurrence(interval_ms=1500, start_ms=1_000_000)
    assert every.after(0) == every.after(1_000_000) == every.after(1_001_499) == 1_001_500
    assert every.after(1_001_500) == 1_003_000


def test_a_cron_expression_is_read_in_its_time_zone() -> None:
    morning = Recurrence(cron="30 8 * * *", zone="Europe/Berlin")
    assert morning.after(at("2025-01-10T00:00")) == at("2025-01-10T07:30")
    assert morning.after(at("2025-07-10T00:00")) == at("2025-07-10T06:30")
    assert morning.after(at("2025-07-10T06:30")) == at("2025-07-11T06:30")


def test_a_job_of_the_hour_that_is_skipped_in_spring_runs_after_it_and_that_of_the_repeated_one_once() -> (
    None
):
    nightly = Recurrence(cron="30 2 * * *", zone="Europe/Berlin")
    spring = [nightly.after(at("2025-03-29T12:00"))]
    spring.append(nightly.after(spring[0]))
    assert spring == [at("2025-03-30T01:00"), at("2025-03-31T00:30")]
    autumn = [nightly.after(at("2025-10-25T12:00"))]
    autumn.append(nightly.after(autumn[0]))
    assert autumn[1] - autumn[0] in (DAY, DAY + HOUR)
    assert autumn[0] < at("2025-10-26T02:00") < autumn[1]


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ({"cron": "61 * * * *"}, "bad minute"),
        ({"cron": "* * * * * *"}, "five fields"),
        ({"cron": "@daily"}, "five fields"),
        ({"cron": "0 0 30 2 *"}, "bad day-of-month"),
        ({"cron": "L/2 * * * *"}, "bad"),
        ({"cron": "0 0 * * *", "zone": "Mars/Olympus"}, "time zone"),
        ({"cron": "0 0 * * *", "zone": "../../etc/passwd"}, "time zone"),
        ({"cron": "0 0 * * *", "zone": ""}, "time zone"),
        ({"interval_ms": 0}, "at least 1 ms"),
    ],
)
def test_what_means_nothing_is_refused_with_a_sentence(given: dict[str, str], fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        Recurrence(**given)  # type: ignore[arg-type]  # a table of arguments


HOURLY = Recurrence(cron="0 * * * *")
NOON = at("2025-06-01T12:00")


def test_what_is_not_due_has_no_turn() -> None:
    assert turn(HOURLY, Missed.SKIP, NOON, NOON - 1) == Turn(0, 0, NOON)


@pytest.mark.parametrize("missed", Missed)
@pytest.mark.parametrize("late_ms", [0, 1, MISSED_AFTER_MS])
def test_a_due_time_that_is_at_most_a_minute_late_makes_its_task(missed: Missed, late_ms: int) -> None:
    assert turn(HOURLY, missed, NOON, NOON + late_ms) == Turn(NOON, 0, NOON + HOUR)


def test_missed_times_are_skipped_and_counted() -> None:
    assert turn(HOURLY, Missed.SKIP, NOON, NOON + 3 * HOUR + 2 * MINUTE) == Turn(0, 4, NOON + 4 * HOUR)


def test_a_time_that_was_not_missed_fires_after_the_missed_ones() -> None:
    now = NOON + 3 * HOUR
    first = turn(HOURLY, Missed.SKIP, NOON, now)
    assert first == Turn(0, 3, NOON + 3 * HOUR)
    assert turn(HOURLY, Missed.SKIP, first.next_ms, now) == Turn(now, 0, NOON + 4 * HOUR)


def test_missed_times_are_made_up_for_by_one_task_for_the_latest() -> None:
    now = NOON + 3 * HOUR + 2 * MINUTE
    assert turn(HOURLY, Missed.RUN_ONCE, NOON, now) == Turn(NOON + 3 * HOUR, 3, NOON + 4 * HOUR)


@pytest.mark.parametrize("missed", Missed)
def test_a_long_absence_is_worked_off_in_turns_and_every_time_is_counted_once(missed: Missed) -> None:
    minutely, now = Recurrence(cron="* * * * *"), NOON + (2 * WALK + 300) * MINUTE + 1
    due, fired, lost = NOON, [], 0
    while due <= now:
        step = turn(minutely, missed, due, now)
        assert step.next_ms > due
        fired += [step.fire_ms] if step.fire_ms else []
        lost, due = lost + step.missed, step.next_ms
    # The last one is not missed yet.
    assert lost + len(fired) == 2 * WALK + 301
    assert len(fired) == 1 + (missed is Missed.RUN_ONCE)
    assert fired == sorted(fired)


@given(
    interval=st.integers(1000, 366 * DAY),
    turns=st.integers(1, 1000),
    late=st.integers(0, 40 * 366 * DAY),
    missed=st.sampled_from(Missed),
)
def test_a_turn_of_an_interval_never_fires_what_is_to_come_and_always_goes_on(
    interval: int, turns: int, late: int, missed: Missed
) -> None:
    every = Recurrence(interval_ms=interval, start_ms=NOON)
    due = NOON + turns * interval
    now = due + late
    step = turn(every, missed, due, now)
    assert step.next_ms > due
    assert step.fire_ms <= now
    assert (step.next_ms - due) // interval == step.missed + bool(step.fire_ms)
    # What is left can still make its task.
    assert step.next_ms >= now - MISSED_AFTER_MS or late <= MISSED_AFTER_MS
