"""What must hold of the figures: each claim runs a scenario under several policies and says what it found.

A claim is about the product's policy; baselines stand beside it. Values are compared with a bar that was set before
anything was measured.
"""

from collections.abc import Callable, Iterable, Mapping
from itertools import pairwise
from typing import Final, NamedTuple

from benchmarks.scheduling import figures, scenarios, tables
from benchmarks.scheduling.baselines import (
    clairvoyant_deadline,
    clairvoyant_shortest,
    fifo,
    strict_priority,
)
from benchmarks.scheduling.fleet import End
from benchmarks.scheduling.scenarios import Scenario
from benchmarks.scheduling.scheduled import scheduled
from benchmarks.scheduling.simulator import Make, Run, simulate
from scheduler.policies.ageing import longest_wait_s
from scheduler.policies.level_modes import level_share
from scheduler.policies.policy import DEFAULT_POLICY, LevelMode, Policy, TaskOrder
from scheduler.states import Level


class Bar(NamedTuple):
    """One claim about one figure."""

    claim: str
    found: str
    wanted: str
    met: bool


class Finding(NamedTuple):
    """What one scenario showed."""

    scenario: Scenario
    rows: list[tuple[str, ...]]
    """One a policy, under tables.HEAD."""
    bars: list[Bar]


SHORTEST: Final = Policy(order=TaskOrder.SHORTEST, stretch=1000)
DEADLINE: Final = Policy(order=TaskOrder.DEADLINE)
STRICT: Final = Policy(level_mode=LevelMode.STRICT)
FIRST: Final = Policy(order=TaskOrder.FIFO)


def levels(seed: int, scale: float) -> Iterable[Finding]:
    """CRITICAL hardly waits, however busy the fleet is."""
    for runners in (scenarios.RUNNERS, 1):
        scenario = scenarios.levels(seed, scale, runners)
        contenders = {"FIFO": fifo, "strict priority": strict_priority}
        runs, rows = _compare(scenario, {**contenders, **_ours(weighted=DEFAULT_POLICY, strict=STRICT)})
        p99 = {
            name: figures.by_level(run)[Level.CRITICAL].p99_ms / scenarios.SERVICE_MS
            for name, run in runs.items()
        }
        # Of a single runner nothing that does not preempt can promise more than strict priority gives.
        most = 1.5 if runners > 1 else max(1.5, 1.1 * p99["strict priority"])
        claim = f"CRITICAL p99 wait, {scenario.name}"
        wanted = f"<= {most:.2f} services" + (", 1.1 times strict priority" if most > 1.5 else "")
        yield Finding(
            scenario, rows, [Bar(claim, f"{p99['weighted']:.2f} services", wanted, p99["weighted"] <= most)]
        )


def bursts(seed: int, scale: float) -> Iterable[Finding]:
    """Nothing is claimed where everything is mixed: a table only."""
    scenario = scenarios.bursts(seed, scale)
    contenders: dict[str, Make] = {
        "FIFO": fifo,
        "strict priority": strict_priority,
        "clairvoyant shortest": clairvoyant_shortest,
        **_ours(weighted=DEFAULT_POLICY, strict=STRICT, shortest=SHORTEST, fifo=FIRST),
    }
    yield Finding(scenario, _compare(scenario, contenders)[1], [])


def shares(seed: int, scale: float) -> Iterable[Finding]:
    """Every level gets its weight's share of the work, however much the others want; ageing gives low ones more."""
    scenario = scenarios.shares(seed, scale)
    ours = _ours(**{"weighted": DEFAULT_POLICY, "weighted, no ageing": Policy(ageing_s=0)})
    runs, rows = _compare(scenario, {"strict priority": strict_priority, **ours})
    bars = []
    for name in ours:
        found = figures.service(runs[name], figures.level_of)
        whole_ms = sum(found.work_ms.values())
        for level in Level:
            share, wanted = found.share(level.label), level_share(DEFAULT_POLICY, level)
            # What is shared out are whole tasks.
            task = max(row.execute_ms for row in scenario.arrivals if row.level is level) / whole_ms
            if level is Level.LOW:
                met, bar = share >= wanted - task, f">= {wanted:.2%}, to a task"
            elif name != "weighted":
                met, bar = abs(share - wanted) <= 0.02 * wanted + task, f"{wanted:.2%} +- 2 %, to a task"
            else:
                continue
            bars.append(Bar(f"{level.label}'s share of the work, {name}", f"{share:.2%}", bar, met))
    yield Finding(scenario, rows, bars)


def tenants(seed: int, scale: float) -> Iterable[Finding]:
    """Equal tenants get the same work done."""
    for backlog in (0, int(2000 * scale)):
        scenario = scenarios.tenants(seed, scale, backlog)
        runs, rows = _compare(scenario, {"FIFO": fifo, **_ours(weighted=DEFAULT_POLICY)}, fair=True)
        found = figures.service(runs["weighted"], figures.tenant_of)
        claim = f"Jain's index, {scenario.name}"
        yield Finding(scenario, rows, [Bar(claim, f"{found.jain:.4f}", ">= 0.98", found.jain >= 0.98)])


