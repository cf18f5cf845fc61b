"""The policy that stands: how tasks are ordered, limited and routed. Plain data; changed while everything runs.

`forebay.queues.v1.Policy` says what each field means and which values it takes; docs/scheduling.md explains them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final, NamedTuple

from scheduler.policies.levels import DEFAULT_WEIGHTS
from scheduler.states import Level


class LevelMode(IntEnum):
    """How levels share the fleet. Values equal those of `forebay.queues.v1.LevelMode`."""

    WEIGHTED = 1
    STRICT = 2


class TaskOrder(IntEnum):
    """The order of one tenant's tasks of one level. Values equal those of `forebay.queues.v1.TaskOrder`."""

    FIFO = 1
    SHORTEST = 2
    DEADLINE = 3
    BALANCED = 4


class Routing(IntEnum):
    """How a runner is chosen. Values equal those of `forebay.queues.v1.Routing`."""

    LEAST_OUTSTANDING = 1
    ROUND_ROBIN = 2
    POWER_OF_TWO = 3
    WEIGHTED = 4
    CONSISTENT_HASH = 5
    PREFIX_AFFINITY = 6
    ZONE_FIRST = 7


class Limit(NamedTuple):
    """A bound on what may wait; 0 bounds nothing."""

    tenant: str = ""
    """Empty for each tenant by itself."""
    level: int = 0
    """Number of a Level; 0 for all levels together, which then give way to each other."""
    shared: bool = False
    """For all tenants together."""
    queued_tasks: int = 0
    queued_work_s: float = 0.0
    rate: float = 0.0
    """Tasks per second."""
    burst: int = 0
    """0 for two seconds' worth of `rate`."""


@dataclass(frozen=True, slots=True)
class Policy:
    """Everything that orders, limits and routes. The defaults are what the platform starts with."""

    level_mode: LevelMode = LevelMode.WEIGHTED
    weights: Mapping[Level, int] = field(default_factory=lambda: dict(DEFAULT_WEIGHTS))
    ageing_s: float = 300.0
    """0 for never."""
    ageing_every: int = 8
    order: TaskOrder = TaskOrder.BALANCED
    stretch: float = 10.0
    patience_s: float = 600.0
    express_slack_s: float = 10.0
    """0 for never."""
    expire_early: bool = True
    tenant_weights: Mapping[str, float] = field(default_factory=dict)
    limits: tuple[Limit, ...] = ()
    routing: Mapping[str, Routing] = field(default_factory=dict)
    """By model; the empty name stands for every other model."""
    cost_label: str = "kind"

    def route(self, model: str) -> Routing:
        """Return how a runner of this model is chosen, NAME or NAME@VERSION: what is said of NAME holds for both."""
        said = self.routing
        return said.get(model.partition("@")[0]) or said.get("", Routing.LEAST_OUTSTANDING)

    def tenant_weight(self, tenant: str) -> float:
        """Return the weight of a tenant inside a level."""
        return self.tenant_weights.get(tenant, 1.0)


DEFAULT_POLICY: Final = Policy()
