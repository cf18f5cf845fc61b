"""The order in which waiting tasks enter the engine: the last place where a level counts.

Levels share as in the scheduler (scheduler/policies/level_modes.py), each start counting as 1: what they cost was
charged there. Inside a level, first in first out, but for what must hurry (inference/runner/waiting_line.py).
Suspects of a death enter with none but those of their own group: ordinary tasks and groups take turns, so that neither
waits for ever.
"""

from collections import OrderedDict
from collections.abc import Hashable, Iterable, MutableMapping
from dataclasses import replace
from typing import TypeVar

from inference.runner.job import Job
from inference.runner.waiting_line import WaitingLine
from scheduler.policies.level_modes import levels_for
from scheduler.policies.levels import Levels
from scheduler.policies.policy import DEFAULT_POLICY, Policy
from scheduler.states import Level

WhoseT = TypeVar("WhoseT", bound=Hashable)


class AdmissionQueue:
    """Tasks that wait for a place in the engine. The engine thread owns it; credits bound its length."""

    def __init__(self, levels: Levels) -> None:
        self._levels = levels
        self._slack_s = DEFAULT_POLICY.express_slack_s
        self._waiting: dict[Level, WaitingLine] = {}
        """Ordinary tasks; only levels for which something waits."""
        self._groups: OrderedDict[str, WaitingLine] = OrderedDict()
        """Suspects by the name of their group, the group that came first in front."""
        self._turn = ""
        """Whose tasks entered last: a group's name, or empty for ordinary ones."""

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values())) + sum(map(len, self._groups.values()))

    def __bool__(self) -> bool:
        return bool(self._waiting or self._groups)

    def follow(self, policy: Policy) -> None:
        """Order by another policy from now on; what waits stays."""
        self._levels = levels_for(policy, self._levels)
        self._slack_s = policy.express_slack_s

    def add(self, tasks: Iterable[Job]) -> None:
        """Let tasks wait behind those of their levels, or of their groups."""
        for task in tasks:
            if task.isolation:
                self._groups.setdefault(task.isolation, WaitingLine()).add(task)
                continue
            line = self._waiting.get(task.level)
            if line is None:
                self._levels.arrive(task.level, self._waiting)
                line = self._waiting[task.level] = WaitingLine()
            line.add(task)

    @property
    def critical(self) -> bool:
        """Whether an ordinary CRITICAL task waits."""
        return Level.CRITICAL in self._waiting

    def take(self, room: int, *, occupied: bool = False, now_s: float = 0.0) -> list[Job]:
        """Remove and return what `room` places are for, next first; `occupied` when what entered before
        is still inside. By `now_s`, in monotonic seconds, it is known which deadlines are near.

        A task enters as soon as one place is free for it, however many it takes: if all of them had to be free at
        once, it might wait for ever. Returns nothing while a group waits for the others to leave.
        """
        if occupied:
            if self._turn:
                return self._of_group(self._turn, room)
            return [] if self._groups else self._ordinary(room, now_s)
        if self._groups and not (self._turn and self._waiting):
            self._turn = next(iter(self._groups))
            return self._of_group(self._turn, room)
        self._turn = ""
        return self._ordinary(room, now_s)

    def take_critical(self, room: int, *, now_s: float = 0.0) -> list[Job]:
        """Remove and return CRITICAL tasks for `room` places that others give up for them.

        Returns nothing while suspects are inside or wait for the others to leave: they would be beside each other.
        """
        line = self._waiting.get(Level.CRITICAL)
        if line is None or self._turn or self._groups or room <= 0:
            return []
        taken, _ = line.take(room, now_s, self._slack_s)
        self._levels.charge(Level.CRITICAL, len(taken), len(taken))
        if not line:
            del self._waiting[Level.CRITICAL]
        return taken

    def remove(self, key: str) -> bool:
        """Forget a task; False when it does not wait here."""
        return _remove(self._waiting, key) or (bool(self._groups) and _remove(self._groups, key))

    def raise_level(self, key: str, level: Level) -> None:
        """Let an ordinary task wait behind those of a higher level. Does nothing for one that does not wait here."""
        for line in self._waiting.values():
            task = line.find(key)
            if task is not None:
                if level < task.level:
                    self.remove(key)
                    task.level = level
                    if task.request is not None:
                        task.request = replace(task.request, level=level)
                    self.add((task,))
                return

    def clear(self) -> list[Job]:
        """Remove and return everything that waits."""
        lines = (*self._waiting.values(), *self._groups.values())
        tasks = [task for line in lines for task in line.tasks()]
        self._waiting.clear()
        self._groups.clear()
        return tasks

    def _ordinary(self, room: int, now_s: float) -> list[Job]:
        waiting = self._waiting
        taken: list[Job] = []
        while waiting and room > 0:
            level = self._levels.pick(waiting)
            if level is None:
                break
            line = waiting[level]
            # A level that waits alone needs no choosing: take all that fits and charge it once.
            chosen, places = line.take(1 if len(waiting) > 1 else room, now_s, self._slack_s)
            room -= places
            taken += chosen
            self._levels.charge(level, len(chosen), len(chosen))
            if not line:
                del waiting[level]
        return taken

    def _of_group(self, group: str, room: int) -> list[Job]:
        line = self._groups.get(group)
        if line is None:
            return []
        taken, _ = line.take(room)
        if not line:
            del self._groups[group]
        return taken


def _remove(lines: MutableMapping[WhoseT, WaitingLine], key: str) -> bool:
    for whose, line in lines.items():
        if line.remove(key):
            if not line:
                del lines[whose]
            return True
    return False
