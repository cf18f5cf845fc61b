"""When a waiting task is expected to start and end: a fluid model of the same shares that the window gives.

Levels share as `fluid.py` says. Inside a level, while a tenant's tasks before the asked one are served, every other
tenant gets at most its weight's share of the same time. All work is expected work of one model: runners run one model
each, so nothing else stands in the way.
"""

from collections.abc import Mapping, Sequence
from math import inf, sqrt
from typing import Final, NamedTuple

from scheduler.policies.fluid import Fleet, drain
from scheduler.states import Level

RATE_DOUBT: Final = 0.2
"""How far the rate itself may be out, as a part of the time."""
GRAIN_S: Final = 0.5
"""How far a start may be out beside that: runners settle, and schedulers assign, many tasks at once."""


class Backlog(NamedTuple):
    """What one tenant has waiting at one level for the asked model."""

    level: Level
    tenant: str
    tasks: int
    work_ms: float
    before_tasks: int = 0
    """Those of them that were queued before the asked task."""


class Asked(NamedTuple):
    """The task that is asked about."""

    level: Level
    tenant: str
    work_ms: float
    execute_ms: float
    spread: float = 1.5
    """Half of such tasks cost between their expectation divided by and multiplied with this."""


class Forecast(NamedTuple):
    """Seconds from now: the middle, and between which it lies in eight of ten cases."""

    start_s: float
    earliest_start_s: float
    latest_start_s: float
    end_s: float
    earliest_end_s: float
    latest_end_s: float


class Before(NamedTuple):
    """Tasks of one level and tenant that are expected to start before the asked one."""

    level: Level
    tenant: str
    tasks: int
    work_ms: float


def ahead(
    asked: Asked, backlogs: Sequence[Backlog], tenant_weights: Mapping[str, float]
) -> tuple[list[Before], float]:
    """Return who of the asked task's own level starts before it, and how much work that is."""
    own = next((one for one in backlogs if (one.level, one.tenant) == (asked.level, asked.tenant)), None)
    own_work = own.work_ms * own.before_tasks / own.tasks if own and own.tasks else 0.0
    weight = tenant_weights.get(asked.tenant, 1.0)
    found = (
        [Before(asked.level, asked.tenant, own.before_tasks, own_work)] if own and own.before_tasks else []
    )
    # The task itself has its place in the turns of tenants too.
    turns = (own_work + asked.work_ms) / weight
    for one in backlogs:
        if one.level is asked.level and one.tenant != asked.tenant and one.work_ms > 0:
            served = min(one.work_ms, turns * tenant_weights.get(one.tenant, 1.0))
            tasks = min(one.tasks, round(one.tasks * served / one.work_ms))
            if tasks:
                found.append(Before(one.level, one.tenant, tasks, served))
    return found, sum(one.work_ms for one in found)


def forecast(
    asked: Asked,
    backlogs: Sequence[Backlog],
    fleet: Fleet,
    weights: Mapping[Level, int],
    tenant_weights: Mapping[str, float],
    *,
    strict: bool = False,
) -> tuple[Forecast | None, list[Before]]:
    """Return when a QUEUED task is expected to start and end, and what starts before it, highest level first.

    None where nobody serves, or where higher levels leave nothing over.
    """
    same, needed_ms = ahead(asked, backlogs, tenant_weights)
    if fleet.rate <= 0:
        return None, same
    others = dict.fromkeys(Level, 0.0)
    tasks = dict.fromkeys(Level, 0)
    for one in backlogs:
        if one.level is not asked.level:
            others[one.level] += one.work_ms
            tasks[one.level] += one.tasks
    waiting_tasks = sum(one.tasks for one in same)
    if fleet.free > waiting_tasks + sum(tasks[level] for level in Level if level < asked.level):
        start_s, served = 0.0, dict.fromkeys(Level, 0.0)
    else:
        start_s, served = drain(asked.level, needed_ms, others, fleet, weights, strict)
        start_s += fleet.first_ms / fleet.rate
    if start_s == inf:
        return None, same
    elsewhere = [
        part
        for one in backlogs
        if one.level is not asked.level and (part := _part(one, served[one.level], others[one.level])).tasks
    ]
    before = sorted([*same, *elsewhere], key=lambda one: (one.level, -one.work_ms))
    doubt = RATE_DOUBT + (asked.spread - 1) / sqrt(1 + sum(one.tasks for one in before))
    earliest_s = max(0.0, start_s / (1 + doubt) - GRAIN_S)
    latest_s = start_s * (1 + doubt) + GRAIN_S
    execute_s = asked.execute_ms / 1000
    return (
        Forecast(
            start_s,
            earliest_s,
            latest_s,
            start_s + execute_s,
            earliest_s + execute_s / asked.spread**2,
            latest_s + execute_s * asked.spread**2,
        ),
        before,
    )


def _part(one: Backlog, served_ms: float, of_level_ms: float) -> Before:
    """Return what of a tenant's backlog is served when so much of its level's is."""
    share = min(1.0, served_ms / of_level_ms) if of_level_ms > 0 else 0.0
    return Before(one.level, one.tenant, round(one.tasks * share), one.work_ms * share)
