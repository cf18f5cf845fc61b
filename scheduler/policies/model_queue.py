"""What waits for one model, and in which order it starts: levels share, inside them tenants, inside them tasks have an
order, and what has waited for too long goes first now and then.

Every model has its own shares, because credit is credit for a model: a level or a tenant that wants one which is free
neither pays for that where models are scarce, nor earns anything by waiting for one that nobody runs.
"""

from collections.abc import Callable, Iterator
from typing import Generic

from scheduler.policies.ageing import Ageing
from scheduler.policies.level_modes import levels_for
from scheduler.policies.level_queue import LevelQueue
from scheduler.policies.levels import Levels
from scheduler.policies.ordering import Ranked, TaskT
from scheduler.policies.policy import Policy
from scheduler.states import Level


class ModelQueue(Generic[TaskT]):
    """Tasks of one model. Its length is kept, so that asking for it costs nothing."""

    __slots__ = ("_ageing", "_queues", "_shares", "_waiting", "count")

    def __init__(self, policy: Policy) -> None:
        self._shares: Levels = levels_for(policy)
        self._ageing: Ageing[TaskT] = Ageing(policy)
        # By the number of the level: hashing a level takes long.
        self._queues = [LevelQueue[TaskT](policy) for _ in range(max(Level) + 1)]
        self._waiting: list[Level] = []
        """Levels that have something waiting."""
        self.count = 0

    def extend(self, level: Level, tenant: str, entries: list[Ranked[TaskT]]) -> None:
        """Let tasks of one level and tenant wait, ranked as the policy says; at least one. The list is used up."""
        queue = self._queues[level]
        if not queue.count:
            self._shares.arrive(level, self._waiting)
            self._waiting.append(level)
        self.count += len(entries)
        queue.extend(tenant, entries)

    def head_key(self) -> float:
        """Return the key (policies/ordering.py) of the task that the shares say is next; something must wait."""
        return -self._queues[self._next_level()].head()[0]

    def take(self, limit: int, now_ms: int) -> list[TaskT]:
        """Remove and return up to `limit` tasks, next first; `now_ms` is wall clock time, for their age."""
        ageing = self._ageing
        if ageing.must_look(now_ms):
            ageing.look(now_ms, self.queues())
        taken: list[TaskT] = []
        while self._waiting and (room := limit - len(taken)) > 0:
            until_turn = ageing.until_turn()
            if until_turn == 0:
                taken += self._take_elder()
            # A level that waits alone needs no choosing.
            elif len(self._waiting) == 1:
                taken += self._start(self._waiting[0], int(min(room, until_turn)))
            else:
                taken += self._start(self._next_level(), 1)
        return taken

    def take_level(self, level: Level, limit: int) -> list[TaskT]:
        """Remove and return up to `limit` tasks of one level, next first."""
        return self._start(level, limit) if self._queues[level].count else []

    def correct(self, level: Level, tenant: str, work_ms: float) -> None:
        """Add what a start did take beyond what was expected."""
        self._shares.correct(level, work_ms)
        self._queues[level].correct(tenant, work_ms)

    def part(self, leaves: Callable[[TaskT], bool]) -> list[TaskT]:
        """Remove and return the tasks of which `leaves` says so, without a charge, in any order."""
        gone: list[TaskT] = []
        for level in list(self._waiting):
            gone += self._queues[level].part(leaves)
            self._note_empty(level)
        self.count -= len(gone)
        return gone

    def follow(self, policy: Policy) -> None:
        """Order and share by another policy from now on."""
        self._shares = levels_for(policy, self._shares)
        self._ageing.follow(policy)
        for queue in self._queues:
            queue.follow(policy)

    def queues(self) -> Iterator[tuple[Level, LevelQueue[TaskT]]]:
        """Go through the queues of the levels that have something waiting."""
        for level in self._waiting:
            yield level, self._queues[level]

    def _next_level(self) -> Level:
        level = self._shares.pick(self._waiting)
        assert level is not None, "asked for only while something waits"
        return level

    def _start(self, level: Level, limit: int) -> list[TaskT]:
        """Let up to `limit` tasks of a level start in a row."""
        taken, work_ms = self._queues[level].take(limit)
        self._shares.charge(level, work_ms, len(taken))
        self._ageing.started(len(taken))
        self.count -= len(taken)
        self._note_empty(level)
        return taken

    def _take_elder(self) -> list[TaskT]:
        """Let the elder whose turn it is start; nothing when all of them have started meanwhile."""
        while (found := self._ageing.next()) is not None:
            level, (_, _, tenant, entry) = found
            if self._queues[level].remove(tenant, entry):
                task = entry[2]
                self._shares.charge(level, task.expected.work_ms)
                self._ageing.took_turn(level)
                self.count -= 1
                self._note_empty(level)
                return [task]
        return []

    def _note_empty(self, level: Level) -> None:
        if not self._queues[level].count:
            self._waiting.remove(level)
