"""The tiers together: layers of them, and what each one is made of.

LayeredCache    look-ups downwards, promotion by use, writing behind, tiers that are away
Partitions      a part of a tier for each namespace, with a quota in bytes
tell_outdated   what is computed anew here takes the place of what is older at other gateways, too
hear_outdated   and what others compute anew of what is older here
sweep_behind    what has ended goes, behind the requests
TierSettings    size, quota, time to live and policy of one tier
"""

from cache.tiers.below import Below, FrontTier
from cache.tiers.counts import Counts
from cache.tiers.invalidating import hear_outdated, tell_outdated
from cache.tiers.layers import LayeredCache
from cache.tiers.looks import Found, FoundMany, Look, Met
from cache.tiers.partition import Partitions
from cache.tiers.settings import QueueSettings, TierSettings
from cache.tiers.sweeping import sweep_behind

__all__ = [
    "Below",
    "Counts",
    "Found",
    "FoundMany",
    "FrontTier",
    "LayeredCache",
    "Look",
    "Met",
    "Partitions",
    "QueueSettings",
    "TierSettings",
    "hear_outdated",
    "sweep_behind",
    "tell_outdated",
]
