"""Laws of the order in which tasks start: for all inputs, whatever the policy says."""

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import count, permutations
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.lanes import Lane
from scheduler.policies.expected import Expected
from scheduler.policies.ordering import order_key, ranked
from scheduler.policies.policy import Policy, TaskOrder
from scheduler.states import Level
from scheduler.window import Window
from tests.property.waiting_tasks import LEVELS, NOW_MS, TENANTS, Row, Task, policy_values, waiting

quick = settings(max_examples=50, deadline=None)
slow = settings(max_examples=8, deadline=None)

MODELS = ["a", "b"]

expectations = st.builds(Expected, work_ms=st.floats(0.01, 1e7), execute_ms=st.floats(0.01, 1e7))


# --- Order ---------------------------------------------------------------------------------------------------


@dataclass
class Candidate:
    create_time_ms: int
    deadline_ms: int
    expected: Expected
    urgent: bool = False
    sequence: int = 0


candidates = st.lists(
    st.builds(
        Candidate,
        create_time_ms=st.integers(NOW_MS, NOW_MS + 50),
        deadline_ms=st.sampled_from([0, NOW_MS + 10, NOW_MS + 10_000]),
        expected=expectations,
        urgent=st.booleans(),
    ),
    max_size=12,
)


@quick
@given(policy_values, candidates)
def test_the_order_is_total_and_follows_the_key_and_then_the_arrival(
    policy: Policy, tasks: list[Candidate]
) -> None:
    for sequence, task in enumerate(tasks):
        task.sequence = sequence
    entries = ranked(policy, tasks)
    assert [entry[2] for entry in entries] == tasks
    by_key = sorted(tasks, key=lambda task: (order_key(policy, task), task.sequence))
    assert [entry[2] for entry in sorted(entries, reverse=True)] == by_key
    # Of two, exactly one is before the other, and never because of what the task itself compares like.
    for one, other in permutations(entries, 2):
        assert (one[:2] < other[:2]) != (other[:2] < one[:2])


@quick
@given(policy_values, candidates, st.integers(0, 10**12))
def test_a_task_never_waits_behind_one_that_came_later_than_its_stretch_allows(
    policy: Policy, tasks: list[Candidate], later_ms: int
) -> None:
    policy = replace(policy, order=TaskOrder.SHORTEST)
    for task in tasks:
        task.urgent = False
        bound_ms = task.create_time_ms + policy.stretch * task.expected.work_ms
        rival = Candidate(int(bound_ms) + 1 + later_ms, 0, Expected(0.01, 0.01), sequence=99)
        assert order_key(policy, task) < order_key(policy, rival)


# --- Keeping -------------------------------------------------------------------------------------------------

arrivals = st.tuples(
    st.just("extend"),
    st.sampled_from(LEVELS),
    st.integers(0, 1),
    st.lists(
        st.tuples(st.sampled_from(MODELS), st.sampled_from(TENANTS), st.floats(0.1, 1e5)),
        min_size=1,
        max_size=6,
    ),
)
moves = st.lists(
    st.one_of(
        arrivals,
        arrivals,
        st.tuples(
            st.just("take"),
            st.dictionaries(st.sampled_from(MODELS), st.integers(-1, 5)),
            st.integers(0, 8),
            st.dictionaries(st.sampled_from(MODELS), st.integers(0, 2)),
            st.integers(0, 100_000),
        ),
        st.tuples(st.just("hold"), st.sampled_from([*LEVELS, *MODELS, *TENANTS, None])),
        st.tuples(st.just("withdraw"), st.sampled_from([*MODELS, *TENANTS])),
        st.tuples(st.just("follow"), policy_values),
        st.tuples(
            st.just("correct"), st.sampled_from(LEVELS), st.sampled_from(TENANTS), st.floats(-1e6, 1e6)
        ),
    ),
    max_size=40,
)


def meets(condition: object, task: Task) -> bool:
    return condition in (task.lane.level, task.model, task.tenant)


