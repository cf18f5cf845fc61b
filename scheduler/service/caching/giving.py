"""Gives known answers to tasks that are set aside in their windows, as fast as their tenants may be given any.

Each task that ends has a copy of its answer in its record, and the record store evicts nothing: so each tenant has a
budget of bytes (services/answer_budget.py). What is over it waits in its place in the window, in the order in which it
came, and its answer with it: nothing is computed again. Where more answers wait than are to be in memory, their tasks
are taken again when it is their turn, and look for theirs anew.
"""

import asyncio
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from scheduler.lanes import Lane
from scheduler.ports.answers import Answer
from scheduler.ports.clock import Clock
from scheduler.service.caching.answering import Answering, size_of
from scheduler.service.caching.telling import Came
from scheduler.service.entry import PoolWindow, Waiting
from scheduler.service.intake import Intake
from services.answer_budget import AnswerBudget

PAUSE_S: Final = 0.05
"""Between two looks at who may be given more."""
MOST_HELD_BYTES: Final = 64 << 20
"""Bytes of answers that wait in memory for the budgets of tenants, together."""


@dataclass(slots=True, eq=False)
class _Owed:
    """What tasks of one tenant are to be given."""

    tasks: deque[Waiting]
    size: int
    """Bytes that each of them is given."""
    answer: Answer | None
    """None where there was no room for it."""
    came: Came


class Giving:
    """Ends tasks that are set aside, or lets them be taken again; others wait while `run` runs."""

    def __init__(
        self,
        budget: AnswerBudget,
        answering: Answering,
        windows: Mapping[str, PoolWindow],
        intakes: Mapping[str, Intake],
        wake: asyncio.Event,
        clock: Clock,
    ) -> None:
        """`wake` is set when tasks may be taken again."""
        self._budget = budget
        self._answering = answering
        self._windows = windows
        self._intakes = intakes
        self._wake = wake
        self._clock = clock
        self._owed: dict[str, deque[_Owed]] = {}
        self._held_bytes = 0
        self._some = asyncio.Event()

    def give(self, tasks: Iterable[Waiting], answer: Answer, came: Came) -> None:
        """End tasks with an answer, each as soon as its tenant may be given as much; `came` is where from."""
        size = size_of(answer)
        ready: list[Waiting] = []
        later: dict[str, deque[Waiting]] = {}
        for task in tasks:
            if not self._is_behind(task.tenant) and self._budget.spend(task.tenant, size):
                ready.append(task)
            else:
                later.setdefault(task.tenant, deque()).append(task)
        self._end(ready, answer, came)
        for tenant, waiting in later.items():
            held = self._held_bytes + size <= MOST_HELD_BYTES
            self._held_bytes += size * held
            self._owed.setdefault(tenant, deque()).append(
                _Owed(waiting, size, answer if held else None, came)
            )
            self._some.set()

    def take_again(self, tasks: Iterable[Waiting]) -> None:
        """Let tasks be taken again, in their places."""
        for pool, each in _by_pool(tasks).items():
            self._windows[pool].rejoin(each)
            self._wake.set()

    async def run(self) -> None:
        """Give for ever. Cancelling it leaves tasks to their messages."""
        while True:
            await self._some.wait()
            await self._clock.sleep(PAUSE_S)
            for tenant, owed in list(self._owed.items()):
                self._pay(tenant, owed)
                if not owed:
                    del self._owed[tenant]
            if not self._owed:
                self._some.clear()

    def _is_behind(self, tenant: str) -> bool:
        """Whether a tenant's next answer is one that waits here. Where that is to be looked for again, what was found
        meanwhile does not wait for it: it may be what was looked for.
        """
        owed = self._owed.get(tenant)
        return owed is not None and owed[0].answer is not None

    def _pay(self, tenant: str, owed: deque[_Owed]) -> None:
        """Give what a tenant is owed, as far as its budget goes."""
        lent = 0
        while owed:
            first = owed[0]
            ready: list[Waiting] = []
            while first.tasks and self._budget.spend(tenant, first.size):
                ready.append(first.tasks.popleft())
            if first.answer is not None:
                self._end(ready, first.answer, first.came)
            else:
                # They spend it when their answer was found again: no more are looked for than can have one.
                lent += first.size * len(ready)
                self.take_again(ready)
            if first.tasks:
                break
            owed.popleft()
            self._held_bytes -= first.size * (first.answer is not None)
        self._budget.give_back(tenant, lent)

    def _end(self, tasks: Sequence[Waiting], answer: Answer, came: Came) -> None:
        if not tasks:
            return
        self._answering.end(tasks, answer, came, spent=True)
        for pool, each in _by_pool(tasks).items():
            self._windows[pool].leave(each)
            lanes: set[Lane] = {task.lane for task in each}
            self._intakes[pool].made_room(lanes)
        self._wake.set()


def _by_pool(tasks: Iterable[Waiting]) -> dict[str, list[Waiting]]:
    pools: dict[str, list[Waiting]] = {}
    for task in tasks:
        pools.setdefault(task.lane.pool, []).append(task)
    return pools
