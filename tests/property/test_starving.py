"""No task of a queue that is served and not paused starves, whatever the policy says."""

from dataclasses import replace
from itertools import count
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.lanes import Lane
from scheduler.policies.ageing import LOOK_S, longest_wait_s
from scheduler.policies.policy import LevelMode, Policy, TaskOrder
from scheduler.states import Level
from scheduler.window import Window
from tests.property.waiting_tasks import LEVELS, NOW_MS, TENANTS, Row, Task, policy_values, waiting

STEP_MS = 3_600_000
"""Between two starts where nothing ages: longer than any patience or stretch below reaches."""


@settings(max_examples=40, deadline=None)
@given(policy_values, st.integers(0, 2**32), st.sampled_from([1, 4, 10]))
def test_no_task_starves_under_any_policy_and_the_bound_on_its_wait_holds(
    policy: Policy, seed: int, starts_per_s: int
) -> None:
    policy = replace(policy, ageing_s=min(policy.ageing_s, 20.0))
    random = Random(seed)
    window: Row = Window(6, policy)
    numbers = count()
    here: dict[int, Task] = {}
    overdue: dict[int, tuple[int, int]] = {}
    """Of those who have waited for too long, by number: how many of their level were older then, and starts since."""
    now_ms = NOW_MS
    # Starts until each level had a turn.
    turns = len(Level) * policy.ageing_every
    for _ in range(600):
        for level in LEVELS:
            for index in range(2):
                lane = Lane("default", level, index)
                # Newcomers that the policy may like better: of all tenants, short, with near deadlines.
                while window.has_room(lane):
                    task = waiting(
                        next(numbers),
                        level,
                        random.choice(TENANTS),
                        random.choice([0.01, 1.0, 1e7]),
                        lane=index,
                        create_ms=now_ms,
                        deadline_ms=random.choice([0, now_ms + 1, now_ms + 10**9]),
                    )
                    window.add(task)
                    here[task.envelope] = task
        [task] = window.take({"m": 1}, 1, {}, now_ms)
        del here[task.envelope]
        overdue.pop(task.envelope, None)
        older = dict.fromkeys(Level, 0)
        for number, late in here.items():
            waited_ms = now_ms - late.create_time_ms
            level = late.lane.level
            if waited_ms > 1000 * (policy.ageing_s + LOOK_S):
                before, starts = overdue.get(number, (older[level], 0))
                overdue[number] = before, starts + 1
                assert starts < turns * (before + 1)
                if before == 0:
                    assert waited_ms <= 1000 * longest_wait_s(policy, starts_per_s)
            older[level] += 1
        now_ms += 1000 // starts_per_s


@settings(max_examples=40, deadline=None)
@given(
    st.fixed_dictionaries({level: st.integers(1, 8) for level in LEVELS}),
    st.fixed_dictionaries({tenant: st.floats(0.5, 4) for tenant in TENANTS}),
    st.sampled_from(TaskOrder),
    st.floats(0, 1_000),
    st.floats(1, 3_600),
    st.integers(0, 2**32),
)
def test_without_ageing_weights_alone_let_every_task_start(
    level_weights: dict[Level, int],
    tenant_weights: dict[str, float],
    order: TaskOrder,
    stretch: float,
    patience_s: float,
    seed: int,
) -> None:
    policy = Policy(
        level_mode=LevelMode.WEIGHTED,
        weights=level_weights,
        tenant_weights=tenant_weights,
        ageing_s=0,
        order=order,
        stretch=stretch,
        patience_s=patience_s,
    )
    random = Random(seed)
    window: Row = Window(10_000, policy)
    numbers = count()
    # The first of everybody are as bad as policies let them be: long, and without a deadline.
    victims = set()
    for level in LEVELS:
        for tenant in TENANTS:
            task = waiting(next(numbers), level, tenant, work_ms=3_000)
            window.add(task)
            victims.add(task.envelope)
    now_ms = NOW_MS
    # Each level and tenant needs its part of the work, of tasks that differ by a factor of 3.
    parts = sum(level_weights.values()) / min(level_weights.values())
    parts *= sum(tenant_weights.values()) / min(tenant_weights.values())
    for level in LEVELS:
        for tenant in TENANTS:
            window.add(_newcomer(next(numbers), level, tenant, now_ms, random))
    starts = 0
    while victims:
        starts += 1
        assert starts <= 8 * parts + 100, f"{len(victims)} still wait"
        [task] = window.take({"m": 1}, 1, {}, now_ms)
        victims.discard(task.envelope)
        now_ms += STEP_MS
        window.add(_newcomer(next(numbers), task.lane.level, task.tenant, now_ms, random))


def _newcomer(number: int, level: Level, tenant: str, now_ms: int, random: Random) -> Task:
    """One that every order likes: short, and with a near deadline."""
    return waiting(
        number,
        level,
        tenant,
        1_000.0,
        create_ms=now_ms,
        deadline_ms=random.choice([now_ms + 1, now_ms + 1_000]),
    )
