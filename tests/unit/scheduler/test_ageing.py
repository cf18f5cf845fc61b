"""What has waited for too long, seen through the queue of one model."""

from dataclasses import dataclass
from math import inf

import pytest

from scheduler.policies.ageing import LOOK_S, longest_wait_s
from scheduler.policies.expected import UNKNOWN, Expected
from scheduler.policies.model_queue import ModelQueue
from scheduler.policies.ordering import ranked
from scheduler.policies.policy import LevelMode, Policy
from scheduler.states import Level

STRICT = Policy(level_mode=LevelMode.STRICT, ageing_s=10.0, ageing_every=4)
DONE_MS = 10_000
"""By then, what was created at 0 has waited for as long as it may, and 1 ms more is too long."""


@dataclass(eq=False)
class Job:
    name: str
    level: Level
    create_time_ms: int = 0
    sequence: int = 0
    deadline_ms: int = 0
    expected: Expected = UNKNOWN
    urgent: bool = False


class Jobs:
    def __init__(self, policy: Policy = STRICT) -> None:
        self.policy = policy
        self.queue = ModelQueue[Job](policy)
        self.arrived = 0

    def add(self, level: Level, *names: str, at: int = 0, tenant: str = "t", work_ms: float = 1.0) -> None:
        made = []
        for name in names:
            self.arrived += 1
            made.append(Job(name, level, at, self.arrived, expected=Expected(work_ms, work_ms)))
        self.queue.extend(level, tenant, ranked(self.policy, made))

    def take(self, count: int, now_ms: int) -> list[str]:
        return [job.name for job in self.queue.take(count, now_ms)]


def crowd(level: Level, count: int = 99) -> list[str]:
    return [f"{level.label}{place}" for place in range(count)]


def test_strict_levels_keep_to_themselves_until_something_has_waited_for_too_long() -> None:
    jobs = Jobs()
    jobs.add(Level.LOW, "old", "older")
    jobs.add(Level.CRITICAL, *crowd(Level.CRITICAL), at=DONE_MS)
    assert "old" not in jobs.take(20, DONE_MS)
    assert jobs.take(1, DONE_MS + 2_000) == ["old"]


def test_one_of_so_many_starts_is_for_an_elder_also_within_one_batch() -> None:
    jobs = Jobs()
    jobs.add(Level.LOW, "old1", "old2", "old3")
    jobs.add(Level.CRITICAL, *crowd(Level.CRITICAL), at=DONE_MS + 1)
    taken = jobs.take(20, DONE_MS + 1)
    assert [place for place, name in enumerate(taken) if name.startswith("old")] == [3, 7, 11]
    assert jobs.take(9, DONE_MS + 1) == [f"critical{place}" for place in range(17, 26)]


def test_levels_take_turns_the_lowest_first() -> None:
    jobs = Jobs()
    for level in (Level.HIGH, Level.NORMAL, Level.LOW):
        jobs.add(level, *(f"{level.label}-{place}" for place in range(2)))
    jobs.add(Level.CRITICAL, *crowd(Level.CRITICAL), at=DONE_MS + 1)
    taken = jobs.take(24, DONE_MS + 1)
    assert taken[3::4] == ["low-0", "normal-0", "high-0", "low-1", "normal-1", "high-1"]


def test_the_turn_is_for_the_oldest_whatever_the_order_and_the_shares_say() -> None:
    jobs = Jobs(Policy(ageing_s=10.0, ageing_every=2, stretch=1_000.0))
    jobs.add(Level.LOW, *crowd(Level.LOW), at=DONE_MS + 1, tenant="a")
    jobs.add(Level.LOW, "late", at=2, tenant="a", work_ms=1e7)
    jobs.add(Level.LOW, "early", at=1, tenant="b", work_ms=1e7)
    jobs.queue.correct(Level.LOW, "b", 1e9)
    taken = jobs.take(6, DONE_MS + 3)
    assert taken == ["low0", "early", "low1", "late", "low2", "low3"]


def test_what_started_in_its_ordinary_turn_has_no_other() -> None:
    jobs = Jobs(Policy(ageing_s=1.0, ageing_every=2))
    jobs.add(Level.NORMAL, *crowd(Level.NORMAL, 9))
    assert jobs.take(99, 5_000) == crowd(Level.NORMAL, 9)
    assert jobs.queue.count == 0
    assert jobs.take(1, 9_000) == []


def test_looks_are_a_second_apart() -> None:
    jobs = Jobs()
    jobs.add(Level.CRITICAL, *crowd(Level.CRITICAL), at=DONE_MS)
    jobs.take(9, DONE_MS)
    jobs.add(Level.LOW, "old")
    assert "old" not in jobs.take(9, DONE_MS + 999)
    assert jobs.take(1, DONE_MS + 1_000) == ["old"]


def test_a_clock_that_was_put_back_does_not_stop_ageing() -> None:
    jobs = Jobs()
    jobs.add(Level.LOW, "old", at=-20_000)
    jobs.add(Level.CRITICAL, *crowd(Level.CRITICAL), at=DONE_MS)
    jobs.take(1, -15_000)
    assert "old" in jobs.take(9, -9_000)


def test_without_ageing_nothing_goes_out_of_turn() -> None:
    jobs = Jobs(Policy(level_mode=LevelMode.STRICT, ageing_s=0.0))
    jobs.add(Level.LOW, "old")
    jobs.add(Level.CRITICAL, *crowd(Level.CRITICAL))
    assert jobs.take(99, 10**9) == crowd(Level.CRITICAL)


def test_another_policy_ages_from_the_next_start_on() -> None:
    jobs = Jobs(Policy(level_mode=LevelMode.STRICT, ageing_s=1_000.0))
    jobs.add(Level.LOW, "old")
    jobs.add(Level.CRITICAL, *crowd(Level.CRITICAL))
    assert "old" not in jobs.take(9, DONE_MS + 1)
    jobs.queue.follow(STRICT)
    assert jobs.take(1, DONE_MS + 2) == ["old"]


def test_a_turn_out_of_order_is_charged_like_any_start() -> None:
    policy = Policy(weights=dict.fromkeys(Level, 1), ageing_s=10.0, ageing_every=2)
    jobs = Jobs(policy)
    jobs.add(Level.LOW, *(f"old{place}" for place in range(20)))
    jobs.add(Level.LOW, *crowd(Level.LOW, 60), at=DONE_MS + 1)
    jobs.add(Level.HIGH, *crowd(Level.HIGH, 60), at=DONE_MS + 1)
    taken = jobs.take(40, DONE_MS + 1)
    assert sum(name.startswith("high") for name in taken) == 20


@pytest.mark.parametrize(
    ("policy", "starts_per_s", "levels", "bound_s"),
    [
        (Policy(ageing_s=300.0, ageing_every=8), 10.0, 1, 300.0 + LOOK_S + 0.8),
        (Policy(ageing_s=300.0, ageing_every=8), 10.0, 4, 300.0 + LOOK_S + 3.2),
        (Policy(ageing_s=0.0), 10.0, 4, inf),
        (Policy(), 0.0, 4, inf),
    ],
)
def test_the_bound_on_a_wait_follows_from_the_settings(
    policy: Policy, starts_per_s: float, levels: int, bound_s: float
) -> None:
    assert longest_wait_s(policy, starts_per_s, levels) == pytest.approx(bound_s)
