"""Foretells the hits of a tier by running one: the same classes, as much smaller as the sample is.

A tier of a hundredth of the size, given the uses of a hundredth of the keys, has nearly the hit ratio of the whole,
for any policy (Waldspurger, Saemundsson, Ahmad and Park, "Cache Modeling and Optimization using Miniature
Simulations", USENIX ATC 2017).
"""

from dataclasses import dataclass
from random import Random

from cache.advice.trace import Sample
from cache.eviction import new_policy
from cache.tiers.partition import Partitions
from cache.tiers.settings import TierSettings


@dataclass(frozen=True, slots=True)
class Foretold:
    """What a tier would have done with the uses of a sample."""

    hit_ratio: float
    saved_ms: float
    """Time of computation that its hits would have saved, for each use."""
    held_bytes: int
    """What the whole tier would hold at the end."""


def foretell(sample: Sample, settings: TierSettings, random: Random) -> Foretold:
    """Run a tier with these settings over the sample. `random` is drawn from by policies that go by chance."""
    rate = sample.rate
    tier: Partitions[None] = Partitions(
        max(1, round(settings.capacity_bytes * rate)),
        max(1, round(settings.namespace_bytes * rate)),
        lambda: new_policy(settings.policy, random),
    )
    hits, saved_ms = 0, 0.0
    for key, size, at_ms, cost_ms in sample.accesses:
        slot = tier.look(key)
        if slot is not None and slot.until_ms > at_ms:
            tier.use(key, at_ms)
            hits += 1
            saved_ms += cost_ms
        elif size <= settings.entry_bytes:
            tier.put(key, None, size, at_ms + settings.ttl_ms)
    uses = max(1, len(sample.accesses))
    return Foretold(hits / uses, saved_ms / uses, round(tier.held_bytes / rate))
