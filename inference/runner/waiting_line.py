"""Tasks of one level that wait in a runner: first in, first out, but for those whose time runs out.

A task whose slack, the time left to its deadline, has fallen below a bound goes before the others, the earliest
deadline first (Liu and Layland, "Scheduling Algorithms for Multiprogramming in a Hard-Real-Time Environment", Journal
of the ACM, 1973). Others keep the order that the scheduler sent them in: it knows more of them.
"""

from collections import OrderedDict
from heapq import heapify, heappop, heappush

from inference.runner.held import Held


class WaitingLine:
    """Tasks by their keys. Owned by one thread; whoever fills it bounds it."""

    def __init__(self) -> None:
        self._tasks: OrderedDict[str, Held] = OrderedDict()
        self._due: list[tuple[float, str]] = []
        """A heap of deadlines, in monotonic seconds, with the keys of tasks, some of which left already."""

    def __len__(self) -> int:
        return len(self._tasks)

    def add(self, task: Held) -> None:
        """Let a task wait behind the others."""
        self._tasks[task.key] = task
        if task.deadline_ms:
            heappush(self._due, (_due_s(task), task.key))
            if len(self._due) > 2 * len(self._tasks) + 16:
                self._due = [(_due_s(each), key) for key, each in self._tasks.items() if each.deadline_ms]
                heapify(self._due)

    def take(self, room: int, now_s: float = 0.0, slack_s: float = 0.0) -> tuple[list[Held], int]:
        """Remove the first tasks until `room` places are taken; return them and how many they take.

        By `now_s`, in monotonic seconds, those with less slack than `slack_s` are first.
        """
        taken: list[Held] = []
        places = 0
        while self._tasks and places < room:
            task = self._urgent(now_s + slack_s) or self._tasks.popitem(last=False)[1]
            taken.append(task)
            places += task.places
        return taken, places

    def remove(self, key: str) -> bool:
        """Forget a task; False when it does not wait here."""
        return self._tasks.pop(key, None) is not None

    def tasks(self) -> list[Held]:
        """Return everything that waits, in the order in which it came."""
        return list(self._tasks.values())

    def _urgent(self, before_s: float) -> Held | None:
        """Remove and return the task with the earliest deadline, when that is before a moment."""
        while self._due and self._due[0][0] < before_s:
            _, key = heappop(self._due)
            task = self._tasks.pop(key, None)
            if task is not None:
                return task
        return None


def _due_s(task: Held) -> float:
    """Return the deadline in monotonic seconds: the lease tells what the store's clock said when it was received."""
    return task.received_s + (task.deadline_ms - task.lease_time_ms) / 1000
