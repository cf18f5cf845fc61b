"""The order in which waiting tasks enter the engine: the last place where a level counts.

Levels share by weight, as in the scheduler (scheduler/policies/levels.py); inside a level, first in first out.
Suspects of a death enter with none but those of their own group: ordinary tasks and groups take turns, so that neither
waits for ever.
"""

from collections import OrderedDict
from collections.abc import Iterable, MutableMapping
from typing import Any

from inference.runner.held import Held
from scheduler.policies.levels import WeightedLevels
from scheduler.states import Level


class AdmissionQueue:
    """Tasks that wait for a place in the engine. The engine thread owns it; credits bound its length."""

    def __init__(self, levels: WeightedLevels) -> None:
        self._levels = levels
        self._waiting: dict[Level, OrderedDict[str, Held]] = {}
        """Ordinary tasks; only levels for which something waits."""
        self._groups: OrderedDict[str, OrderedDict[str, Held]] = OrderedDict()
        """Suspects by the name of their group, the group that came first in front."""
        self._turn = ""
        """Whose tasks entered last: a group's name, or empty for ordinary ones."""

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values())) + sum(map(len, self._groups.values()))

    def __bool__(self) -> bool:
        return bool(self._waiting or self._groups)

    def add(self, tasks: Iterable[Held]) -> None:
        """Let tasks wait behind those of their levels, or of their groups."""
        for task in tasks:
            if task.isolation:
                self._groups.setdefault(task.isolation, OrderedDict())[task.key] = task
                continue
            queue = self._waiting.get(task.level)
            if queue is None:
                queue = self._waiting[task.level] = OrderedDict()
                self._levels.arrive(task.level)
            queue[task.key] = task

    @property
    def critical(self) -> bool:
        """Whether an ordinary CRITICAL task waits."""
        return Level.CRITICAL in self._waiting

    def take(self, room: int, *, occupied: bool = False) -> list[Held]:
        """Remove and return what `room` places are for, next first; `occupied` when what entered before
        is still inside.

        A task enters as soon as one place is free for it, however many it takes: if all of them had to be free at
        once, it might wait for ever. Returns nothing while a group waits for the others to leave.
        """
        if occupied:
            if self._turn:
                return self._of_group(self._turn, room)
            return [] if self._groups else self._ordinary(room)
        if self._groups and not (self._turn and self._waiting):
            self._turn = next(iter(self._groups))
            return self._of_group(self._turn, room)
        self._turn = ""
        return self._ordinary(room)

    def take_critical(self, room: int) -> list[Held]:
        """Remove and return CRITICAL tasks for `room` places that others give up for them.

        Returns nothing while suspects are inside or wait for the others to leave: they would be beside each other.
        """
        queue = self._waiting.get(Level.CRITICAL)
        if queue is None or self._turn or self._groups:
            return []
        taken, _ = _first(queue, room)
        self._levels.charge(Level.CRITICAL, len(taken))
        if not queue:
            del self._waiting[Level.CRITICAL]
        return taken

    def remove(self, key: str) -> bool:
        """Forget a task; False when it does not wait here."""
        return _remove(self._waiting, key) or (bool(self._groups) and _remove(self._groups, key))

    def clear(self) -> list[Held]:
        """Remove and return everything that waits."""
        queues = (*self._waiting.values(), *self._groups.values())
        tasks = [task for queue in queues for task in queue.values()]
        self._waiting.clear()
        self._groups.clear()
        return tasks

    def _ordinary(self, room: int) -> list[Held]:
        waiting = self._waiting
        taken: list[Held] = []
        while waiting and room > 0:
            level = self._levels.pick(waiting)
            if level is None:
                break
            queue = waiting[level]
            # A level that waits alone needs no choosing: take all that fits and charge it once.
            chosen, places = _first(queue, 1 if len(waiting) > 1 else room)
            room -= places
            taken += chosen
            self._levels.charge(level, len(chosen))
            if not queue:
                del waiting[level]
        return taken

    def _of_group(self, group: str, room: int) -> list[Held]:
        queue = self._groups.get(group)
        if queue is None:
            return []
        taken, _ = _first(queue, room)
        if not queue:
            del self._groups[group]
        return taken


def _first(queue: OrderedDict[str, Held], room: int) -> tuple[list[Held], int]:
    """Remove the first tasks of a queue until `room` places are taken; return them and how many they take."""
    taken: list[Held] = []
    places = 0
    while queue and places < room:
        _, task = queue.popitem(last=False)
        taken.append(task)
        places += task.places
    return taken, places


def _remove(queues: MutableMapping[Any, OrderedDict[str, Held]], key: str) -> bool:
    for name, queue in queues.items():
        if queue.pop(key, None) is not None:
            if not queue:
                del queues[name]
            return True
    return False
