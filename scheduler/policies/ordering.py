"""The order of one tenant's tasks of one level and model: by a key that never changes while a task waits.

FIFO: the order of arrival. DEADLINE: earliest deadline first (Liu and Layland, "Scheduling Algorithms for
Multiprogramming in a Hard-Real-Time Environment", Journal of the ACM, 1973). SHORTEST: earliest of the deadlines
`created + stretch * expected work` (Bender, Chakrabarti and Muthukrishnan, "Flow and Stretch Metrics for Scheduling
Continuous Job Streams", SODA 1998): with a large stretch the shortest job first, yet nothing waits behind what came
more than `stretch * work` later. BALANCED: the same, but no later than a task must start to meet its deadline.

What came by the express lane goes before all of that, the earliest deadline first: its slack has run out, and what else
its tenant has could be old enough to stand before any deadline.
"""

from collections.abc import Sequence
from operator import attrgetter
from typing import Final, Protocol, TypeVar

from scheduler.policies.expected import Expected
from scheduler.policies.policy import Policy, TaskOrder


class Rankable(Protocol):
    """A waiting task, as far as its order goes."""

    @property
    def create_time_ms(self) -> int:
        """When it was accepted, in milliseconds since the Unix epoch."""
        ...

    @property
    def deadline_ms(self) -> int:
        """When it must have ended, in milliseconds since the Unix epoch; 0 for no deadline."""
        ...

    @property
    def expected(self) -> Expected:
        """What it is expected to cost."""
        ...

    @property
    def urgent(self) -> bool:
        """Whether it came by the express lane."""
        ...

    @property
    def sequence(self) -> int:
        """Its place in the order of arrival; no two are the same."""
        ...


_URGENT: Final = attrgetter("urgent")
_DEADLINE: Final = attrgetter("deadline_ms")
_BEFORE_ALL: Final = 1e15
"""Milliseconds by which urgent tasks are taken to be earlier than all others: thirty thousand years."""

TaskT = TypeVar("TaskT", bound=Rankable)
Ranked = tuple[float, int, TaskT]
"""A task behind its rank, which is the key less than 0, and its sequence less than 0. Of two, the greater goes first:
a list in ascending order has the next one at its end, where removing it costs nothing.
"""


def order_key(policy: Policy, task: Rankable) -> float:
    """Return by what a task is ordered: the lowest is first, and among equals the one that arrived first. Milliseconds
    since the Unix epoch, but for FIFO, where it is the place in the order of arrival.
    """
    if task.urgent:
        return task.deadline_ms - _BEFORE_ALL
    match policy.order:
        case TaskOrder.FIFO:
            return float(task.sequence)
        case TaskOrder.DEADLINE:
            return float(task.deadline_ms or task.create_time_ms + 1000 * policy.patience_s)
    shortest = task.create_time_ms + policy.stretch * task.expected.work_ms
    if policy.order is TaskOrder.BALANCED and task.deadline_ms:
        return min(shortest, task.deadline_ms - task.expected.execute_ms)
    return shortest


def ranked(policy: Policy, tasks: Sequence[TaskT]) -> list[Ranked[TaskT]]:
    """Return tasks with their ranks, in the order in which they were given: `order_key`, many at once."""
    entries = _ranked(policy, tasks)
    if any(map(_URGENT, tasks)):
        for place, (_, sequence, task) in enumerate(entries):
            if task.urgent:
                entries[place] = (_BEFORE_ALL - task.deadline_ms, sequence, task)
    return entries


def _ranked(policy: Policy, tasks: Sequence[TaskT]) -> list[Ranked[TaskT]]:
    match policy.order:
        case TaskOrder.FIFO:
            return [(-float(task.sequence), -task.sequence, task) for task in tasks]
        case TaskOrder.DEADLINE:
            patience_ms = 1000 * policy.patience_s
            return [
                (-float(task.deadline_ms or task.create_time_ms + patience_ms), -task.sequence, task)
                for task in tasks
            ]
    stretch = policy.stretch
    entries = [
        (-(task.create_time_ms + stretch * task.expected.work_ms), -task.sequence, task) for task in tasks
    ]
    if policy.order is TaskOrder.BALANCED and any(map(_DEADLINE, tasks)):
        for place, (rank, sequence, task) in enumerate(entries):
            if task.deadline_ms:
                latest = task.expected.execute_ms - task.deadline_ms
                if latest > rank:
                    entries[place] = (latest, sequence, task)
    return entries
