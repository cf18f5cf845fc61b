"""The result cache on the direct way: between the doors and `services/gateway/direct`.

    calls.py         what doors use: a call is judged, and answered from the memory
    missed.py        the way of all others: looked for, shared, computed, kept
    asking.py        what a call asks, as the cache sees it: its key, or why it has none
    finding.py       its answer looked for below the memory
    journey.py       how its way is counted and traced
    ends.py          how it ends
    computing.py     one call's own way to the answer, for all who wait for the same
    blame.py         whose failure it is when that fails
    beneath.py       what no cache has to do with
    early.py         answers that are computed anew before their end
    answers.py       from a runner's answer to what is kept, and back
    parsed.py        large answers, read once for all who are told them at a time
    result_cache.py  the tiers, keys, flights and guards of one gateway
    uses.py          the tiers, with what is asked of them noted
    trace_sharing.py what was noted, put together with what other gateways note
    control.py       what operators need of it: `services/gateway/cache_service.py`
    opening.py       puts them together from the settings
    upkeep.py        what goes on beside the calls: purge markers, sweeps, what is written behind

Without a cache in the settings `uncached.py` stands in its place: it refuses only calls that want a cached answer or
none.
"""

from services.gateway.caching.calls import CachedCalls, cached_calls
from services.gateway.caching.control import CacheControl
from services.gateway.caching.opening import open_cache
from services.gateway.caching.result_cache import ResultCache
from services.gateway.caching.settings import CacheSettings
from services.gateway.caching.uncached import UncachedCalls

__all__ = [
    "CacheControl",
    "CacheSettings",
    "CachedCalls",
    "ResultCache",
    "UncachedCalls",
    "cached_calls",
    "open_cache",
]
