"""When a waiting task is expected to start and end: a fluid model of the same shares that the window gives.

Levels share as `fluid.py` says. Inside a level, while a tenant's tasks before the asked one are served, every other
tenant gets at most its weight's share of the same time. All work is expected work of one model: runners run one model
each, so nothing else stands in the way.

Between which times a start lies comes from three things that nobody knows, each taken to be independent of the others:
how fast the fleet will be (its rate was seen to change), what the tasks before cost beyond their mean (less, the more
of them there are), and for how long higher levels go on getting work. Of that only the age is known, and whatever is
met at a random moment of its life has lasted, in the median, for as long as it goes on, and in eight of ten cases
between a ninth of that and nine times as long (Gott, "Implications of the Copernican principle for our future
prospects", Nature 1993).
"""

from collections.abc import Mapping, Sequence
from math import exp, hypot, inf, log, sqrt
from typing import Final, NamedTuple

from scheduler.policies.fluid import Fleet, drain
from scheduler.states import Level

LASTING: Final = 9.0
"""In eight of ten cases what comes in goes on for between its age divided by and multiplied with this."""
_OCTILES: Final = 1.9
"""Eight of ten values lie so many times as far from the median of a lognormal as half of them."""
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
    at_once = fleet.free > waiting_tasks + sum(tasks[level] for level in Level if level < asked.level)

    def start(lasting: float) -> tuple[float, dict[Level, float]]:
        if at_once:
            return 0.0, dict.fromkeys(Level, 0.0)
        time_s, served = drain(asked.level, needed_ms, others, fleet, weights, strict, lasting)
        return time_s + fleet.first_ms / fleet.rate, served

    start_s, served = start(1.0)
    if start_s == inf:
        return None, same
    sooner_s, later_s = (start(lasting)[0] for lasting in (1 / LASTING, LASTING))
    elsewhere = [
        part
        for one in backlogs
        if one.level is not asked.level and (part := _part(one, served[one.level], others[one.level])).tasks
    ]
    before = sorted([*same, *elsewhere], key=lambda one: (one.level, -one.work_ms))
    of_costs = _OCTILES * log(asked.spread) / sqrt(1 + sum(one.tasks for one in before))
    doubt = hypot(log(fleet.rate_spread), of_costs)
    earliest_s = max(0.0, start_s / _apart(doubt, sooner_s, start_s) - GRAIN_S)
    latest_s = start_s * _apart(doubt, start_s, later_s) + GRAIN_S
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


def _apart(doubt: float, less_s: float, more_s: float) -> float:
    """Return how many times as late a start may be: a doubt of that logarithm, and how far two forecasts are apart."""
    if less_s <= 0 or more_s == inf:
        return exp(doubt) if more_s <= 0 else inf
    return exp(hypot(doubt, log(max(1.0, more_s / less_s))))


def _part(one: Backlog, served_ms: float, of_level_ms: float) -> Before:
    """Return what of a tenant's backlog is served when so much of its level's is."""
    share = min(1.0, served_ms / of_level_ms) if of_level_ms > 0 else 0.0
    return Before(one.level, one.tenant, round(one.tasks * share), one.work_ms * share)