@settings(max_examples=150, deadline=None)
@given(moves, policy_values)
def test_each_task_leaves_once_whatever_is_done_to_the_window(
    moves: list[tuple[object, ...]], policy: Policy
) -> None:
    window: Row = Window(8, policy)
    numbers = count()
    here: dict[int, Task] = {}
    held: object = None
    now_ms = NOW_MS

    def left(tasks: Iterable[Task]) -> None:
        for task in tasks:
            assert here.pop(task.envelope) is task

    for move in moves:
        match move:
            case ("extend", Level() as level, int() as index, list() as made):
                lane = Lane("default", level, index)
                bundle = [
                    waiting(next(numbers), level, tenant, work_ms, model=model, lane=index, create_ms=now_ms)
                    for model, tenant, work_ms in made
                ]
                window.extend(lane, bundle)
                here.update((task.envelope, task) for task in bundle)
            case ("take", dict() as credits, int() as limit, dict() as reserves, int() as later_ms):
                now_ms += later_ms
                free = [task for task in here.values() if held is None or not meets(held, task)]
                batch = window.take(credits, limit, reserves, now_ms)
                left(batch)
                assert len(batch) <= limit
                assert not any(held is not None and meets(held, task) for task in batch)
                for model in MODELS:
                    of_model = [task for task in batch if task.model == model]
                    over = len(of_model) - max(0, credits.get(model, 0))
                    assert over <= reserves.get(model, 0)
                    assert over <= sum(task.lane.level is Level.CRITICAL for task in of_model)
                    # Nor is it stingy: what is left had no credit, or the limit was reached.
                    waited = sum(task.model == model for task in free)
                    assert len(batch) == limit or len(of_model) >= min(waited, credits.get(model, 0))
            case ("hold", condition):
                held = condition
                window.hold(None if condition is None else partial(meets, condition))
            case ("withdraw", condition):
                wanted = [task for task in here.values() if meets(condition, task)]
                gone = window.withdraw(wanted)
                assert sorted(task.envelope for task in gone) == sorted(task.envelope for task in wanted)
                left(gone)
                assert window.withdraw(wanted) == []
            case ("follow", Policy() as other):
                window.follow(other)
            case ("correct", Level() as level, str() as tenant, float() as delta_ms):
                window.correct(level, tenant, "a", delta_ms)
        assert sum(window.depths().values()) == sum(part.tasks for part in window.contents()) == len(here)
        for level in LEVELS:
            for index in (0, 1):
                lane = Lane("default", level, index)
                assert window.in_window(lane) == sum(task.lane == lane for task in here.values())
    window.hold(None)
    left(window.take(dict.fromkeys(MODELS, 1_000), 1_000, {}, now_ms))
    assert not here
    assert window.models() == set()


@quick
@given(policy_values, policy_values, candidates)
def test_following_another_policy_and_back_leaves_the_order_as_it_was(
    one: Policy, other: Policy, tasks: list[Candidate]
) -> None:
    other = replace(other, level_mode=one.level_mode)

    def order(*detour: Policy) -> list[int]:
        window: Row = Window(99, one)
        for number, task in enumerate(tasks):
            window.add(
                waiting(
                    number,
                    work_ms=task.expected.work_ms,
                    create_ms=task.create_time_ms,
                    deadline_ms=task.deadline_ms,
                )
            )
        for policy in detour:
            window.follow(policy)
        return [task.envelope for task in window.take({"m": 99}, 99)]

    assert order() == order(other, one)
    assert order(other) == order(one, other) == order(other, one, other)


# --- Sharing -------------------------------------------------------------------------------------------------


class Fleet:
    """Executes `slots` tasks at a time. Each one that starts is replaced by one of the same level and tenant, so that
    everybody waits all the time. The work of tasks differs from what was expected by up to `surprise` of it, after it
    was multiplied by the `bias` of their level and tenant.
    """

    def __init__(
        self,
        window: Row,
        random: Random,
        slots: int,
        *,
        surprise: float,
        bias: Mapping[tuple[Level, str], float] | None = None,
    ) -> None:
        self.window = window
        self.random = random
        self.slots = slots
        self.surprise = surprise
        self.bias = bias or {}
        self.spent_ms: dict[tuple[Level, str], float] = {}
        self.largest_ms = 0.0
        self._running: deque[tuple[Task, float]] = deque()
        self._numbers = count()

    def add(self, level: Level, tenant: str) -> None:
        work_ms = self.random.choice([20.0, 50.0, 100.0, 150.0])
        self.window.add(waiting(next(self._numbers), level, tenant, work_ms))

    def start(self) -> Task:
        if len(self._running) == self.slots:
            task, spent_ms = self._running.popleft()
            off_ms = spent_ms - task.expected.work_ms
            self.window.correct(task.lane.level, task.tenant, task.model, off_ms)
        [task] = self.window.take({"m": 1}, 1)
        self.add(task.lane.level, task.tenant)
        whose = (task.lane.level, task.tenant)
        spent_ms = task.expected.work_ms * self.bias.get(whose, 1.0)
        spent_ms *= self.random.uniform(1 - self.surprise, 1 + self.surprise)
        self._running.append((task, spent_ms))
        self.spent_ms[whose] = self.spent_ms.get(whose, 0.0) + spent_ms
        self.largest_ms = max(self.largest_ms, spent_ms, task.expected.work_ms)
        return task


