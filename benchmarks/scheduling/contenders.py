"""Who is compared: everything that the product's policies can be set to, beside the baselines."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final, NamedTuple

from benchmarks.scheduling.baselines import BASELINES
from benchmarks.scheduling.scenario import Scenario
from benchmarks.scheduling.scheduled import PER_LANE, scheduled
from benchmarks.scheduling.simulator import Make, Run, simulate
from scheduler.policies.policy import DEFAULT_POLICY, LevelMode, Policy, TaskOrder


class Contender(NamedTuple):
    """One way of deciding what is next."""

    make: Make
    policy: Policy = DEFAULT_POLICY
    """Of the lines inside runners."""

    def over(self, scenario: Scenario) -> Run:
        """Run over a scenario."""
        return simulate(
            scenario.arrivals,
            scenario.fleet,
            self.make,
            self.policy,
            until_ms=scenario.until_ms,
            hop_ms=scenario.hop_ms,
        )


Contenders = Mapping[str, Contender]

SHORTEST: Final = Policy(order=TaskOrder.SHORTEST, stretch=1000)
DEADLINE: Final = Policy(order=TaskOrder.DEADLINE)
STRICT: Final = Policy(level_mode=LevelMode.STRICT)
FIRST: Final = Policy(order=TaskOrder.FIFO)
UNAGED: Final = Policy(ageing_s=0)

POLICIES: Final[Mapping[str, Policy]] = {
    "weighted, balanced": DEFAULT_POLICY,
    "weighted, fifo": FIRST,
    "weighted, shortest": SHORTEST,
    "weighted, deadline": DEADLINE,
    "weighted, balanced, ageing 5 s": Policy(ageing_s=5),
    "strict, balanced": STRICT,
    "strict, fifo": replace(STRICT, order=TaskOrder.FIFO),
}
"""The table of policies: each order, each mode of levels, and ageing that is felt."""


def ours(policies: Mapping[str, Policy], *, seed: int = 0, per_lane: int = PER_LANE) -> dict[str, Contender]:
    """Return the product's scheduler under each policy."""
    return {
        name: Contender(scheduled(policy, seed=seed, per_lane=per_lane), policy)
        for name, policy in policies.items()
    }


def baselines(*names: str) -> dict[str, Contender]:
    """Return those baselines, or all of them."""
    return {name: Contender(BASELINES[name]) for name in names or BASELINES}


def everyone(seed: int = 0) -> dict[str, Contender]:
    """Return all of them."""
    return baselines() | ours(POLICIES, seed=seed)
