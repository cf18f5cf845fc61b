"""The direct way: calls of clients that wait on the line, sent to a runner in batches, over one stream each.

A door makes a `DirectCall` and awaits `DirectCalls.call`, or iterates over `DirectCalls.stream`; `DirectCalls.model`
says what is known of a model. Doors translate and nothing else.
"""

from services.gateway.direct.calls import DirectCalls
from services.gateway.direct.port import Calls
from services.gateway.direct.running import Direct, DirectBounds, direct_way
from services.gateway.direct.wanted import DEFAULT_POOL, DirectCall, KnownModel

__all__ = [
    "DEFAULT_POOL",
    "Calls",
    "Direct",
    "DirectBounds",
    "DirectCall",
    "DirectCalls",
    "KnownModel",
    "direct_way",
]
