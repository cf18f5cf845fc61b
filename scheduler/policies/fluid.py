"""How levels drain when each is served at the rate of its share: work as a fluid, without single tasks.

Levels with work are served at rates in proportion to their weights, and what one leaves over goes to the others
(generalised processor sharing: Parekh and Gallager, "A Generalized Processor Sharing Approach to Flow Control in
Integrated Services Networks: The Single-Node Case", IEEE/ACM Transactions on Networking, 1993); in STRICT mode the
highest level with work gets all. Work that keeps arriving at a level is served behind its backlog, for as long as it
is taken to arrive, and what its share leaves of it becomes backlog.
"""

from collections.abc import Mapping
from math import inf
from typing import Final, NamedTuple

from scheduler.states import Level

MOST_STEPS: Final = 64
"""Of a drain; each empties a level, or ends it."""
_NOTHING_MS: Final = 1e-6
_NOTHING_S: Final = 1e-9
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
    lasting_s: Mapping[Level, float] = {}
    """For how long it comes in; without end where nothing is said of a level."""
    bursts: Mapping[Level, float] = {}
    """Work that came in at each level within the last second beyond that: as much again is taken to come at once."""
    rate_spread: float = 1.25
    """Eight of ten times the rate of the next seconds lies within `rate` divided by and multiplied with this."""


def drain(
    level: Level,
    needed_ms: float,
    others: Mapping[Level, float],
    fleet: Fleet,
    weights: Mapping[Level, int],
    strict: bool,
    lasting: float = 1.0,
) -> tuple[float, dict[Level, float]]:
    """Return how long it takes until so much work of a level is served, and what the others' backlogs got meanwhile.
    Work comes in for `lasting` times as long as `fleet` says, and of a burst so many times as much.
    """
    left = {one: work + lasting * fleet.bursts.get(one, 0.0) for one, work in others.items()}
    served = dict.fromkeys(Level, 0.0)
    ends_s = {one: lasting * fleet.lasting_s.get(one, inf) for one in fleet.arriving}
    time_s = 0.0
    for _ in range(MOST_STEPS):
        arriving = {
            one: rate
            for one, rate in fleet.arriving.items()
            if rate > 0 and one is not level and ends_s[one] > time_s + _NOTHING_S
        }
        rates = _rates(level, left, fleet.rate, arriving, weights, strict)
        own = rates[level]
        grows = {
            one: arriving.get(one, 0.0) - rates[one]
            for one in Level
            if one is not level and (left[one] > 0 or one in arriving)
        }
        done_s = needed_ms / own if own > 0 else inf
        changes_s = [left[one] / -growth for one, growth in grows.items() if growth < 0]
        step_s = min([done_s, *changes_s, *(ends_s[one] - time_s for one in arriving)])
        if step_s == inf:
            return inf, served
        time_s += step_s
        needed_ms -= own * step_s
        for one, growth in grows.items():
            served[one] = min(others[one], served[one] + rates[one] * step_s)
            left[one] = left[one] + growth * step_s if left[one] + growth * step_s > _NOTHING_MS else 0.0
        if step_s == done_s:
            return time_s, served
    return time_s + needed_ms / fleet.rate, served


def _rates(
    level: Level,
    left: Mapping[Level, float],
    rate: float,
    arriving: Mapping[Level, float],
    weights: Mapping[Level, int],
    strict: bool,
) -> dict[Level, float]:
    """Return the work per second that each level gets: a level with a backlog takes all it can get, one without takes
    what arrives.
    """
    wants = {
        one: inf if one is level or left[one] > 0 else min(rate, arriving.get(one, 0.0)) for one in Level
    }
    rates = dict.fromkeys(Level, 0.0)
    spare = rate
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
