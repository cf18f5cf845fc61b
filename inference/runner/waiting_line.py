"""Tasks of one level that wait in a runner: first in, first out, but for those whose time runs out.

A task whose slack, the time left to its deadline, has fallen below a bound goes before the others, the earliest
deadline first (Liu and Layland, "Scheduling Algorithms for Multiprogramming in a Hard-Real-Time Environment", Journal
of the ACM, 1973). Others keep the order that the scheduler sent them in: it knows more of them.

Calls of waiting clients all have deadlines, most of them near, and as many may come as the engine can do. So those that
hurry may overtake the first in line so often only, and then it is its turn: nothing waits for ever.
"""

from collections import OrderedDict
from heapq import heapify, heappop, heappush
from math import inf
from typing import Final

from inference.runner.job import Job

MOST_OVERTAKING: Final = 7
"""How often in a row the first in line may be overtaken: one of eight starts is its, as one of eight goes by age in the
scheduler."""


class WaitingLine:
    """Tasks by their keys. Owned by one thread; whoever fills it bounds it."""

    def __init__(self) -> None:
        self._tasks: OrderedDict[str, Job] = OrderedDict()
        self._due: list[tuple[float, str]] = []
        """A heap of deadlines, in monotonic seconds, with the keys of tasks, some of which left already."""
        self._overtaken = 0
        """How often in a row the first in line was overtaken."""

    def __len__(self) -> int:
        return len(self._tasks)

    def add(self, task: Job) -> None:
        """Let a task wait behind the others."""
        self._tasks[task.key] = task
        if task.due_s < inf:
            heappush(self._due, (task.due_s, task.key))
            if len(self._due) > 2 * len(self._tasks) + 16:
                self._due = [(each.due_s, key) for key, each in self._tasks.items() if each.due_s < inf]
                heapify(self._due)

    def take(self, room: int, now_s: float = 0.0, slack_s: float = 0.0) -> tuple[list[Job], int]:
        """Remove the first tasks until `room` places are taken; return them and how many they take.

        By `now_s`, in monotonic seconds, those with less slack than `slack_s` are first.
        """
        taken: list[Job] = []
        places = 0
        while self._tasks and places < room:
            task = self._next(now_s + slack_s)
            taken.append(task)
            places += task.places
        return taken, places

    def find(self, key: str) -> Job | None:
        """Return a task; None when it does not wait here."""
        return self._tasks.get(key)

    def remove(self, key: str) -> bool:
        """Forget a task; False when it does not wait here."""
        return self._tasks.pop(key, None) is not None

    def tasks(self) -> list[Job]:
        """Return everything that waits, in the order in which it came."""
        return list(self._tasks.values())

    def _next(self, before_s: float) -> Job:
        """Remove and return the task whose turn it is; there is one."""
        first = next(iter(self._tasks))
        task = self._urgent(before_s) if self._overtaken < MOST_OVERTAKING else None
        if task is None:
            task = self._tasks.pop(first)
        self._overtaken = self._overtaken + 1 if task.key != first else 0
        return task

    def _urgent(self, before_s: float) -> Job | None:
        """Remove and return the task with the earliest deadline, when that is before a moment."""
        while self._due and self._due[0][0] < before_s:
            _, key = heappop(self._due)
            task = self._tasks.pop(key, None)
            if task is not None:
                return task
        return None
