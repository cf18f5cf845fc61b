"""Answers that wait for the budgets of tenants, and what becomes of a budget when a task ends in another way."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Any, cast

import pytest
from prometheus_client import CollectorRegistry

from observability.metrics import SchedulerMetrics
from scheduler.errors import RecordsUnavailable
from scheduler.lanes import Lane
from scheduler.policies.policy import DEFAULT_POLICY
from scheduler.ports.answers import Answer, Answered, Closed
from scheduler.service.caching.answering import Answering
from scheduler.service.caching.giving import MOST_HELD_BYTES, PAUSE_S, Giving
from scheduler.service.caching.telling import HIT, Came
from scheduler.service.entry import PoolWindow, Waiting
from scheduler.states import Level, TaskState
from services.answer_budget import AnswerBudget

POOL = "default"
CAME = Came(HIT)
SMALL = Answer(TaskState.SUCCEEDED, bytes(10), "CACHED")


class Everything:
    """Takes whatever it is told."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_, **__: None


class Rounds:
    """A clock that does something at each sleep, and ends whoever sleeps after so many of them."""

    def __init__(self, rounds: int) -> None:
        self.now_s = 0.0
        self.left = rounds
        self.each: Callable[[], None] = Everything().nothing

    def monotonic(self) -> float:
        return self.now_s

    async def sleep(self, seconds: float) -> None:
        self.now_s += seconds
        self.left -= 1
        self.each()
        if not self.left:
            raise asyncio.CancelledError


class Ended:
    """In the place of what ends tasks."""

    def __init__(self) -> None:
        self.ids: list[str] = []

    def end(self, tasks: Iterable[Waiting], answer: Answer, came: Came, *, spent: bool) -> None:
        assert spent
        self.ids += [task.id for task in tasks]


class House:
    """What gives answers, with a window of its own."""

    def __init__(self, rounds: int, per_s: float) -> None:
        self.clock = Rounds(rounds)
        self.budget = AnswerBudget(self.clock.monotonic, per_s=per_s, at_once=1_000.0)
        self.window = PoolWindow(1_024, DEFAULT_POLICY)
        self.ended = Ended()
        self.giving = Giving(
            self.budget,
            cast(Any, self.ended),
            {POOL: self.window},
            {POOL: cast(Any, Everything())},
            asyncio.Event(),
            cast(Any, self.clock),
        )

    def owes(self, tenant: str, answer: Answer, *names: str) -> None:
        """Let tasks come that are found the same answer one by one."""
        for name in names:
            self.window.add(waiting(name, tenant))
        assert self.looks_again(answer) == len(names)

    def looks_again(self, answer: Answer) -> int:
        """Find the same answer for all that may be taken; returns how many there were."""
        taken = self.window.take({"m": 512}, 512)
        for task in taken:
            self.window.set_aside([task])
            self.giving.give([task], answer, CAME)
        return len(taken)

    async def run(self) -> None:
        with pytest.raises(asyncio.CancelledError):
            await self.giving.run()


def waiting(name: str, tenant: str) -> Waiting:
    lane = Lane(POOL, Level.NORMAL, 0)
    return Waiting(name, 1, "m", lane, 0, cast(Any, None), cast(Any, None), tenant=tenant)


def in_debt(budget: AnswerBudget, tenant: str, debt: int) -> None:
    assert budget.spend(tenant, 1_000 + debt)


async def test_a_tenant_whose_answers_have_no_room_in_memory_is_given_them_when_it_may_have_them() -> None:
    house = House(rounds=40, per_s=1_000.0)
    # One tenant has all the memory that there is, for long.
    in_debt(house.budget, "greedy", 10**9)
    house.owes("greedy", SMALL._replace(body=bytes(MOST_HELD_BYTES)), "g")
    in_debt(house.budget, "t", 1)
    house.owes("t", SMALL, "a", "b", "c")
    house.clock.each = lambda: cast(None, house.looks_again(SMALL))
    await house.run()
    assert sorted(house.ended.ids) == ["a", "b", "c"]


async def test_no_more_answers_are_looked_for_again_than_their_tenant_may_be_given() -> None:
    house = House(rounds=11, per_s=100.0 / PAUSE_S)
    in_debt(house.budget, "greedy", 10**9)
    house.owes("greedy", SMALL._replace(body=bytes(MOST_HELD_BYTES)), "g")
    large = SMALL._replace(body=bytes(100))
    in_debt(house.budget, "t", 1)
    house.owes("t", large, *map(str, range(100)))
    looks: list[int] = []
    house.clock.each = lambda: looks.append(house.looks_again(large))
    await house.run()
    assert max(looks) <= 2
    assert 8 <= len(house.ended.ids) <= 11


class Verdicts:
    """A record store that says of tasks what it is told to; where it is told nothing, it is away."""

    def __init__(self, *verdicts: Closed) -> None:
        self.verdicts = list(verdicts)
        self.asked = asyncio.Event()

    async def answer(self, answered: Sequence[Answered]) -> list[Closed]:
        self.asked.set()
        if not self.verdicts:
            raise RecordsUnavailable("away")
        return self.verdicts


async def left_of_budget(store: Verdicts, spent: bool = True) -> int:
    """Return how many answers a tenant of five may still be given when as many as there are verdicts were tried."""
    budget = AnswerBudget(lambda: 0.0, per_s=1.0, at_once=50.0)
    nobody: Any = Everything()
    answering = Answering(
        cast(Any, store), nobody, nobody, SchedulerMetrics(CollectorRegistry()), nobody, budget
    )
    tasks = [waiting(str(number), "t") for number in range(len(store.verdicts) or 1)]
    if spent:
        assert all(budget.spend("t", 10) for _ in tasks)
    answering.end(tasks, SMALL, CAME, spent=spent)
    running = asyncio.ensure_future(answering.run())
    await store.asked.wait()
    await asyncio.sleep(0)
    running.cancel()
    await asyncio.wait([running])
    return sum(budget.spend("t", 10) for _ in range(9))


async def test_what_was_spent_for_tasks_that_did_not_end_with_their_answer_is_given_back() -> None:
    ended, others = Closed.ENDED, (Closed.STALE, Closed.EXPIRED, Closed.HELD)
    assert await left_of_budget(Verdicts(ended, *others)) == 4
    assert await left_of_budget(Verdicts(ended, ended)) == 3
    # Nothing was spent for an answer that says that there is none.
    assert await left_of_budget(Verdicts(*others), spent=False) == 5


async def test_what_was_spent_for_tasks_that_may_have_ended_stays_spent() -> None:
    assert await left_of_budget(Verdicts()) == 4
