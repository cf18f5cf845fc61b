"""Which way of sharing between levels a policy asks for, and the change from one to the other while tasks wait."""

from scheduler.policies.levels import Levels, WeightedLevels
from scheduler.policies.policy import LevelMode, Policy
from scheduler.policies.strict import StrictLevels
from scheduler.states import Level


def levels_for(policy: Policy, before: Levels | None = None) -> Levels:
    """Return what shares between levels as the policy says; `before`, which did so until now, is kept when it can.

    Counters outlive a change of weights, and begin anew when levels begin to share by weight.
    """
    if policy.level_mode is LevelMode.STRICT:
        return before if isinstance(before, StrictLevels) else StrictLevels()
    if isinstance(before, WeightedLevels):
        before.follow(policy.weights)
        return before
    return WeightedLevels(policy.weights)


def level_share(policy: Policy, level: Level) -> float:
    """Return the part of all work that a level is to get while every level waits, 0 to 1. Ageing is left out."""
    if policy.level_mode is LevelMode.STRICT:
        return 1.0 if level is min(Level) else 0.0
    return policy.weights[level] / sum(policy.weights[each] for each in Level)
