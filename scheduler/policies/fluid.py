"""How levels drain when each is served at the rate of its share: work as a fluid, without single tasks.

Levels with work are served at rates in proportion to their weights, and what one leaves over goes to the others
(generalised processor sharing: Parekh and Gallager, "A Generalized Processor Sharing Approach to Flow Control in
Integrated Services Networks: The Single-Node Case", IEEE/ACM Transactions on Networking, 1993); in STRICT mode the
highest level with work gets all. Work that keeps arriving at a level is served beside its backlog.
"""

from collections.abc import Mapping
from math import inf
from typing import Final, NamedTuple

from scheduler.states import Level

MOST_STEPS: Final = 64
"""Of a drain; each empties a level, or ends it."""
_NOTHING_MS: Final = 1e-6
"""What is nearly nothing is nothing: else steps would become endlessly short."""


class Fleet(NamedTuple):
    """Who serves."""

    rate: float
    """Work done per second when busy, in milliseconds of one runner: 1000 for one runner."""
    free: int
    """Credit that is free: so many tasks start at once."""
    arriving: Mapping[Level, float]
    """Work that comes in per second at each level, for this model."""
    first_ms: float = 0.0
    """Work that is done before the next credit is free, where none is."""


def drain(
    level: Level,
    needed_ms: float,
    others: Mapping[Level, float],
    fleet: Fleet,
    weights: Mapping[Level, int],
    strict: bool,
) -> tuple[float, dict[Level, float]]:
    """Return how long it takes until so much work of a level is served, and what the others' backlogs got meanwhile."""
    left = dict(others)
    served = dict.fromkeys(Level, 0.0)
    time_s = 0.0
    for _ in range(MOST_STEPS):
        rates = _rates(level, left, fleet, weights, strict)
        own = rates[level]
        drains = {
            one: rates[one] - fleet.arriving.get(one, 0.0) for one in Level if one != level and left[one] > 0
        }
        done_s = needed_ms / own if own > 0 else inf
        empty_s = min((left[one] / drain for one, drain in drains.items() if drain > 0), default=inf)
        step_s = min(done_s, empty_s)
        if step_s == inf:
            return inf, served
        time_s += step_s
        needed_ms -= own * step_s
        for one in drains:
            part = min(left[one], max(0.0, drains[one]) * step_s)
            served[one] += part
            left[one] = left[one] - part if left[one] - part > _NOTHING_MS else 0.0
        if done_s <= empty_s:
            return time_s, served
    return time_s + (needed_ms / fleet.rate), served


def _rates(
    level: Level,
    left: Mapping[Level, float],
    fleet: Fleet,
    weights: Mapping[Level, int],
    strict: bool,
) -> dict[Level, float]:
    """Return the work per second that each level gets: a level with a backlog takes all it can get, one without takes
    what arrives.
    """
    wants = {
        one: inf if one is level or left[one] > 0 else min(fleet.rate, fleet.arriving.get(one, 0.0))
        for one in Level
    }
    rates = dict.fromkeys(Level, 0.0)
    spare = fleet.rate
    if strict:
        for one in Level:
            rates[one] = min(wants[one], spare)
            spare -= rates[one]
        return rates
    open_ = {one for one in Level if wants[one] > 0}
    while open_:
        unit = spare / sum(weights[one] for one in open_)
        full = {one for one in open_ if wants[one] <= unit * weights[one]}
        if not full:
            for one in open_:
                rates[one] = unit * weights[one]
            break
        for one in full:
            rates[one] = wants[one]
            spare -= wants[one]
        open_ -= full
    return rates
