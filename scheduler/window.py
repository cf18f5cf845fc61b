"""The bounded part of the backlog that a scheduler keeps in memory and orders.

Tasks enter from lanes, bundle by bundle, and leave when a runner has credit for their model. Order: levels share by
weight (policies/levels.py); inside a level and model, first in first out. The window never asks for more of a lane
than `per_lane` waiting tasks, so a backlog of any length costs the scheduler the same.

Tasks that a pause holds back are kept apart and count as waiting: `take` never meets them, so while nothing is paused
pauses cost nothing, and a lane of held tasks stays unread.
"""

from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Final, Generic, TypeVar

from scheduler.lanes import Lane
from scheduler.policies.levels import WeightedLevels
from scheduler.states import Level

EnvelopeT = TypeVar("EnvelopeT")
"""What the log carried for one task; opaque here."""
BundleT = TypeVar("BundleT")
"""The message that a task came in, as the settlement knows it; opaque here."""
_NO_RESERVES: Final[Mapping[str, int]] = {}


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
    isolation: str = ""
    """The group of suspects that it belongs to since a runner died with all of them; empty for none."""
    labels: Mapping[str, str] | None = None
    """Its labels, once somebody had to know them: only a pause by label does."""


class Window(Generic[EnvelopeT, BundleT]):
    """Waiting tasks of one pool by level and model. Owned by one event loop."""

    def __init__(self, per_lane: int, levels: WeightedLevels) -> None:
        self.per_lane = per_lane
        """Waiting tasks of one lane from which on it is not read."""
        self._levels = levels
        self._queues: dict[Level, dict[str, deque[WaitingTask[EnvelopeT, BundleT]]]] = {
            level: {} for level in Level
        }
        self._held: dict[Level, deque[WaitingTask[EnvelopeT, BundleT]]] = {level: deque() for level in Level}
        self._waiting: dict[Lane, int] = {}
        self._holds: Callable[[WaitingTask[EnvelopeT, BundleT]], bool] | None = None

    def has_room(self, lane: Lane) -> bool:
        """Whether the lane may bring another bundle. One bundle may overshoot the bound."""
        return self._waiting.get(lane, 0) < self.per_lane

    def full_lanes(self) -> list[Lane]:
        """Return the lanes that are not read because their share of the window is full."""
        return [lane for lane, waiting in self._waiting.items() if waiting >= self.per_lane]

    def add(self, task: WaitingTask[EnvelopeT, BundleT]) -> None:
        """Let a task wait behind those of its level and model."""
        self.extend(task.lane, (task,))

    def extend(self, lane: Lane, tasks: Iterable[WaitingTask[EnvelopeT, BundleT]]) -> None:
        """Let the tasks of one bundle wait, each behind those of its level and model."""
        self._waiting[lane] = self._waiting.get(lane, 0) + self._line_up(lane.level, tasks)

    def hold(self, holds: Callable[[WaitingTask[EnvelopeT, BundleT]], bool] | None) -> None:
        """Hold back from now on what `holds` says, and let go of everything else; None holds nothing.

        Looks at every task here: call it when the answer changes, not more often.
        """
        self._holds = holds
        for level, queues in self._queues.items():
            held = self._held[level]
            if holds is None and not held:
                continue
            tasks = sorted(chain(held, *queues.values()), key=lambda task: task.received_ns)
            queues.clear()
            held.clear()
            self._line_up(level, tasks)

    def take(
        self, credits: Mapping[str, int], limit: int, reserves: Mapping[str, int] = _NO_RESERVES
    ) -> list[WaitingTask[EnvelopeT, BundleT]]:
        """Remove and return up to `limit` tasks, next first, at most `credits[model]` of each model; beyond that,
        `reserves[model]` CRITICAL ones.
        """
        taken = self._take_shares(credits, limit)
        if reserves and len(taken) < limit:
            taken += self._take_critical(reserves, limit - len(taken))
        return taken

    def stuck(
        self, lanes: Collection[Lane], unserved: Collection[str]
    ) -> dict[Lane, list[WaitingTask[EnvelopeT, BundleT]]]:
        """Find the tasks of these lanes that are held, or whose model is one of `unserved`; they stay here."""
        found: dict[Lane, list[WaitingTask[EnvelopeT, BundleT]]] = {}
        for level in {lane.level for lane in lanes}:
            queues = self._queues[level]
            for task in chain(self._held[level], *(queues[model] for model in unserved if model in queues)):
                if task.lane in lanes:
                    found.setdefault(task.lane, []).append(task)
        return found

    def withdraw(
        self, tasks: Iterable[WaitingTask[EnvelopeT, BundleT]]
    ) -> list[WaitingTask[EnvelopeT, BundleT]]:
        """Remove tasks out of order, and return those that were still here."""
        wanted: dict[Level, set[WaitingTask[EnvelopeT, BundleT]]] = {}
        for task in tasks:
            wanted.setdefault(task.lane.level, set()).add(task)
        gone: list[WaitingTask[EnvelopeT, BundleT]] = []
        for level, of_level in wanted.items():
            queues = self._queues[level]
            for queue in (self._held[level], *queues.values()):
                here = [task for task in queue if task in of_level]
                if here:
                    gone += here
                    left = [task for task in queue if task not in of_level]
                    queue.clear()
                    queue.extend(left)
            for model in [model for model, queue in queues.items() if not queue]:
                del queues[model]
        for task in gone:
            self._waiting[task.lane] -= 1
        return gone

    def depths(self) -> dict[Level, int]:
        """Count what waits here, by level."""
        return {
            level: len(self._held[level]) + sum(map(len, queues.values()))
            for level, queues in self._queues.items()
        }

    def oldest_ms(self) -> dict[Level, int]:
        """Return the earliest creation time of a level's waiting tasks; levels without any are absent."""
        heads = {
            level: [queue[0].create_time_ms for queue in (*queues.values(), self._held[level]) if queue]
            for level, queues in self._queues.items()
        }
        return {level: min(times) for level, times in heads.items() if times}

    def models(self) -> set[str]:
        """Return the models that something waits for which is not held back."""
        return {model for queues in self._queues.values() for model in queues}

    def waiting_for(self, model: str) -> int:
        """Count what waits for a model and is not held back."""
        return sum(len(queues[model]) for queues in self._queues.values() if model in queues)

    def _line_up(self, level: Level, tasks: Iterable[WaitingTask[EnvelopeT, BundleT]]) -> int:
        """Put tasks into their queues, or with the held ones; returns how many."""
        queues = self._queues[level]
        idle = not queues
        count = held = 0
        holds = self._holds
        for task in tasks:
            if holds is not None and holds(task):
                self._held[level].append(task)
                held += 1
                continue
            queue = queues.get(task.model)
            if queue is None:
                queue = queues[task.model] = deque()
            queue.append(task)
            count += 1
        if idle and count:
            self._levels.arrive(level)
        return count + held

    def _take_shares(self, credits: Mapping[str, int], limit: int) -> list[WaitingTask[EnvelopeT, BundleT]]:
        """Take what the levels' shares say."""
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

    def _take_critical(
        self, reserves: Mapping[str, int], limit: int
    ) -> list[WaitingTask[EnvelopeT, BundleT]]:
        """Take CRITICAL tasks, first in first out by model."""
        queues = self._queues[Level.CRITICAL]
        taken: list[WaitingTask[EnvelopeT, BundleT]] = []
        for model in [model for model in queues if reserves.get(model, 0) > 0]:
            queue = queues[model]
            count = min(reserves[model], limit - len(taken), len(queue))
            taken += [queue.popleft() for _ in range(count)]
            if not queue:
                del queues[model]
        if taken:
            self._levels.charge(Level.CRITICAL, len(taken))
            for task in taken:
                self._waiting[task.lane] -= 1
        return taken

    @staticmethod
    def _oldest_model(
        queues: Mapping[str, deque[WaitingTask[EnvelopeT, BundleT]]], left: Mapping[str, int]
    ) -> str | None:
        if len(queues) == 1:
            (model,) = queues
            return model if model in left else None
        heads = [(queue[0].received_ns, model) for model, queue in queues.items() if model in left]
        return min(heads)[1] if heads else None
