"""What a QUEUED task waits for: what keeps it from starting at all, then its turn. Pure.

Other tenants' names are for operators only.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from forebay.tasks.v1.task_service_pb2 import WaitReason
from scheduler.policies.estimate import Before
from scheduler.ports.pauses import StandingPause
from scheduler.states import Level
from services.gateway import pausing, spoken
from services.gateway.caller import Caller
from services.gateway.expecting import Task
from services.gateway.fleet_speed import FULL_SPEED, work_rate
from services.gateway.fleet_view import FleetView, ModelKnown, PoolKnown
from services.gateway.waiting_reasons import Reason

STOPS: Final = frozenset(
    {
        WaitReason.KIND_NO_SCHEDULER,
        WaitReason.KIND_PAUSED,
        WaitReason.KIND_NO_RUNNER,
        WaitReason.KIND_CIRCUIT_OPEN,
    }
)
"""While one of these stands, nothing can be expected."""
OTHERS: Final = "other tenants"
_FRESH_MS: Final = 1000
"""Since when a task is QUEUED that is on its way to a scheduler as a rule."""


def queued(
    task: Task,
    fleet: FleetView,
    standing: Sequence[StandingPause],
    before: Sequence[Before],
    caller: Caller,
    now_ms: int,
) -> list[Reason]:
    """Return what a QUEUED task waits for, the decisive first: what keeps it from starting at all, then its turn."""
    stops = [_no_scheduler(task, fleet)] if task.pool not in fleet.pools else []
    stops += [_paused(one, now_ms) for one in standing if _holds(one, task)]
    pool = fleet.pools.get(task.pool, PoolKnown())
    model = pool.models.get(task.model)
    if stops and task.pool not in fleet.pools:
        return stops
    if model is None or not model.runners:
        return [*stops, _no_runner(task, pool)]
    if model.broken >= model.runners:
        stops.append(_circuit_open(task, model))
    if before:
        stops.append(_behind(before, model, caller))
    if model.free <= 0:
        stops.append(_no_credit(task, model, caller))
    return stops or [_unpublished(task, now_ms)]


def _no_scheduler(task: Task, fleet: FleetView) -> Reason:
    kind = WaitReason.KIND_NO_SCHEDULER
    if not fleet.schedulers:
        return Reason(kind, "No scheduler is there, so nothing starts", "forebay doctor says what is wrong")
    pools = ", ".join(repr(pool) for pool in sorted(fleet.pools))
    number = len(fleet.schedulers)
    those = "the scheduler that is there works on" if number == 1 else f"the {number} schedulers work on"
    return Reason(kind, f"No scheduler works on pool {task.pool!r}; {those} {pools}")


def _paused(one: StandingPause, now_ms: int) -> Reason:
    since = f"since {spoken.moment(one.since_ms)}, for {spoken.duration((now_ms - one.since_ms) / 1000)}"
    why = f": {one.reason}" if one.reason else ""
    fact = f"A pause of {pausing.named(one.pause)} holds it back {since}{why}"
    return Reason(WaitReason.KIND_PAUSED, fact, "forebay resume takes it back")


def _holds(one: StandingPause, task: Task) -> bool:
    return one.pause.holds(task.pool, task.level, task.model, task.labels)


def _no_runner(task: Task, pool: PoolKnown) -> Reason:
    served = pool.served()
    number = sum(served.values())
    fact = f"No runner has model {task.model!r} in pool {task.pool!r}"
    if served:
        fact += (
            f"; {spoken.runners(number)} {'serves' if number == 1 else 'serve'}: {spoken.names(list(served))}"
        )
    else:
        fact += ", and there is no other runner"
    return Reason(WaitReason.KIND_NO_RUNNER, fact, "a runner with this model would start it")


def _circuit_open(task: Task, model: ModelKnown) -> Reason:
    which = (
        f"The runner of {task.model!r}"
        if model.runners == 1
        else f"All {model.runners} runners of {task.model!r}"
    )
    verb, they = ("gets", "it is") if model.runners == 1 else ("get", "each is")
    fact = f"{which} failed too often and {verb} no work for a moment"
    return Reason(WaitReason.KIND_CIRCUIT_OPEN, fact, f"{they} tried again with one task within a minute")


def _behind(before: Sequence[Before], model: ModelKnown, caller: Caller) -> Reason:
    levels: dict[Level, int] = {}
    for one in before:
        levels[one.level] = levels.get(one.level, 0) + one.tasks
    own = sum(one.tasks for one in before if one.tenant == caller.tenant)
    number = sum(levels.values())
    parts = ", ".join(f"{tasks:,} {level.name}" for level, tasks in sorted(levels.items()))
    mine = f", {own:,} of them yours" if 0 < own < number else ""
    work_s = sum(one.work_ms for one in before) / 1000
    speed = work_rate(model) / FULL_SPEED
    starts = "starts" if number == 1 else "start"
    fact = f"{spoken.tasks(number)} {starts} before it ({parts}{mine}), {spoken.duration(work_s)} of work of one runner"
    if speed > 0:
        do = "does" if model.runners == 1 else "do"
        fact += f", of which {spoken.runners(model.runners)} {do} {speed:.2g} s a second"
    return Reason(WaitReason.KIND_BEHIND, fact)


def _no_credit(task: Task, model: ModelKnown, caller: Caller) -> Reason:
    users = _users(model.uses, caller)
    held = sum(model.uses.values())
    who = spoken.names([f"{tasks:,} {level.name} of {tenant}" for (level, tenant), tasks in users])
    rest = f", {model.broken} of them after failures without work" if model.broken else ""
    take, hold = ("takes", "it holds") if model.runners == 1 else ("take", "they hold")
    fact = f"The {spoken.runners(model.runners)} of {task.model!r} {take} no more{rest}"
    fact += f": {hold} {spoken.tasks(held)}, {who}" if held else ""
    return Reason(WaitReason.KIND_NO_CREDIT, fact, "more runners of it would help")


def _users(uses: Mapping[tuple[Level, str], int], caller: Caller) -> list[tuple[tuple[Level, str], int]]:
    """Return who uses credit up, most first, under the names that the caller may know."""
    shown: dict[tuple[Level, str], int] = {}
    for (level, tenant), tasks in uses.items():
        known = tenant and (caller.operator or tenant == caller.tenant)
        key = (level, f"tenant {tenant}" if known else OTHERS)
        shown[key] = shown.get(key, 0) + tasks
    return sorted(shown.items(), key=lambda item: (-item[1], item[0]))


def _unpublished(task: Task, now_ms: int) -> Reason:
    kind = WaitReason.KIND_UNPUBLISHED
    waited_ms = now_ms - task.record.queue_time_ms
    if waited_ms < _FRESH_MS:
        return Reason(kind, "It came into its queue a moment ago and is on its way to a scheduler")
    return Reason(
        kind,
        f"Runners of {task.model!r} are free and nothing is before it, yet no scheduler has had it for "
        f"{spoken.duration(waited_ms / 1000)}: its message is on its way, or was lost",
        "what is not on the log is put there again within seconds",
    )