@slow
@given(
    st.fixed_dictionaries({level: st.integers(1, 64) for level in LEVELS}),
    st.integers(0, 2**32),
    st.integers(1, 16),
    st.sampled_from(TaskOrder),
    st.fixed_dictionaries({(level, "ann"): st.floats(0.3, 3) for level in LEVELS}),
)
def test_under_saturation_levels_share_the_work_by_their_weights_within_5_percent(
    weights: dict[Level, int],
    seed: int,
    slots: int,
    order: TaskOrder,
    bias: dict[tuple[Level, str], float],
) -> None:
    window: Row = Window(10_000, Policy(weights=weights, order=order))
    fleet = Fleet(window, Random(seed), slots, surprise=0.9, bias=bias)
    for level in LEVELS:
        for _ in range(8):
            fleet.add(level, "ann")
    for _ in range(8_000):
        fleet.start()
    total_ms = sum(fleet.spent_ms.values())
    for level in LEVELS:
        fair_ms = total_ms * weights[level] / sum(weights.values())
        # What runs at the end was not corrected yet.
        slack_ms = 0.05 * fair_ms + (slots + 2) * fleet.largest_ms
        assert fleet.spent_ms[level, "ann"] == pytest.approx(fair_ms, abs=slack_ms)


def jain(parts: Iterable[float]) -> float:
    """Return Jain's index of fairness: 1 when all are equal (Jain, Chiu and Hawe, DEC-TR-301, 1984)."""
    values = list(parts)
    return sum(values) ** 2 / (len(values) * sum(value * value for value in values))


@slow
@given(st.integers(2, 20), st.integers(0, 2**32), st.integers(1, 16), st.sampled_from(LEVELS))
def test_equal_tenants_get_equal_work_however_wrong_expectations_are(
    tenants: int, seed: int, slots: int, level: Level
) -> None:
    random = Random(seed)
    bias = {(level, str(tenant)): random.choice([0.3, 1.0, 3.0]) for tenant in range(tenants)}
    fleet = Fleet(Window(10_000, Policy()), random, slots, surprise=0.9, bias=bias)
    for tenant in range(tenants):
        # One floods, others have little waiting at a time.
        for _ in range(200 if tenant == 0 else 2):
            fleet.add(level, str(tenant))
    for _ in range(200 * tenants):
        fleet.start()
    assert jain(fleet.spent_ms.values()) >= 0.98


@slow
@given(st.integers(0, 2**32), st.lists(st.floats(0.5, 8), min_size=2, max_size=5))
def test_tenants_share_the_work_by_their_weights(seed: int, shares: list[float]) -> None:
    tenant_weights = {str(tenant): weight for tenant, weight in enumerate(shares)}
    fleet = Fleet(Window(10_000, Policy(tenant_weights=tenant_weights)), Random(seed), 4, surprise=0.5)
    for tenant in tenant_weights:
        for _ in range(4):
            fleet.add(Level.NORMAL, tenant)
    for _ in range(4_000):
        fleet.start()
    total_ms = sum(fleet.spent_ms.values())
    for tenant, weight in tenant_weights.items():
        fair_ms = total_ms * weight / sum(shares)
        slack_ms = 0.02 * fair_ms + 6 * fleet.largest_ms
        assert fleet.spent_ms[Level.NORMAL, tenant] == pytest.approx(fair_ms, abs=slack_ms)


@pytest.mark.parametrize("seed", range(2))
def test_a_flood_of_100_000_delays_the_head_of_another_tenant_by_one_start_of_each_other_one(
    seed: int,
) -> None:
    random = Random(seed)
    window: Row = Window(256, Policy())
    numbers = count()
    lanes = [Lane("default", Level.NORMAL, index) for index in range(2)]
    flood = 100_000
    others = {"bob": 9.0, "cid": 0.5, "victim": 1.0}
    waits: set[str] = set()
    since = worst = 0
    while flood:
        for lane in lanes:
            if window.has_room(lane):
                bundle = [waiting(next(numbers), tenant="flood", lane=lane.index) for _ in range(100)]
                window.extend(lane, bundle)
                flood -= 100
        for tenant, work_ms in others.items():
            if tenant not in waits and random.random() < 0.1:
                window.add(waiting(next(numbers), tenant=tenant, work_ms=work_ms))
                waits.add(tenant)
                since = 0 if tenant == "victim" else since
        [task] = window.take({"m": 1}, 1)
        waits.discard(task.tenant)
        if "victim" in waits:
            since += 1
            worst = max(worst, since)
        assert sum(window.depths().values()) <= 2 * (256 + 100) + len(others)
    assert 0 < worst <= len(others)


# --- Sameness ------------------------------------------------------------------------------------------------


@quick
@given(moves, policy_values)
def test_the_same_tasks_in_the_same_order_always_start_in_the_same_order(
    moves: list[tuple[object, ...]], policy: Policy
) -> None:
    def run() -> list[int]:
        window: Row = Window(8, policy)
        numbers = count()
        started: list[int] = []
        for move in moves:
            match move:
                case ("extend", Level() as level, int() as index, list() as made):
                    for model, tenant, work_ms in made:
                        window.add(waiting(next(numbers), level, tenant, work_ms, model=model, lane=index))
                case ("take", dict() as credits, int() as limit, dict() as reserves, int() as later_ms):
                    batch = window.take(credits, limit, reserves, NOW_MS + later_ms)
                    started += [task.envelope for task in batch]
                case ("follow", Policy() as other):
                    window.follow(other)
        return started

    assert run() == run()
