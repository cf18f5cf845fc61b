"""What this scheduler knows of the fleet, put together for gateways that explain and limit: runners and their credit,
who uses it, how fast work is done, what tasks cost, and what the lanes bring. Announced by `queue_report.py`.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from forebay.dispatch.v1.scheduler_view_pb2 import LaneView, ModelView, PoolView, SchedulerView
from forebay.tasks.v1.task_pb2 import Priority
from scheduler.ports.clock import Clock
from scheduler.prediction.usual import Usual
from scheduler.routing.breaker import Circuit
from scheduler.service.entry import PoolWindow
from scheduler.service.rates import WINDOW_S, Rates
from scheduler.service.runners import Roster, RunnerStream, room
from scheduler.service.steadiness import Steadiness
from scheduler.states import Level

MOST_MODELS: Final = 64
"""Models of a pool that are shown, those with runners first."""
MOST_USES: Final = 64
MOST_COSTS: Final = 256
LEAST_BUSY_S: Final = 2
"""Time that a model must have been busy before its rate says anything."""


class UsualCosts(Protocol):
    """Knows what tasks cost as a rule."""

    def usual(self, most: int) -> list[Usual]:
        """Return what was learned, the most used first."""
        ...


class Views:
    """Makes views of one scheduler. Bounded in size, whatever clients call their models and tenants."""

    def __init__(
        self,
        member: str,
        windows: Mapping[str, PoolWindow],
        roster: Roster,
        rates: Rates,
        costs: Mapping[str, UsualCosts],
        clock: Clock,
    ) -> None:
        """`windows` and `costs` have one for each pool."""
        self._member = member
        self._windows = windows
        self._roster = roster
        self._rates = rates
        self._costs = costs
        self._clock = clock
        self._busy_since_s: dict[tuple[str, str], float] = {}
        self._steadiness: dict[tuple[str, str], Steadiness] = {}

    def view(self, policy_version: int) -> SchedulerView:
        """Return what is known now. Looks at every task that runners hold."""
        view = SchedulerView(member=self._member, time_ms=self._clock.now_ms(), policy_version=policy_version)
        streams: dict[tuple[str, str], list[RunnerStream]] = {}
        for stream in self._roster:
            streams.setdefault((stream.pool, stream.model), []).append(stream)
        for pool, window in self._windows.items():
            # Under the other names that waiting tasks ask for them by, they are shown too.
            for model in window.models():
                if (pool, model) not in streams and (found := self._roster.of_model(pool, model)):
                    streams[pool, model] = found
        busy: dict[tuple[str, str], float] = {}
        self._steadiness = {key: self._steadiness.get(key) or Steadiness() for key in streams}
        for pool, window in self._windows.items():
            shown = view.pools.add(pool=pool)
            served = sorted(model for where, model in streams if where == pool)
            waited = sorted(window.models().difference(served), key=window.waiting_for, reverse=True)
            for model in (served + waited)[:MOST_MODELS]:
                of_model = streams.get((pool, model), [])
                self._fill_model(shown.models.add(model=model), pool, of_model, busy)
            for usual in self._costs[pool].usual(MOST_COSTS):
                _fill_cost(shown, usual)
            self._fill_lanes(shown, window)
        # Rebuilt with each view, so that models that are gone are forgotten.
        self._busy_since_s = busy
        return view

    def _fill_model(
        self,
        view: ModelView,
        pool: str,
        streams: Sequence[RunnerStream],
        busy: dict[tuple[str, str], float],
    ) -> None:
        now_s = self._clock.monotonic()
        held: Counter[tuple[Level, str]] = Counter()
        for stream in streams:
            view.runners += 1
            view.broken += stream.breaker.state(now_s) is Circuit.OPEN
            view.slots += stream.slots
            view.credit += max(0, stream.credits) + len(stream.holds) + len(stream.leasing)
            if stream.takes:
                view.free += max(0, room(stream, stream.unreserved, now_s))
            for running in stream.holds.values():
                held[running.task.lane.level, running.task.tenant] += 1
        _fill_uses(view, held)
        view.start_rate = self._rates.model_starts_per_second(pool, view.model)
        if not streams:
            return
        steadiness = self._steadiness[pool, view.model]
        if not view.free or self._windows[pool].waiting_for(view.model):
            since_s = busy[pool, view.model] = self._busy_since_s.get((pool, view.model), now_s)
            over_s = min(WINDOW_S, int(now_s - since_s))
            if over_s >= LEAST_BUSY_S:
                view.work_rate = self._rates.model_work_per_second(pool, view.model, over_s)
            if now_s - since_s >= WINDOW_S:
                steadiness.note(now_s, view.start_rate, WINDOW_S)
        else:
            steadiness.rested()
        view.rate_spread = steadiness.spread

    def _fill_lanes(self, view: PoolView, window: PoolWindow) -> None:
        rates, pool = self._rates, view.pool
        lanes = {(lane.level, lane.index): window.in_window(lane) for lane in window.lanes()}
        for level in Level:
            moves = (
                rates.arrived_per_second(pool, level),
                rates.started_per_second(pool, level),
                rates.work_per_second(pool, level),
            )
            shown = {index: count for (of, index), count in lanes.items() if of is level}
            for place, (index, count) in enumerate(sorted(shown.items())):
                lane: LaneView = view.lanes.add(
                    priority=Priority.ValueType(level), index=index, in_window=count
                )
                # Rates are of the queue, and stand on the first of its lanes.
                if not place:
                    lane.arrived_per_second, lane.started_per_second, lane.work_rate = moves
                    lane.steady_per_second = rates.steadily_per_second(pool, level)
                    lane.coming_s = rates.coming_for_s(pool, level)
                    lane.burst = rates.burst(pool, level)


def _fill_uses(view: ModelView, held: Mapping[tuple[Level, str], int]) -> None:
    """Write who uses credit up, most first; those beyond the bound are summed up by level."""
    ranked = sorted(held.items(), key=lambda item: -item[1])
    shown = ranked if len(ranked) <= MOST_USES else ranked[: MOST_USES - len(Level)]
    rest: Counter[Level] = Counter()
    for (level, _), tasks in ranked[len(shown) :]:
        rest[level] += tasks
    for (level, tenant), tasks in [*shown, *(((level, ""), tasks) for level, tasks in rest.items())]:
        view.uses.add(priority=Priority.ValueType(level), tenant=tenant, tasks=tasks)


def _fill_cost(view: PoolView, usual: Usual) -> None:
    view.costs.add(
        model=usual.model,
        tenant=usual.tenant,
        work_ms=usual.expected.work_ms,
        execute_ms=usual.expected.execute_ms,
        spread=usual.spread,
        priority=Priority.ValueType(usual.level),
    )
