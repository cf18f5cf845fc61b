"""What is claimed of levels: that CRITICAL hardly waits, that shares are those of the weights, that none starves."""

from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Final

from benchmarks.scheduling import fairness, figures, scenarios, tables
from benchmarks.scheduling.claims.finding import Bar, Finding, compare
from benchmarks.scheduling.contenders import STRICT, Contender, baselines, ours
from benchmarks.scheduling.jobs import End
from benchmarks.scheduling.simulator import Run
from benchmarks.scheduling.theory import highest_wait_ms, mean_waits_ms
from scheduler.policies.ageing import longest_wait_s
from scheduler.policies.level_modes import level_share
from scheduler.policies.policy import DEFAULT_POLICY, LevelMode, Policy
from scheduler.states import Level

MOST: Final = 1.5
"""Services that CRITICAL waits, p99."""


def levels(seed: int, scale: float) -> Iterable[Finding]:
    """CRITICAL hardly waits, however busy the fleet is."""
    scenario = scenarios.levels(seed, scale)
    runs, rows = compare(scenario, _contenders())
    attached = "weighted, tensor runners as they attach"
    runs[attached] = _default().over(scenario.attached())
    rows.append(tables.row_of(attached, runs[attached]))
    bar = _bar("CRITICAL p99 wait, 4 runners, weighted", runs["weighted"])
    note = (
        f"On tensor runners as they attach, CRITICAL waits {critical_p99(runs[attached]):.2f} services as p99: each "
        "takes the next task that it holds before it could hear of a CRITICAL one."
    )
    yield Finding(scenario, rows, [bar], [note])


def one_runner(seed: int, scale: float) -> Iterable[Finding]:
    """So it is on a single runner of one slot, where that can be: where its engine pauses what it executes."""
    scenario = scenarios.levels(seed, scale, 1)
    runs, rows = compare(scenario, baselines("FIFO", "strict priority") | {"weighted": _default()})
    pausing, attached = "weighted, pauses rows", "weighted, a tensor runner as it attaches"
    runs[pausing] = _default().over(scenario.pausing())
    runs[attached] = _default().over(scenario.attached())
    rows += [tables.row_of(name, runs[name]) for name in (pausing, attached)]
    bar = _bar("CRITICAL p99 wait, 1 runner of 1 slot, weighted, pauses rows", runs[pausing])
    yield Finding(scenario, rows, [bar], [_in_theory(), _found(runs, attached)])


def shares(seed: int, scale: float) -> Iterable[Finding]:
    """Every level gets its weight's share of the work, however much the others want; ageing gives low ones more."""
    scenario = scenarios.shares(seed, scale)
    # By default nothing ages before one of them has nothing left: 300 s are longer than that.
    aged = "weighted, ageing 30 s"
    contenders = ours({"weighted": DEFAULT_POLICY, aged: Policy(ageing_s=30.0)})
    runs, rows = compare(scenario, baselines("FIFO", "strict priority") | contenders)
    bars = []
    for name in contenders:
        found = fairness.service(runs[name], fairness.level_of)
        whole_ms = sum(found.work_ms.values())
        for level in Level if name == "weighted" else (Level.LOW,):
            share, wanted = found.share(level.label), level_share(DEFAULT_POLICY, level)
            # What is shared out are whole tasks.
            task = max(row.execute_ms for row in scenario.arrivals if row.level is level) / whole_ms
            met, bar = abs(share - wanted) <= 0.02 * wanted + task, f"{wanted:.2%} +- 2 %, to a task"
            if level is Level.LOW:
                met, bar = share >= wanted - task, f">= {wanted:.2%}, to a task"
            bars.append(Bar(f"{level.label}'s share of the work, {name}", f"{share:.2%}", bar, met))
    yield Finding(scenario, rows, bars)


def ageing(seed: int, scale: float) -> Iterable[Finding]:
    """What has waited for long starts within the bound that settings give, even where levels are strict."""
    scenario = scenarios.ageing(seed, scale)
    policy = Policy(level_mode=LevelMode.STRICT, ageing_s=30.0)
    name = "strict, ageing 30 s"
    runs, rows = compare(scenario, baselines("FIFO", "strict priority") | ours({name: policy}))
    run = runs[name]
    starts_per_s = sum(job.end is not End.NOT_YET for job in run.jobs) / (run.ended_ms / 1000)
    low = [job for job in run.jobs if job.arrival.level is Level.LOW]
    # A bound on the oldest one: those that had an older one before them were not the oldest for all of their wait.
    oldest = low[:1] + [job for before, job in pairwise(low) if before.start_ms <= job.arrival.time_ms]
    longest_s = max(job.wait_ms for job in oldest) / 1000
    bound_s = longest_wait_s(policy, starts_per_s)
    claim = "longest wait of the oldest LOW task, strict, ageing 30 s"
    yield Finding(
        scenario, rows, [Bar(claim, f"{longest_s:.1f} s", f"<= {bound_s:.1f} s", longest_s <= bound_s)]
    )


def _contenders() -> dict[str, Contender]:
    named = {"weighted": DEFAULT_POLICY, "strict": STRICT}
    return baselines("FIFO", "strict priority", "clairvoyant shortest") | ours(named)


def _default() -> Contender:
    return ours({"weighted": DEFAULT_POLICY})["weighted"]


def critical_p99(run: Run) -> float:
    """Return what CRITICAL waits, p99, in services."""
    return figures.by_level(run)[Level.CRITICAL].p99_ms / scenarios.SERVICE_MS


def _bar(claim: str, run: Run) -> Bar:
    found = critical_p99(run)
    return Bar(claim, f"{found:.2f} services", f"<= {MOST:.2f} services", found <= MOST)


def _in_theory() -> str:
    """Say what no policy can better on one slot that lets every task end."""
    service_ms, load = scenarios.SERVICE_MS, scenarios.LOAD
    least_ms, most_ms = service_ms * (1 - scenarios.SPREAD), service_ms * (1 + scenarios.SPREAD)
    second_ms2 = service_ms**2 * (1 + scenarios.SPREAD**2 / 3)
    per_s = [part * load * 1000 / service_ms for part in scenarios.PARTS.values()]
    mean = mean_waits_ms(per_s, service_ms, second_ms2)[0] / service_ms
    high = scenarios.PARTS[Level.CRITICAL] * load
    p99 = highest_wait_ms(0.99, high, load, least_ms, most_ms) / service_ms
    return (
        f"In theory (Cobham; Kesten and Runnenburg), one slot that pauses nothing lets CRITICAL wait {mean:.2f} "
        f"services on the average and {p99:.2f} as p99 at {load:.0%} load, whatever the policy: the rest of the task "
        "that it finds, and now and then another CRITICAL one. So nothing is claimed of such a runner."
    )


def _found(runs: Mapping[str, Run], attached: str) -> str:
    return (
        f"Found on it: {critical_p99(runs['strict priority']):.2f} services under strict priority, "
        f"{critical_p99(runs['weighted']):.2f} under the default, and {critical_p99(runs[attached]):.2f} on a tensor "
        "runner as it attaches."
    )
