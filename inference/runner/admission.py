"""The order in which waiting tasks enter the engine: the last place where a level counts.

Levels share by weight, as in the scheduler (scheduler/policies/levels.py); inside a level, first in first out.
"""

from collections import OrderedDict
from collections.abc import Iterable

from inference.runner.held import Held
from scheduler.policies.levels import WeightedLevels
from scheduler.states import Level


class AdmissionQueue:
    """Tasks that wait for a place in the engine. The engine thread owns it; credits bound its length."""

    def __init__(self, levels: WeightedLevels) -> None:
        self._levels = levels
        self._waiting: dict[Level, OrderedDict[str, Held]] = {}
        """Only levels for which something waits."""

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def add(self, tasks: Iterable[Held]) -> None:
        """Let tasks wait behind those of their levels."""
        for task in tasks:
            queue = self._waiting.get(task.level)
            if queue is None:
                queue = self._waiting[task.level] = OrderedDict()
                self._levels.arrive(task.level)
            queue[task.key] = task

    def take(self, room: int) -> list[Held]:
        """Remove and return up to `room` tasks, next first."""
        waiting = self._waiting
        taken: list[Held] = []
        while waiting and len(taken) < room:
            level = self._levels.pick(waiting)
            if level is None:
                break
            queue = waiting[level]
            # A level that waits alone needs no choosing: take all that fits and charge it once.
            count = 1 if len(waiting) > 1 else min(room - len(taken), len(queue))
            taken += [queue.popitem(last=False)[1] for _ in range(count)]
            self._levels.charge(level, count)
            if not queue:
                del waiting[level]
        return taken

    def remove(self, key: str) -> bool:
        """Forget a task; False when it does not wait here."""
        for level, queue in self._waiting.items():
            if queue.pop(key, None) is not None:
                if not queue:
                    del self._waiting[level]
                return True
        return False

    def clear(self) -> list[Held]:
        """Remove and return everything that waits."""
        tasks = [task for queue in self._waiting.values() for task in queue.values()]
        self._waiting.clear()
        return tasks
