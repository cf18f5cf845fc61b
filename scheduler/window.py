"""The bounded part of the backlog that a scheduler keeps in memory and orders.

Tasks enter from lanes, bundle by bundle, and leave when a runner has credit for their model. Order: levels share by
weight (policies/levels.py); inside a level and model, first in first out. The window never asks for more of a lane
than `per_lane` waiting tasks, so a backlog of any length costs the scheduler the same.
"""

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from scheduler.lanes import Lane
from scheduler.policies.levels import WeightedLevels
from scheduler.states import Level

EnvelopeT = TypeVar("EnvelopeT")
"""What the log carried for one task; opaque here."""
BundleT = TypeVar("BundleT")
"""The message that a task came in, as the settlement knows it; opaque here."""


@dataclass(slots=True, eq=False)
class WaitingTask(Generic[EnvelopeT, BundleT]):
    """A task of the window, with what is needed to choose it, lease it and settle its message."""

    id: str
    publication: int
    model: str
    lane: Lane
    create_time_ms: int
    envelope: EnvelopeT
    bundle: BundleT
    received_ns: int = 0
    """When it arrived here, nanoseconds since the Unix epoch, for its trace."""


class Window(Generic[EnvelopeT, BundleT]):
    """Waiting tasks of one pool by level and model. Owned by one event loop."""

    def __init__(self, per_lane: int, levels: WeightedLevels) -> None:
        self._per_lane = per_lane
        self._levels = levels
        self._queues: dict[Level, dict[str, deque[WaitingTask[EnvelopeT, BundleT]]]] = {
            level: {} for level in Level
        }
        self._waiting: dict[Lane, int] = {}

    def has_room(self, lane: Lane) -> bool:
        """Whether the lane may bring another bundle. One bundle may overshoot the bound."""
        return self._waiting.get(lane, 0) < self._per_lane

    def add(self, task: WaitingTask[EnvelopeT, BundleT]) -> None:
        """Let a task wait behind those of its level and model."""
        self.extend(task.lane, (task,))

    def extend(self, lane: Lane, tasks: Iterable[WaitingTask[EnvelopeT, BundleT]]) -> None:
        """Let the tasks of one bundle wait, each behind those of its level and model."""
        queues = self._queues[lane.level]
        idle = not queues
        count = 0
        for task in tasks:
            queue = queues.get(task.model)
            if queue is None:
                queue = queues[task.model] = deque()
            queue.append(task)
            count += 1
        if idle and count:
            self._levels.arrive(lane.level)
        self._waiting[lane] = self._waiting.get(lane, 0) + count

    def take(self, credits: Mapping[str, int], limit: int) -> list[WaitingTask[EnvelopeT, BundleT]]:
        """Remove and return up to `limit` tasks, next first, at most `credits[model]` of each model."""
        left = {model: count for model, count in credits.items() if count > 0}
        heads = {
            level: queues for level, queues in self._queues.items() if any(model in left for model in queues)
        }
        taken: list[WaitingTask[EnvelopeT, BundleT]] = []
        while heads and len(taken) < limit:
            level = self._levels.pick(heads)
            if level is None:
                break
            queues = heads[level]
            model = self._oldest_model(queues, left)
            if model is None:
                del heads[level]
                continue
            queue = queues[model]
            task = queue.popleft()
            if not queue:
                del queues[model]
            self._levels.charge(level)
            self._waiting[task.lane] -= 1
            taken.append(task)
            left[model] -= 1
            if left[model] == 0:
                del left[model]
            if not queues:
                del heads[level]
        return taken

    def depths(self) -> dict[Level, int]:
        """Count what waits here, by level."""
        return {level: sum(map(len, queues.values())) for level, queues in self._queues.items()}

    def oldest_ms(self) -> dict[Level, int]:
        """Return the earliest creation time of a level's waiting tasks; levels without any are absent."""
        return {
            level: min(queue[0].create_time_ms for queue in queues.values())
            for level, queues in self._queues.items()
            if queues
        }

    def models(self) -> set[str]:
        """Return the models that something waits for."""
        return {model for queues in self._queues.values() for model in queues}

    @staticmethod
    def _oldest_model(
        queues: Mapping[str, deque[WaitingTask[EnvelopeT, BundleT]]], left: Mapping[str, int]
    ) -> str | None:
        if len(queues) == 1:
            (model,) = queues
            return model if model in left else None
        heads = [(queue[0].received_ns, model) for model, queue in queues.items() if model in left]
        return min(heads)[1] if heads else None
