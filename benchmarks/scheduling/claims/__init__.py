"""What must hold of the figures: each claim runs a scenario under several policies and says what it found.

A claim is about the product's policy; baselines stand beside it. Values are compared with a bar that was set before
anything was measured.
"""

from typing import Final

from benchmarks.scheduling.claims.finding import Bar, Claim, Finding
from benchmarks.scheduling.claims.levels import ageing, levels, one_runner, shares
from benchmarks.scheduling.claims.orders import bursts, deadlines, lengths, secrets
from benchmarks.scheduling.claims.tenants import deep_backlogs, flood, tenants, weights

__all__ = ["CLAIMS", "Bar", "Claim", "Finding"]

CLAIMS: Final[tuple[Claim, ...]] = (
    bursts,
    levels,
    one_runner,
    shares,
    ageing,
    tenants,
    deep_backlogs,
    weights,
    flood,
    lengths,
    secrets,
    deadlines,
)
