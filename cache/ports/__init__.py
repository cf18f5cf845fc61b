"""What the cache needs from the outside.

Tier            keeps entries, found by their keys
Flights         computations under way, that all who ask for the same share
Purges          markers that say which entries are dead
Invalidations   what was computed anew in place of what is older
Away            each of them may be away

Times are milliseconds since 1970 by the caller's clock, handed in as `now_ms`.
"""

from cache.ports.away import Away, FlightsAway, InvalidationsAway, PurgesAway, TierAway, TierFault
from cache.ports.entries import DIGEST_BYTES, LABEL_BYTES, NAMESPACE_BYTES, Entry, Key
from cache.ports.flights import NOBODY, Flights, Following, Landing, LandingKind, Leading, Renewed
from cache.ports.invalidations import Invalidation, Invalidations
from cache.ports.purges import Purge, Purges
from cache.ports.tier import PartitionStats, Tier, TierStats

__all__ = [
    "DIGEST_BYTES",
    "LABEL_BYTES",
    "NAMESPACE_BYTES",
    "NOBODY",
    "Away",
    "Entry",
    "Flights",
    "FlightsAway",
    "Following",
    "Invalidation",
    "Invalidations",
    "InvalidationsAway",
    "Key",
    "Landing",
    "LandingKind",
    "Leading",
    "PartitionStats",
    "Purge",
    "Purges",
    "PurgesAway",
    "Renewed",
    "Tier",
    "TierAway",
    "TierFault",
    "TierStats",
]
