"""What waits for one model at one level: the tasks of each tenant in their order, and whose turn it is."""

from collections.abc import Callable
from typing import Generic, NamedTuple

from scheduler.policies.ordering import Ranked, TaskT
from scheduler.policies.policy import Policy
from scheduler.policies.sorted_tasks import SortedTasks
from scheduler.policies.tenants import TenantShares

Elder = tuple[int, int, str, Ranked[TaskT]]
"""Creation time, sequence and tenant of a task, and its entry in its queue: the least is the oldest."""


class Waits(NamedTuple):
    """What waits of one tenant, level and model."""

    tasks: int
    work_ms: float
    """Expected, in milliseconds of one runner's time."""
    oldest_ms: int
    """Earliest creation time, in milliseconds since the Unix epoch; 0 when nothing waits."""


class LevelQueue(Generic[TaskT]):
    """Tasks of one level and model. Its length is kept, so that asking for it costs nothing."""

    __slots__ = ("_shares", "_tenants", "count")

    def __init__(self, policy: Policy) -> None:
        self._shares = TenantShares(policy)
        self._tenants: dict[str, SortedTasks[TaskT]] = {}
        """Only of those who have something waiting."""
        self.count = 0

    def extend(self, tenant: str, entries: list[Ranked[TaskT]]) -> None:
        """Let ranked tasks of one tenant wait; at least one. The list is used up."""
        queue = self._tenants.get(tenant)
        if queue is None:
            queue = self._tenants[tenant] = SortedTasks()
            self._shares.arrive(tenant)
        self.count += len(entries)
        queue.extend(entries)

    def head(self) -> Ranked[TaskT]:
        """Return the next task with its rank; something must wait."""
        return self._tenants[self._shares.next()].entries[-1]

    def take(self, limit: int) -> tuple[list[TaskT], float]:
        """Remove and return up to `limit` tasks in a row, and the work that they are expected to take. Something must
        wait.
        """
        if len(self._tenants) == 1:
            [(tenant, queue)] = self._tenants.items()
            taken = queue.pop(limit)
            work_ms = sum([task.expected.work_ms for task in taken])
            self._left(tenant, queue, work_ms, len(taken))
            return taken, work_ms
        taken = []
        total_ms = 0.0
        while self._tenants and len(taken) < limit:
            tenant = self._shares.next()
            queue = self._tenants[tenant]
            task = queue.pop_one()
            taken.append(task)
            work_ms = task.expected.work_ms
            total_ms += work_ms
            self._left(tenant, queue, work_ms, 1)
        return taken, total_ms

    def remove(self, tenant: str, entry: Ranked[TaskT]) -> bool:
        """Take one task out of its turn; False when it is not here any more."""
        queue = self._tenants.get(tenant)
        if queue is None or not queue.remove(entry):
            return False
        self._left(tenant, queue, entry[2].expected.work_ms, 1)
        return True

    def correct(self, tenant: str, work_ms: float) -> None:
        """Add what a start of a tenant did take beyond what was expected."""
        self._shares.correct(tenant, work_ms)

    def part(self, leaves: Callable[[TaskT], bool]) -> list[TaskT]:
        """Remove and return the tasks of which `leaves` says so, without a charge."""
        gone: list[TaskT] = []
        for tenant, queue in list(self._tenants.items()):
            gone += queue.part(leaves)
            if not queue:
                del self._tenants[tenant]
                self._shares.leave(tenant)
        self.count -= len(gone)
        return gone

    def follow(self, policy: Policy) -> None:
        """Order and share by another policy from now on."""
        self._shares.follow(policy)
        for queue in self._tenants.values():
            queue.follow(policy)

    def tasks(self) -> list[TaskT]:
        """Return all tasks, in no order."""
        return [entry[2] for queue in self._tenants.values() for entry in queue.entries]

    def created_before(self, time_ms: float) -> list[Elder[TaskT]]:
        """Return the tasks that were created before a moment, in no order."""
        return [
            (task.create_time_ms, task.sequence, tenant, entry)
            for tenant, queue in self._tenants.items()
            for entry in queue.entries
            if (task := entry[2]).create_time_ms < time_ms
        ]

    def contents(self) -> dict[str, Waits]:
        """Count what waits, by tenant."""
        return {
            tenant: count_waits([entry[2] for entry in queue.entries])
            for tenant, queue in self._tenants.items()
        }

    def _left(self, tenant: str, queue: SortedTasks[TaskT], work_ms: float, starts: int) -> None:
        """Count what started, and forget who has nothing waiting."""
        self.count -= starts
        self._shares.charge(tenant, work_ms, starts)
        if not queue.entries:
            del self._tenants[tenant]
            self._shares.leave(tenant)


def count_waits(tasks: list[TaskT]) -> Waits:
    """Count some tasks of one tenant, level and model."""
    return Waits(
        len(tasks),
        sum([task.expected.work_ms for task in tasks]),
        min([task.create_time_ms for task in tasks], default=0),
    )
