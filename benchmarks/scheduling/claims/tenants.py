"""What is claimed of tenants: that equal ones get the same, and that who floods disturbs nobody."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from benchmarks.scheduling import fairness, figures, scenarios, tables
from benchmarks.scheduling.claims.finding import Bar, Finding, compare
from benchmarks.scheduling.contenders import UNAGED, baselines, ours
from benchmarks.scheduling.simulator import Run
from scheduler.policies.policy import DEFAULT_POLICY, Policy

EVEN: Final = 0.98
"""Jain's index of equal tenants, at the least."""
BACKLOG: Final = 2_000
DEEP: Final = 5_000
MOVED: Final = 1.2
"""Services by which a flood moves another tenant's p99 wait, at the most."""
SHARES_A_LANE: Final = {
    "boris": ", in one of the flooder's lanes",
    "clara": ", likewise",
    "ida": ", in both",
}


def tenants(seed: int, scale: float) -> Iterable[Finding]:
    """Equal tenants get the same work done."""
    against = baselines("FIFO", "clairvoyant shortest")
    for backlog in (0, int(BACKLOG * scale)):
        # Where nothing waits for as long as that, ageing changes nothing.
        named = {"weighted": DEFAULT_POLICY} | ({"weighted, no ageing": UNAGED} if backlog else {})
        scenario = scenarios.tenants(seed, scale, backlog)
        runs, rows = compare(scenario, against | ours(named))
        bars = []
        for name in named:
            found = fairness.service(runs[name], fairness.tenant_of).jain
            bars.append(
                Bar(f"Jain's index, {scenario.name}, {name}", f"{found:.4f}", ">= 0.98", found >= EVEN)
            )
        yield Finding(scenario, rows, bars)


def deep_backlogs(seed: int, scale: float) -> Iterable[Finding]:
    """Nothing is claimed where far more waits than the window holds: a table only."""
    scenario = scenarios.tenants(seed, scale, int(DEEP * scale), 10.0)
    wide = ours({"weighted, all of it in the window": UNAGED}, per_lane=len(scenario.arrivals))
    contenders = baselines("FIFO") | ours({"weighted": DEFAULT_POLICY}) | wide
    note = (
        "Nothing is claimed here: tenants share what is in the window, and behind it each lane of the log is read in "
        "its order. Those who came last to a lane that others had filled wait until it is their turn in it."
    )
    yield Finding(scenario, compare(scenario, contenders)[1], notes=[note])


def weights(seed: int, scale: float) -> Iterable[Finding]:
    """Tenants with weights get work in proportion to them."""
    # So short that what piles up stays within the window.
    scenario = scenarios.tenants(seed, scale, seconds=100.0)
    scenario = replace(scenario, name="tenants with weights")
    # Those who ask for most, so that they never have nothing waiting.
    policy = Policy(tenant_weights={"tenant-7": 3.0, "tenant-6": 2.0})
    name = "weighted, tenants 1 : 1 : 1 : 1 : 1 : 1 : 2 : 3"
    runs, rows = compare(scenario, ours({"weighted": DEFAULT_POLICY, name: policy}))
    found = fairness.service(runs[name], fairness.tenant_of)
    whole = sum(policy.tenant_weight(tenant) for tenant in found.work_ms)
    work_ms = sum(found.work_ms.values())
    bars = []
    for tenant in ("tenant-0", "tenant-6", "tenant-7"):
        share, wanted = found.share(tenant), policy.tenant_weight(tenant) / whole
        task = max(row.execute_ms for row in scenario.arrivals if row.tenant == tenant) / work_ms
        bar = f"{wanted:.2%} +- 2 %, to a task"
        met = abs(share - wanted) <= 0.02 * wanted + task
        bars.append(Bar(f"{tenant}'s share of the work", f"{share:.2%}", bar, met))
    yield Finding(
        scenario, rows, bars, ["Jain's index is of what was got, so it is below 1 where weights differ."]
    )


def flood(seed: int, scale: float) -> Iterable[Finding]:
    """A tenant who floods does not disturb the others."""
    without, with_ = scenarios.flood(seed, scale)
    default = ours({"weighted": DEFAULT_POLICY})["weighted"]
    runs = {
        "weighted, no flood": default.over(without),
        "weighted": default.over(with_),
        "weighted, tensor runners as they attach, no flood": default.over(without.attached()),
        "weighted, tensor runners as they attach": default.over(with_.attached()),
        "FIFO": baselines("FIFO")["FIFO"].over(with_),
    }
    bars = []
    for who in scenarios.WELL_BEHAVED:
        moved = _moved(runs, "weighted", who)
        claim = f"p99 wait of {who}{SHARES_A_LANE.get(who, '')}: moved by the flood"
        bars.append(Bar(claim, f"{moved:.2f} services", f"<= {MOVED} services", moved <= MOVED))
    attached = "weighted, tensor runners as they attach"
    far = max(_moved(runs, attached, who) for who in scenarios.WELL_BEHAVED)
    claim = "p99 wait of who is moved most, tensor runners as they attach: moved by the flood"
    bars.append(Bar(claim, f"{far:.2f} services", f"<= {MOVED} services", far <= MOVED))
    note = (
        f"On tensor runners as they attach, who is moved most is moved by {far:.2f} services: each holds "
        f"{with_.attached().fleet[0].credit} tasks, and what it holds has left the order of tenants."
    )
    head, rows = tables.by_tenant(runs)
    yield Finding(with_, rows, bars, [note], head)


def _moved(runs: dict[str, Run], name: str, who: str) -> float:
    before, after = (figures.by_tenant(runs[each])[who].p99_ms for each in (f"{name}, no flood", name))
    return (after - before) / scenarios.FLOOD_MS
