"""What another size, policy or time to live of a tier would bring, foretold from what was asked lately.

SampledTrace      which keys were asked, of a fixed part of all keys        trace.py
TraceLog          the traces of all gateways, put together                  log.py
share_trace       gives what a process noted to the others                  sharing.py
reuse_distances   how much else was asked between two uses of a key         distances.py
lru_curve         hits of an LRU cache of any size, from the distances      curve.py
foretell          hits of a whole tier with other settings, by running it   miniature.py
advise            all of it as suggestions with their gain                  advise.py
"""

from cache.advice.advise import Advice, Suggestion, SuggestionKind, advise
from cache.advice.curve import Curve, lru_curve
from cache.advice.distances import reuse_distances
from cache.advice.log import TraceLog, TracesAway, pack_part, read_sample
from cache.advice.miniature import Foretold, foretell
from cache.advice.sharing import share_trace
from cache.advice.trace import Access, Part, Sample, SampledTrace

__all__ = [
    "Access",
    "Advice",
    "Curve",
    "Foretold",
    "Part",
    "Sample",
    "SampledTrace",
    "Suggestion",
    "SuggestionKind",
    "TraceLog",
    "TracesAway",
    "advise",
    "foretell",
    "lru_curve",
    "pack_part",
    "read_sample",
    "reuse_distances",
    "share_trace",
]