def lengths(seed: int, scale: float) -> Iterable[Finding]:
    """What is learned of costs is nearly as good as knowing them."""
    scenario = scenarios.lengths(seed, scale)
    runs, rows = _compare(scenario, _BY_LENGTH)
    mean_ms = {name: figures.waits(run).mean_ms for name, run in runs.items()}
    over = mean_ms["shortest"] / mean_ms["clairvoyant shortest"] - 1
    below = 1 - mean_ms["shortest"] / mean_ms["FIFO"]
    yield Finding(
        scenario,
        rows,
        [
            Bar(
                "learned shortest first: mean wait over the clairvoyant one",
                f"{over:.0%}",
                "<= 25 %",
                over <= 0.25,
            ),
            Bar("learned shortest first: mean wait below FIFO", f"{below:.0%}", ">= 30 %", below >= 0.3),
        ],
    )


def secrets(seed: int, scale: float) -> Iterable[Finding]:
    """Nothing is claimed where nobody can know what tasks cost: a table only."""
    scenario = scenarios.lengths(seed, scale, scenarios.SECRET, "lengths that nobody can know")
    yield Finding(scenario, _compare(scenario, _BY_LENGTH)[1], [])


def deadlines(seed: int, scale: float) -> Iterable[Finding]:
    """Where all deadlines can be met, nearly all are."""
    scenario = scenarios.deadlines(seed, scale)
    contenders = {"FIFO": fifo, "clairvoyant deadline": clairvoyant_deadline}
    runs, rows = _compare(
        scenario, {**contenders, **_ours(deadline=DEADLINE, balanced=DEFAULT_POLICY, fifo=FIRST)}
    )
    ideal, part = (figures.in_time(runs[name]) for name in ("clairvoyant deadline", "deadline"))
    yield Finding(
        scenario,
        rows,
        [
            Bar(
                "clairvoyant earliest deadline first",
                f"{ideal:.1%}",
                "all, or the case is too hard",
                ideal == 1,
            ),
            Bar("earliest deadline first: deadlines met", f"{part:.1%}", ">= 95 %", part >= 0.95),
        ],
    )


def flood(seed: int, scale: float) -> Iterable[Finding]:
    """A tenant who floods does not disturb the others."""
    without, with_ = scenarios.flood(seed, scale)
    ours = _ours(weighted=DEFAULT_POLICY)
    quiet, before = _compare(without, ours)
    flooded, after = _compare(with_, {"FIFO": fifo, **ours})
    yield Finding(without, before, [])
    before_ms = {who: one.p99_ms for who, one in figures.by_tenant(quiet["weighted"]).items()}
    after_ms = {who: one.p99_ms for who, one in figures.by_tenant(flooded["weighted"]).items()}
    bars = []
    for who in scenarios.WELL_BEHAVED:
        moved = (after_ms[who] - before_ms[who]) / 50
        lanes = {"boris": ", in one of the flooder's lanes", "clara": ", likewise", "ida": ", in both"}
        bars.append(
            Bar(
                f"p99 wait of {who}{lanes.get(who, '')}: moved by the flood",
                f"{moved:.2f} services",
                "<= 1.2 services",
                moved <= 1.2,
            )
        )
    yield Finding(with_, after, bars)


def ageing(seed: int, scale: float) -> Iterable[Finding]:
    """What has waited for long starts within the bound that settings give, even where levels are strict."""
    scenario = scenarios.ageing(seed, scale)
    policy = Policy(level_mode=LevelMode.STRICT, ageing_s=30.0)
    runs, rows = _compare(
        scenario, {"strict priority": strict_priority, **_ours(**{"strict, ageing 30 s": policy})}
    )
    run = runs["strict, ageing 30 s"]
    starts_per_s = sum(job.end is not End.NOT_YET for job in run.jobs) / (run.ended_ms / 1000)
    low = [job for job in run.jobs if job.arrival.level is Level.LOW]
    # A bound on the oldest one: those that had an older one before them were not the oldest for all of their wait.
    oldest = low[:1] + [job for before, job in pairwise(low) if before.start_ms <= job.arrival.time_ms]
    longest_s = max(job.wait_ms for job in oldest) / 1000
    bound_s = longest_wait_s(policy, starts_per_s)
    yield Finding(
        scenario,
        rows,
        [
            Bar(
                "longest wait of the oldest LOW task",
                f"{longest_s:.1f} s",
                f"<= {bound_s:.1f} s",
                longest_s <= bound_s,
            )
        ],
    )


Claim = Callable[[int, float], Iterable[Finding]]
"""Takes a seed and a scale, 1 for the long form."""
CLAIMS: Final[tuple[Claim, ...]] = (
    levels,
    bursts,
    shares,
    tenants,
    lengths,
    secrets,
    deadlines,
    flood,
    ageing,
)


def _ours(**policies: Policy) -> dict[str, Make]:
    return {name: scheduled(policy) for name, policy in policies.items()}


_BY_LENGTH: Final[Mapping[str, Make]] = {
    "FIFO": fifo,
    "clairvoyant shortest": clairvoyant_shortest,
    **_ours(shortest=SHORTEST, balanced=DEFAULT_POLICY, fifo=FIRST),
}


def _compare(
    scenario: Scenario, contenders: Mapping[str, Make], *, fair: bool = False
) -> tuple[dict[str, Run], list[tuple[str, ...]]]:
    runs = {
        name: simulate(scenario.arrivals, scenario.fleet, make, until_ms=scenario.until_ms)
        for name, make in contenders.items()
    }
    return runs, [tables.row_of(name, run, fair=fair) for name, run in runs.items()]
