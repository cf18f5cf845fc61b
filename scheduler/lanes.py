"""Lanes: the partitions of a queue's topic, and which of them a tenant's tasks use.

Behind the lanes of tenants every queue has one more, the express lane: for tasks that are deep in their lane and near
their deadline.

Shuffle sharding: every tenant owns two lanes and each batch of its tasks takes the shorter one, so a tenant that
floods fills its own two and most others keep an empty one (the idea of Kubernetes API Priority and Fairness).
"""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from scheduler.states import Level

LANES_PER_TENANT: Final = 2


@dataclass(frozen=True, slots=True, order=True)
class Lane:
    """One partition of the topic of one level of one pool."""

    pool: str
    level: Level
    index: int

    def topic(self, namespace: str) -> str:
        """Name the lane's topic in a namespace such as `public/default`."""
        return f"{queue_topic(namespace, self.pool, self.level)}-partition-{self.index}"


def queue_topic(namespace: str, pool: str, level: Level) -> str:
    """Name the partitioned topic of a queue."""
    return f"persistent://{namespace}/tasks.{pool}.{level.label}"


def queue_lanes(pool: str, level: Level, lanes: int) -> list[Lane]:
    """Return all lanes of a queue: as many as tenants share, and the express lane."""
    return [Lane(pool, level, index) for index in range(lanes + 1)]


def express_lane(pool: str, level: Level, lanes: int) -> Lane:
    """Return the lane of a queue for what is near its deadline."""
    return Lane(pool, level, lanes)


def tenant_lanes(tenant: str, lanes: int) -> tuple[int, ...]:
    """Return the indexes of the lanes that a tenant owns: two different ones, or all when there are fewer."""
    if lanes <= LANES_PER_TENANT:
        return tuple(range(lanes))
    hands = lanes * (lanes - 1)
    chosen = zlib.crc32(tenant.encode()) % hands
    # The chosen-th ordered pair of different lanes, without building them all.
    first, rest = divmod(chosen, lanes - 1)
    return first, rest if rest < first else rest + 1


def shorter_lane(pool: str, level: Level, tenant: str, lanes: int, waiting: Mapping[Lane, int]) -> Lane:
    """Choose the lane for a batch of a tenant's tasks: of its own lanes the one with the fewest waiting tasks."""
    own = [Lane(pool, level, index) for index in tenant_lanes(tenant, lanes)]
    return min(own, key=lambda lane: waiting.get(lane, 0))
