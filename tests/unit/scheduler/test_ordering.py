"""The order of one tenant's tasks of one level and model."""

from dataclasses import dataclass, replace

import pytest

from scheduler.policies.expected import UNKNOWN, Expected
from scheduler.policies.ordering import order_key, ranked
from scheduler.policies.policy import Policy, TaskOrder
from scheduler.policies.sorted_tasks import SINGLY, SortedTasks


@dataclass
class Job:
    name: str
    create_time_ms: int = 0
    deadline_ms: int = 0
    expected: Expected = UNKNOWN
    urgent: bool = False
    sequence: int = 0


def jobs(*made: Job) -> list[Job]:
    return [replace(job, sequence=place) for place, job in enumerate(made)]


def order(policy: Policy, tasks: list[Job]) -> str:
    waiting = SortedTasks[Job]()
    waiting.extend(ranked(policy, tasks))
    return "".join(job.name for job in waiting.pop(len(tasks)))


SHORT, LONG = Expected(10.0, 10.0), Expected(1_000.0, 1_000.0)


def test_first_in_first_out_looks_at_nothing_but_the_arrival() -> None:
    tasks = jobs(Job("a", 9, expected=LONG), Job("b", 1, 5), Job("c", 5))
    assert order(Policy(order=TaskOrder.FIFO), tasks) == "abc"


def test_a_short_task_overtakes_a_long_one_that_came_before_by_less_than_its_stretch() -> None:
    policy = Policy(order=TaskOrder.SHORTEST, stretch=10.0)
    assert order(policy, jobs(Job("a", 0, expected=LONG), Job("b", 9_000, expected=SHORT))) == "ba"
    assert order(policy, jobs(Job("a", 0, expected=LONG), Job("b", 10_000, expected=SHORT))) == "ab"


def test_without_a_stretch_the_shortest_first_is_the_oldest_first() -> None:
    policy = Policy(order=TaskOrder.SHORTEST, stretch=0.0)
    assert order(policy, jobs(Job("b", 2, expected=SHORT), Job("a", 1, expected=LONG))) == "ab"


def test_the_earliest_deadline_is_first_and_a_task_without_one_has_patience() -> None:
    policy = Policy(order=TaskOrder.DEADLINE, patience_s=1.0)
    assert order(policy, jobs(Job("a", 0), Job("b", 0, 2_000), Job("c", 0, 500))) == "cab"


@pytest.mark.parametrize("policy", [Policy(order=one) for one in TaskOrder], ids=lambda one: one.order.name)
def test_what_came_by_the_express_lane_goes_first_whatever_the_order_and_however_old_the_rest(
    policy: Policy,
) -> None:
    tasks = jobs(
        Job("c", 1), Job("b", 900_000, 910_000, LONG, urgent=True), Job("a", 900_001, 909_000, urgent=True)
    )
    assert order(policy, tasks) == "abc"
    keys = [order_key(policy, job) for job in tasks]
    assert keys[2] < keys[1] < keys[0]


def test_balanced_is_the_shortest_first_until_a_deadline_is_near() -> None:
    policy = Policy(order=TaskOrder.BALANCED, stretch=10.0)
    far = jobs(Job("a", 0, 60_000, LONG), Job("b", 0, expected=SHORT))
    near = jobs(Job("a", 0, 1_050, LONG), Job("b", 0, expected=SHORT))
    assert order(policy, far) == "ba"
    assert order(policy, near) == "ab"
    # It must start at 50 to be done by 1,050.
    assert order_key(policy, near[0]) == 50.0


def test_an_uncertain_deadline_never_delays_a_task() -> None:
    policy = Policy(order=TaskOrder.BALANCED)
    assert order_key(policy, Job("a", 7, 10**12)) == order_key(policy, Job("a", 7))


@pytest.mark.parametrize("kind", TaskOrder)
def test_equals_keep_the_order_of_their_arrival(kind: TaskOrder) -> None:
    assert order(Policy(order=kind), jobs(*map(Job, "abcdefgh"))) == "abcdefgh"


@pytest.mark.parametrize("newcomers", [1, SINGLY, 5 * SINGLY])
def test_newcomers_are_put_where_they_belong_however_many_they_are(newcomers: int) -> None:
    policy = Policy(order=TaskOrder.DEADLINE)
    first = [Job("", 0, deadline) for deadline in range(1, 6 * SINGLY)]
    later = [Job("", 0, 1 + (7 * place) % (6 * SINGLY)) for place in range(newcomers)]
    tasks = jobs(*first, *later)
    waiting = SortedTasks[Job]()
    waiting.extend(ranked(policy, tasks[: len(first)]))
    waiting.extend(ranked(policy, tasks[len(first) :]))
    assert waiting.pop(999) == sorted(tasks, key=lambda job: (job.deadline_ms, job.sequence))


def test_one_task_is_removed_from_anywhere_and_only_once() -> None:
    entries = ranked(Policy(), jobs(Job("a"), Job("b"), Job("c")))
    waiting = SortedTasks[Job]()
    waiting.extend(list(entries))
    assert waiting.remove(entries[1])
    assert not waiting.remove(entries[1])
    assert [job.name for job in waiting.pop(9)] == ["a", "c"]
    assert not waiting.remove(entries[0])
