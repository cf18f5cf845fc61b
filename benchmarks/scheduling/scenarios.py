"""Cases that the policies are run over. Sizes are of the long form; a smaller `scale` is for tests.

Lengths and rates are such that a fleet of four runners is busy for nine tenths of the time, or has more than it can do
where the question is who gets it.
"""

from dataclasses import replace
from functools import lru_cache
from random import Random
from statistics import fmean
from typing import Final

from benchmarks.scheduling.arrivals import Kind, Source, about, generate, lognormal, pareto
from benchmarks.scheduling.scenario import Scenario, fleet
from scheduler.states import Level

RUNNERS: Final = 4
LOAD: Final = 0.9
SERVICE_MS: Final = 100.0
SPREAD: Final = 0.1
"""By which part of it services differ from that at most, evenly."""
PARTS: Final = {Level.CRITICAL: 0.1, Level.HIGH: 0.2, Level.NORMAL: 0.4, Level.LOW: 0.3}
"""Of the tasks, by level, where levels are mixed."""

EQUAL: Final = (Kind(about(SERVICE_MS, SPREAD)),)
SIZED: Final = (
    Kind(lognormal(20, 0.3), "classify", 6),
    Kind(pareto(20, 1.3, 5000), "embed", 3, ms_per_input=0.5, noise=0.2),
    Kind(lognormal(400, 0.5), "summarise", 1),
)
"""Heavy tails, of which the kind and the size of the input tell most."""
SECRET: Final = (Kind(lognormal(20, 0.5), "classify", 8), Kind(lognormal(400, 0.5), "summarise", 2))
"""Lengths that nobody can know well before: only the kind tells something."""


@lru_cache
def mean_ms(kinds: tuple[Kind, ...]) -> float:
    """Return the mean length of tasks, of very many."""
    chance = Random(0)
    rows = Source("", Level.NORMAL, 1000, kinds).arrivals(chance, 30)
    return fmean(row.execute_ms for row in rows)


def per_s(load: float, kinds: tuple[Kind, ...], runners: int = RUNNERS) -> float:
    """Return how many tasks a second keep runners busy for that part of their time."""
    return load * runners * 1000 / mean_ms(kinds)


def levels(seed: int, scale: float, runners: int = RUNNERS) -> Scenario:
    """Return four levels of equal tasks."""
    rate = per_s(LOAD, EQUAL, runners)
    sources = [Source("a", level, rate * part, EQUAL) for level, part in PARTS.items()]
    return Scenario(
        f"levels, {runners} runner{'s'[: runners > 1]}",
        f"Poisson arrivals of four levels, tasks of {SERVICE_MS:.0f} ms, {LOAD:.0%} load",
        # As many of one runner's as make its p99 a figure and no accident.
        generate(sources, (1000 if runners > 1 else 4000) * scale, seed),
        fleet(runners),
    )


def bursts(seed: int, scale: float) -> Scenario:
    """Return four levels of unequal tasks, some with deadlines, of two tenants, one of whom comes in bursts."""
    rate = per_s(LOAD, SIZED) / 2
    slack = {Level.HIGH: (1_000.0, 10_000.0), Level.NORMAL: (5_000.0, 60_000.0)}
    sources = [
        Source(tenant, level, rate * part, SIZED, on_s=on_s, off_s=off_s, slack=slack.get(level, (0.0, 0.0)))
        for tenant, on_s, off_s in (("steady", 0.0, 0.0), ("bursty", 2.0, 6.0))
        for level, part in PARTS.items()
    ]
    return Scenario(
        "bursts",
        "two tenants and four levels, heavy-tailed lengths, half of the work in bursts of four times its mean rate, "
        f"deadlines after 1 to 10 s (HIGH) and 5 to 60 s (NORMAL), {LOAD:.0%} load",
        generate(sources, 600 * scale, seed),
        fleet(RUNNERS),
    )


