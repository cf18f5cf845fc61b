"""The bounded part of the backlog that a scheduler keeps in memory and orders.

Tasks enter from lanes, bundle by bundle, and leave when a runner has credit for their model, in the order that the
policy says (policies/backlog.py). The window never asks for more of a lane than `per_lane` waiting tasks, so a
backlog of any length costs the scheduler the same.

Tasks that a pause holds back are kept apart and count as waiting: `take` never meets them, so while nothing is paused
pauses cost nothing, and a lane of held tasks stays unread. So are tasks that wait for an answer, of another that asks
the same or because their tenant has had its bytes of answers for now (scheduler/service/caching/). No runner can do
anything for those: up to `per_lane` of them leave their lane its share, so that what is behind them is read.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Final, Generic

from scheduler.lanes import Lane
from scheduler.policies.backlog import Backlog
from scheduler.policies.level_queue import count_waits
from scheduler.policies.policy import Policy
from scheduler.states import Level
from scheduler.waiting import BundleT, Contents, EnvelopeT, WaitingTask

__all__ = ["Contents", "WaitingTask", "Window"]

_NO_RESERVES: Final[Mapping[str, int]] = {}


class Window(Generic[EnvelopeT, BundleT]):
    """Waiting tasks of one pool. Owned by one event loop."""

    def __init__(self, per_lane: int, policy: Policy) -> None:
        self.per_lane = per_lane
        """Waiting tasks of one lane from which on it is not read; as many more may be set aside."""
        self._backlog: Backlog[WaitingTask[EnvelopeT, BundleT]] = Backlog(policy)
        self._held: list[WaitingTask[EnvelopeT, BundleT]] = []
        self._aside: set[WaitingTask[EnvelopeT, BundleT]] = set()
        self._waiting: dict[Lane, int] = {}
        self._waiting_aside: Counter[Lane] = Counter()
        self._holds: Callable[[WaitingTask[EnvelopeT, BundleT]], bool] | None = None
        self._sequence = 0

    def has_room(self, lane: Lane) -> bool:
        """Whether the lane may bring another bundle. One bundle may overshoot the bound."""
        return self._share(lane) < self.per_lane

    def full_lanes(self) -> list[Lane]:
        """Return the lanes that are not read because their share of the window is full."""
        return [lane for lane in self._waiting if not self.has_room(lane)]

    def lanes(self) -> Collection[Lane]:
        """Return the lanes that have brought something so far."""
        return self._waiting.keys()

    def in_window(self, lane: Lane) -> int:
        """Count the tasks of a lane that wait here, held ones too."""
        return self._waiting.get(lane, 0)

    def add(self, task: WaitingTask[EnvelopeT, BundleT]) -> None:
        """Let a task wait, as one that arrives now."""
        self.extend(task.lane, (task,))

    def extend(self, lane: Lane, tasks: Sequence[WaitingTask[EnvelopeT, BundleT]]) -> None:
        """Let the tasks of one bundle wait, which arrive in the order in which they are given."""
        sequence = self._sequence
        for task in tasks:
            task.sequence = sequence = sequence + 1
        self._sequence = sequence
        self._waiting[lane] = self._waiting.get(lane, 0) + len(tasks)
        self._backlog.extend(lane.level, tasks if self._holds is None else self._hold_back(tasks))

    def hold(self, holds: Callable[[WaitingTask[EnvelopeT, BundleT]], bool] | None) -> None:
        """Hold back from now on what `holds` says, and let go of everything else; None holds nothing.

        Looks at every task here: call it when the answer changes, not more often.
        """
        self._holds = holds
        before, self._held = self._held, []
        released: dict[Level, list[WaitingTask[EnvelopeT, BundleT]]] = {}
        if holds is not None:
            self._held = self._backlog.part(holds)
        for task in self._hold_back(before):
            released.setdefault(task.lane.level, []).append(task)
        for level, tasks in released.items():
            self._backlog.extend(level, tasks)

    def follow(self, policy: Policy) -> None:
        """Order by another policy from now on: nothing leaves, and what is held stays held."""
        self._backlog.follow(policy)

    def take(
        self,
        credits: Mapping[str, int],
        limit: int,
        reserves: Mapping[str, int] = _NO_RESERVES,
        now_ms: int = 0,
    ) -> list[WaitingTask[EnvelopeT, BundleT]]:
        """Remove and return up to `limit` tasks, next first, at most `credits[model]` of each model; beyond that,
        `reserves[model]` CRITICAL ones. `now_ms` is wall clock time, by which tasks age.
        """
        taken = self._backlog.take(credits, limit, now_ms)
        if reserves and len(taken) < limit:
            taken += self._backlog.take_level(Level.CRITICAL, reserves, limit - len(taken))
        self._left(taken)
        return taken

    def set_aside(self, tasks: Iterable[WaitingTask[EnvelopeT, BundleT]]) -> None:
        """Let tasks that were taken wait here again where `take` does not meet them, until `rejoin` or `leave`."""
        for task in tasks:
            self._aside.add(task)
            self._waiting_aside[task.lane] += 1
            self._waiting[task.lane] = self._waiting.get(task.lane, 0) + 1

    def set_apart(
        self, leaves: Callable[[WaitingTask[EnvelopeT, BundleT]], bool]
    ) -> list[WaitingTask[EnvelopeT, BundleT]]:
        """Set aside, and return, what `leaves` says of all that may be taken. Looks at every task."""
        apart = self._backlog.part(leaves)
        self._aside.update(apart)
        self._waiting_aside.update(task.lane for task in apart)
        return apart

    def rejoin(self, tasks: Sequence[WaitingTask[EnvelopeT, BundleT]]) -> None:
        """Let tasks that were set aside be taken again, in the places that they had."""
        levels: dict[Level, list[WaitingTask[EnvelopeT, BundleT]]] = {}
        for task in self._hold_back(tasks):
            levels.setdefault(task.lane.level, []).append(task)
        self._no_more_aside(tasks)
        for level, each in levels.items():
            self._backlog.extend(level, each)

    def leave(self, tasks: Sequence[WaitingTask[EnvelopeT, BundleT]]) -> None:
        """Remove tasks that were set aside."""
        self._no_more_aside(tasks)
        self._left(tasks)

    def correct(self, level: Level, tenant: str, model: str, delta_work_ms: float) -> None:
        """Charge a level and a tenant, for a model, what a task took beyond what was expected of it; below 0 when it
        took less. In milliseconds of one runner's time.
        """
        self._backlog.correct(level, tenant, model, delta_work_ms)

    def uncharge(self, tasks: Iterable[WaitingTask[EnvelopeT, BundleT]]) -> None:
        """Let levels and tenants not pay for tasks that left and did not start: a cancelled flood would shut out
        everything behind it.
        """
        for task in tasks:
            self._backlog.correct(task.lane.level, task.tenant, task.model, -task.expected.work_ms)

    def stuck(
        self, lanes: Collection[Lane], unserved: Collection[str]
    ) -> dict[Lane, list[WaitingTask[EnvelopeT, BundleT]]]:
        """Find the tasks of these lanes that are held, or whose model is one of `unserved`; they stay here."""
        levels = {lane.level for lane in lanes}
        candidates = list(self._held)
        for _, level, queue in self._backlog.queues(unserved):
            if level in levels:
                candidates += queue.tasks()
        found: dict[Lane, list[WaitingTask[EnvelopeT, BundleT]]] = {}
        for task in candidates:
            if task.lane in lanes:
                found.setdefault(task.lane, []).append(task)
        return found

    def withdraw(
        self, tasks: Iterable[WaitingTask[EnvelopeT, BundleT]]
    ) -> list[WaitingTask[EnvelopeT, BundleT]]:
        """Remove tasks out of order, and return those that were still here. Looks at every task of their models."""
        wanted = set(tasks)
        gone = [task for task in self._held if task in wanted]
        if gone:
            self._held = [task for task in self._held if task not in wanted]
        gone += self._backlog.part(wanted.__contains__, {task.model for task in wanted})
        self._left(gone)
        return gone

    def depths(self) -> dict[Level, int]:
        """Count what waits here, by level."""
        depths = dict.fromkeys(Level, 0)
        for _, level, queue in self._backlog.queues():
            depths[level] += queue.count
        for task in (*self._held, *self._aside):
            depths[task.lane.level] += 1
        return depths

    def contents(self) -> list[Contents]:
        """Tell all that waits here. Looks at every task."""
        held: dict[tuple[Level, str, str], list[WaitingTask[EnvelopeT, BundleT]]] = {}
        aside: dict[tuple[Level, str, str], list[WaitingTask[EnvelopeT, BundleT]]] = {}
        for groups, tasks in ((held, self._held), (aside, self._aside)):
            for task in tasks:
                groups.setdefault((task.lane.level, task.tenant, task.model), []).append(task)
        return [
            Contents(level, tenant, model, *waits, False)
            for model, level, queue in self._backlog.queues()
            for tenant, waits in queue.contents().items()
        ] + [
            Contents(*whose, *count_waits(tasks), groups is held)
            for groups in (held, aside)
            for whose, tasks in groups.items()
        ]

    def models(self) -> set[str]:
        """Return the models that something waits for which is not held back."""
        return self._backlog.models()

    def waiting_for(self, model: str) -> int:
        """Count what waits for a model and is not held back."""
        return self._backlog.waiting_for(model)

    def _hold_back(
        self, tasks: Iterable[WaitingTask[EnvelopeT, BundleT]]
    ) -> list[WaitingTask[EnvelopeT, BundleT]]:
        """Put aside what is to be held, and return the others."""
        free: list[WaitingTask[EnvelopeT, BundleT]] = []
        for task in tasks:
            (self._held if self._holds is not None and self._holds(task) else free).append(task)
        return free

    def _share(self, lane: Lane) -> int:
        """Count the tasks of a lane that keep it from being read."""
        return self._waiting.get(lane, 0) - min(self._waiting_aside[lane], self.per_lane)

    def _no_more_aside(self, tasks: Collection[WaitingTask[EnvelopeT, BundleT]]) -> None:
        self._aside.difference_update(tasks)
        self._waiting_aside.subtract([task.lane for task in tasks])

    def _left(self, tasks: Iterable[WaitingTask[EnvelopeT, BundleT]]) -> None:
        """Count tasks off their lanes."""
        lane: Lane | None = None
        count = 0
        for task in tasks:
            # Neighbours mostly came in one bundle, and hashing a lane takes longer than all the rest.
            if task.lane is not lane:
                if lane is not None:
                    self._waiting[lane] -= count
                lane, count = task.lane, 0
            count += 1
        if lane is not None:
            self._waiting[lane] -= count
