"""When a task is expected to start and to end: what the record store counts and the schedulers announce, put into the
forecast of `scheduler/policies/estimate.py`. Pure.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from scheduler.policies.estimate import Asked, Backlog, Before, Forecast, forecast
from scheduler.policies.fluid import Fleet
from scheduler.policies.policy import LevelMode, Policy
from scheduler.policies.remaining import Stay, stay
from scheduler.ports.lines import Line
from scheduler.ports.pauses import StandingPause
from scheduler.ports.records import Record
from scheduler.states import Level, TaskState
from services.gateway.fleet_speed import arriving, stay_ms, work_rate
from services.gateway.fleet_view import Cost, ModelKnown, PoolKnown

_RESIDUAL: Final = 0.7
"""Of an execution met at a random moment so much is still to come, by the mean over those that vary as tasks do."""


class Task(NamedTuple):
    """The task that is asked about, as far as its turn depends on it."""

    record: Record
    pool: str
    level: Level
    model: str
    labels: Mapping[str, str]
    deadline_ms: int = 0

    @property
    def promoted(self) -> bool:
        """Whether it waits on the express lane."""
        history = self.record.history
        return bool(history) and history[-1].state is TaskState.QUEUED and history[-1].reason == "PROMOTED"


def place_ms(task: Task) -> int:
    """Return when the task took its place on its lane: on lanes what came before goes before."""
    return task.record.queue_time_ms or task.record.create_time_ms


def urgent_ms(task: Task) -> int:
    """Return the moment such that among its own tenant's tasks only what came before it goes before the task, once it
    is on the express lane: nothing does there, but for what is as urgent.
    """
    return 0 if task.deadline_ms else place_ms(task)


def backlogs(
    task: Task, lines: Iterable[Line], place: int, pool: PoolKnown, standing: Sequence[StandingPause]
) -> list[Backlog]:
    """Return what waits for the model and is not paused as a whole, by level and tenant. `place` is how many are before
    the task in its own line.
    """
    found = []
    for line in lines:
        if line.model != task.model or line.pool != task.pool or line.queued <= 0:
            continue
        if any(_holds_all(one, line) for one in standing):
            continue
        work_ms = line.queued * pool.cost(line.model, line.tenant, line.level).work_ms
        before = min(place, line.queued) if _own(line, task) else 0
        found.append(Backlog(line.level, line.tenant, line.queued, work_ms, before))
    return found


def turn(
    task: Task,
    lines: Sequence[Line],
    place: int,
    pool: PoolKnown,
    standing: Sequence[StandingPause],
    policy: Policy,
    now_ms: int,
    urgent: int | None = None,
) -> tuple[Forecast | None, list[Before]]:
    """Return when a QUEUED task is expected to start and end, in seconds from now, and what starts before it.

    `place` is how many are before the task in its own line, and `urgent` how many will be once it is on the express
    lane, where that is to come.
    """
    model = pool.models.get(task.model, ModelKnown())
    cost = pool.cost(task.model, task.record.tenant, task.level)
    execute_ms = stay_ms(task.level, task.model, pool, cost)
    asked = Asked(task.level, task.record.tenant, cost.work_ms, execute_ms, cost.spread)
    first_ms = _RESIDUAL * cost.work_ms if model.free <= 0 else 0.0
    steadily, bursts = arriving(task.pool, task.model, lines, pool)
    lasting_s = {level: flow.coming_s for level, flow in pool.flows.items()}
    fleet = Fleet(work_rate(model), model.free, steadily, first_ms, lasting_s, bursts)
    if model.rate_spread > 1:
        fleet = fleet._replace(rate_spread=model.rate_spread)
    waiting = backlogs(task, lines, place, pool, standing)
    strict = policy.level_mode is LevelMode.STRICT
    weights, tenant_weights = policy.weights, policy.tenant_weights
    found, before = forecast(asked, waiting, fleet, weights, tenant_weights, strict=strict)
    if found is not None and urgent is not None:
        in_s = max(0.0, (task.deadline_ms - now_ms - cost.execute_ms) / 1000 - policy.express_slack_s)
        ahead = backlogs(task, lines, urgent, pool, standing)
        sooner, _ = forecast(asked, ahead, fleet, weights, tenant_weights, strict=strict)
        if sooner is not None and in_s + sooner.start_s < found.start_s:
            found = Forecast(*(in_s + second for second in sooner))
    return found and _hurried(found, task, policy, cost, now_ms), before


def run(task: Task, pool: PoolKnown, policy: Policy, passed_s: float) -> tuple[Stay, float]:
    """Return how long a RUNNING task is with its runner in all, seconds since its lease, given that it has been there
    for so long; and what such tasks take.
    """
    cost = pool.cost(task.model, task.record.tenant, task.level)
    expected_s = stay_ms(task.level, task.model, pool, cost) / 1000
    if task.deadline_ms and policy.express_slack_s:
        hurries_s = (task.deadline_ms - task.record.start_time_ms) / 1000 - policy.express_slack_s
        expected_s = min(expected_s, max(0.0, hurries_s) + cost.execute_ms / 1000)
    return stay(expected_s, cost.spread, passed_s), expected_s


def _hurried(found: Forecast, task: Task, policy: Policy, cost: Cost, now_ms: int) -> Forecast:
    """Return a forecast with the end of a task that must hurry: its runner takes it before others, once its slack is
    small.
    """
    if not (task.deadline_ms and policy.express_slack_s):
        return found
    hurries_s = (task.deadline_ms - now_ms) / 1000 - policy.express_slack_s
    execute_s = cost.execute_ms / 1000
    end_s = max(found.start_s, hurries_s) + execute_s
    if end_s >= found.end_s:
        return found
    latest_s = max(found.latest_start_s, hurries_s) + execute_s * cost.spread**2
    return found._replace(
        end_s=end_s,
        earliest_end_s=min(found.earliest_end_s, end_s),
        latest_end_s=min(found.latest_end_s, latest_s),
    )


def _own(line: Line, task: Task) -> bool:
    return line.level is task.level and line.tenant == task.record.tenant


def _holds_all(one: StandingPause, line: Line) -> bool:
    """Whether a pause holds back a whole line."""
    return not one.pause.label_key and one.pause.holds(line.pool, line.level, line.model, {})