def shares(seed: int, scale: float) -> Scenario:
    """Return four levels that all have more than can be done, the lower ones with longer tasks."""
    tasks = int(20_000 * scale)
    sources = [
        Source("a", level, 0, (Kind(about(20 * level, 0.5)),), at_once=tasks // int(level)) for level in Level
    ]
    return Scenario(
        "shares",
        "four levels with a backlog each, longer tasks in lower levels",
        generate(sources, 0, seed),
        fleet(RUNNERS),
    )


def tenants(seed: int, scale: float, backlog: int = 0, seconds: float = 300.0) -> Scenario:
    """Return equal tenants whose tasks differ, each asking for more than its share, and some for much more."""
    sources = []
    for number in range(8):
        kinds = (Kind(lognormal(25 * (1 + number), 0.5), "work"),)
        share = per_s(1 / 8, kinds)
        rate = (1.1 + 0.2 * number) * share
        # Something of everybody is there from the beginning, so that nobody ever has nothing waiting.
        at_once = backlog or int(5 * share)
        sources.append(Source(f"tenant-{number}", Level.NORMAL, rate, kinds, at_once=at_once))
    more = f", and {backlog:,} tasks of each there from the beginning" if backlog else ""
    return Scenario(
        f"tenants, {backlog:,} tasks of each at once" if backlog else "tenants",
        f"eight equal tenants with tasks of 25 to 200 ms, asking for 1.1 to 2.5 times their shares{more}",
        generate(sources, seconds * scale, seed),
        fleet(RUNNERS),
    )


def lengths(seed: int, scale: float, kinds: tuple[Kind, ...] = SIZED, name: str = "lengths") -> Scenario:
    """Return tasks of one tenant whose lengths have heavy tails."""
    source = Source("a", Level.NORMAL, per_s(LOAD, kinds), kinds)
    return Scenario(
        name,
        f"one tenant, {len(kinds)} kinds by label, heavy-tailed lengths, {LOAD:.0%} load",
        generate([source], 600 * scale, seed),
        fleet(RUNNERS),
    )


def deadlines(seed: int, scale: float) -> Scenario:
    """Return tasks in a hurry among bursts of others that have time."""
    kinds = (Kind(about(40, 0.5), "short", 8), Kind(about(200, 0.5), "long", 2))
    rate = per_s(0.87, kinds)
    sources = [
        Source("a", Level.NORMAL, 0.3 * rate, kinds, slack=(1_500, 6_000)),
        Source("a", Level.NORMAL, 0.7 * rate, kinds, slack=(60_000, 180_000), on_s=10, off_s=10),
    ]
    return Scenario(
        "deadlines",
        "one tenant; 30 % of the tasks have 1.5 to 6 s, the others 1 to 3 min and come in bursts of twice the capacity",
        generate(sources, 600 * scale, seed),
        fleet(RUNNERS),
    )


FLOODER: Final = "flooder"
FLOOD_MS: Final = 50.0
WELL_BEHAVED: Final = ("anna", "boris", "clara", "dora", "ida")
"""Lanes go by names, as in the product: boris and clara share one of theirs with the flooder, ida both."""


def flood(seed: int, scale: float) -> tuple[Scenario, Scenario]:
    """Return tenants who ask for less than their shares, without one who floods and with."""
    kinds = (Kind(about(FLOOD_MS)),)
    rate = per_s(0.3, kinds) / len(WELL_BEHAVED)
    quiet = [Source(tenant, Level.NORMAL, rate, kinds) for tenant in WELL_BEHAVED]
    seconds = 600 * scale
    flooding = Source(FLOODER, Level.NORMAL, 0, kinds, at_once=int(100_000 * scale))
    without = Scenario(
        "no flood",
        f"{len(quiet)} tenants who ask for 30 % of the fleet together, tasks of {FLOOD_MS:.0f} ms",
        generate(quiet, seconds, seed),
        fleet(RUNNERS),
        1000 * seconds,
    )
    with_ = replace(
        without,
        name="flood",
        what=f"the same, and another tenant with {flooding.at_once:,} tasks at once",
        arrivals=generate([*quiet, flooding], seconds, seed),
    )
    return without, with_


def ageing(seed: int, scale: float) -> Scenario:
    """Return more HIGH tasks than can be done, and a LOW task now and then."""
    kinds = (Kind(about(50, 0.5)),)
    sources = [
        Source("a", Level.HIGH, 1.2 * per_s(1.0, kinds), kinds),
        Source("a", Level.LOW, 0.02, kinds, at_once=1),
    ]
    return Scenario(
        "ageing",
        "HIGH asks for 1.2 times the fleet, LOW for one task in 50 s",
        generate(sources, 500 * scale, seed),
        fleet(RUNNERS),
    )
