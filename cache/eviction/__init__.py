"""Which entry goes when room is needed: six policies, counted in bytes.

    LRU, LFU, FIFO, TTL, RANDOM   as their names say
    SCAN_RESISTANT                S3-FIFO: a scan passes through a small queue and leaves what is used alone

A `Policy` orders keys; `Bounded` holds values within a number of bytes by one. Tiers and the advice use the same
classes, so that what is foretold is what is done. Libraries were weighed: cachetools, the reference in the tests, and
cachebox hold the values themselves and have nothing that resists scans; theine counts entries and not bytes.
"""

from cache.eviction.bounded import Bounded, Slot
from cache.eviction.names import PolicyName, new_policy
from cache.eviction.policy import Policy

__all__ = ["Bounded", "Policy", "PolicyName", "Slot", "new_policy"]
