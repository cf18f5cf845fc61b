"""What all schedulers together know of the fleet: their announced views, joined. Plain data."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from google.protobuf.message import DecodeError

from forebay.dispatch.v1.scheduler_view_pb2 import CostView, ModelView, PoolView, SchedulerView
from scheduler.policies.expected import UNKNOWN
from scheduler.states import Level

ALL: Final = 0
"""In place of the number of a level: all levels."""


class Cost(NamedTuple):
    """What a task costs as a rule. Half of the tasks lie between their cost divided by and multiplied with `spread`."""

    work_ms: float = UNKNOWN.work_ms
    execute_ms: float = UNKNOWN.execute_ms
    spread: float = 2.0


NO_COST: Final = Cost()
"""Of a task of which nothing is known."""


@dataclass(slots=True)
class ModelKnown:
    """One model in one pool. Credit, rates and uses are sums over the schedulers, among whom runners divide them."""

    runners: int = 0
    broken: int = 0
    credit: int = 0
    free: int = 0
    slots: int = 0
    work_rate: float = 0.0
    """Work done per second while it was busy; 0 where that is not known."""
    start_rate: float = 0.0
    rate_spread: float = 0.0
    """Eight of ten rates lie within the one before divided by and multiplied with this; 0 where that is not known."""
    uses: dict[tuple[Level, str], int] = field(default_factory=dict)
    """Tasks that runners hold, by level and tenant; the empty tenant stands for several."""


@dataclass(slots=True)
class Flow:
    """What moves at one level of a pool, per second over the last ten."""

    in_window: int = 0
    arrived: float = 0.0
    started: float = 0.0
    work_rate: float = 0.0
    steady: float = 0.0
    """What comes in, without bursts."""
    coming_s: float = 0.0
    """For how long tasks have been coming in; 0 when none do."""
    burst: float = 0.0
    """Tasks that came within the last second beyond that."""


@dataclass(slots=True)
class PoolKnown:
    """One pool."""

    models: dict[str, ModelKnown] = field(default_factory=dict)
    flows: dict[Level, Flow] = field(default_factory=lambda: {level: Flow() for level in Level})
    readers: dict[tuple[Level, int], tuple[str, int]] = field(default_factory=dict)
    """Which scheduler reads a lane, by level and index, and how many tasks of it are in its window."""
    costs: dict[tuple[str, str, int], Cost] = field(default_factory=dict)
    """By model, tenant (empty for all) and number of the level (ALL for all)."""

    def cost(self, model: str, tenant: str, level: Level) -> Cost:
        """Return what is known best of tasks of this model, tenant and level."""
        costs = self.costs
        return costs.get((model, tenant, level)) or costs.get((model, "", ALL)) or NO_COST

    def served(self) -> dict[str, int]:
        """Return the models that have runners, with how many."""
        return {name: model.runners for name, model in sorted(self.models.items()) if model.runners}


class FleetView:
    """All pools, as the schedulers that are there see them."""

    def __init__(self, views: Iterable[SchedulerView] = ()) -> None:
        self.schedulers: list[str] = []
        self.pools: dict[str, PoolKnown] = {}
        for view in views:
            self.schedulers.append(view.member)
            for shown in view.pools:
                _join(self.pools.setdefault(shown.pool, PoolKnown()), view.member, shown)

    @classmethod
    def of(cls, cards: Iterable[bytes]) -> "FleetView":
        """Read announced cards; one that cannot be read must not hide the others."""
        views = []
        for card in cards:
            try:
                views.append(SchedulerView.FromString(card))
            except DecodeError:
                continue
        return cls(views)


def _join(pool: PoolKnown, member: str, shown: PoolView) -> None:
    """Add what one scheduler knows of a pool."""
    for model in shown.models:
        _join_model(pool.models.setdefault(model.model, ModelKnown()), model)
    for cost in shown.costs:
        if cost.work_ms > 0:
            # Several schedulers learn of the same tasks: any of them will do.
            pool.costs.setdefault((cost.model, cost.tenant, cost.priority), _cost(cost))
    for lane in shown.lanes:
        try:
            level = Level(lane.priority)
        except ValueError:
            continue
        flow = pool.flows[level]
        flow.in_window += lane.in_window
        flow.arrived += lane.arrived_per_second
        flow.started += lane.started_per_second
        flow.work_rate += lane.work_rate
        flow.steady += lane.steady_per_second
        flow.burst += lane.burst
        flow.coming_s = max(flow.coming_s, lane.coming_s)
        known = pool.readers.get((level, lane.index))
        # Of two that say so one has lost it: the one with more of it is the one that reads.
        if known is None or lane.in_window > known[1]:
            pool.readers[level, lane.index] = (member, lane.in_window)


def _join_model(model: ModelKnown, shown: ModelView) -> None:
    # Every runner attaches to every scheduler, and is told apart by each for itself.
    first = not model.runners
    model.runners = max(model.runners, shown.runners)
    model.broken = shown.broken if first else min(model.broken, shown.broken)
    model.slots = max(model.slots, shown.slots)
    model.credit += shown.credit
    model.free += shown.free
    model.work_rate += shown.work_rate
    model.start_rate += shown.start_rate
    model.rate_spread = max(model.rate_spread, shown.rate_spread)
    for use in shown.uses:
        try:
            key = (Level(use.priority), use.tenant)
        except ValueError:
            continue
        model.uses[key] = model.uses.get(key, 0) + use.tasks


def _cost(shown: CostView) -> Cost:
    return Cost(shown.work_ms, max(shown.execute_ms, 0.0), max(shown.spread, 1.0))
