"""Ageing: what has waited for too long goes before every share, order and weight, in a bounded part of the starts.

The levels for which something has waited longer than `ageing_s` take turns, the lowest first; each turn is for the
oldest task of its level and model. At most one of `ageing_every` starts of a model is such a turn, so that under
overload, where everything is old, shares still hold nearly. (Ageing: Silberschatz, Galvin and Gagne, "Operating System
Concepts", Wiley, on CPU scheduling. That its part of the starts is bounded keeps it from becoming first in, first out.)

The bound, for a model that has credit and is not paused. Among the tasks of its window, let one be the oldest of its
level. It starts at the latest with the first `levels * ageing_every` starts of the model, those on the reserve of
CRITICAL left out, after it has waited for `ageing_s + LOOK_S`; `levels` counts the levels, its own among them, that
have tasks as old as that. A task that is not the oldest of its level starts after one more such round for each that is
older: so none starves, whatever the settings.
"""

from collections import deque
from collections.abc import Iterable
from math import inf
from typing import Final, Generic

from scheduler.policies.level_queue import Elder, LevelQueue
from scheduler.policies.ordering import TaskT
from scheduler.policies.policy import Policy
from scheduler.states import Level

LOOK_S: Final = 1.0
"""Time between two looks at who has become too old, in seconds."""


class Ageing(Generic[TaskT]):
    """Knows who has waited for too long for one model, and whether it is their turn."""

    __slots__ = ("_ageing_ms", "_elders", "_every", "_looked_ms", "_since", "_turns")

    def __init__(self, policy: Policy) -> None:
        self._turns = sorted(Level, reverse=True)
        """Levels by how long ago they had a turn; before the first one, the lowest in front."""
        self._since = 0
        self._elders: dict[Level, deque[Elder[TaskT]]] = {}
        self._looked_ms = -inf
        self.follow(policy)

    def follow(self, policy: Policy) -> None:
        """Go by another policy, and forget who was too old: entries of queues have changed."""
        self._ageing_ms = 1000 * policy.ageing_s
        self._every = policy.ageing_every
        self._elders = {}
        self._looked_ms = -inf

    def must_look(self, now_ms: int) -> bool:
        """Whether it is time to look for who is too old; `now_ms` is wall clock time."""
        return self._ageing_ms > 0 and not self._looked_ms <= now_ms < self._looked_ms + 1000 * LOOK_S

    def look(self, now_ms: int, queues: Iterable[tuple[Level, LevelQueue[TaskT]]]) -> None:
        """See who is too old by now among all who wait for the model."""
        self._looked_ms = now_ms
        self._elders = {}
        for level, queue in queues:
            elders = queue.created_before(now_ms - self._ageing_ms)
            if elders:
                elders.sort()
                self._elders[level] = deque(elders)

    def started(self, starts: int) -> None:
        """Count starts that were no turn of an elder."""
        self._since += starts

    def until_turn(self) -> float:
        """Return how many other starts there are before the next turn of an elder; infinity when there is none."""
        return max(0, self._every - 1 - self._since) if self._elders else inf

    def next(self) -> tuple[Level, Elder[TaskT]] | None:
        """Remove and return who is next among the elders, and its level; it may have started already."""
        for level in self._turns:
            elders = self._elders.get(level)
            if elders is not None:
                elder = elders.popleft()
                if not elders:
                    del self._elders[level]
                return level, elder
        return None

    def took_turn(self, level: Level) -> None:
        """Count a start that was the turn of an elder of this level."""
        self._since = 0
        self._turns.remove(level)
        self._turns.append(level)


def longest_wait_s(policy: Policy, starts_per_s: float, levels: int = len(Level)) -> float:
    """Return how long the oldest task of a level waits at the longest, in seconds, as the module says: for a model that
    starts so many tasks per second, while so many levels have tasks that waited too long. Infinity without ageing:
    then only weights bound it.
    """
    if not policy.ageing_s or starts_per_s <= 0:
        return inf
    return policy.ageing_s + LOOK_S + levels * policy.ageing_every / starts_per_s
