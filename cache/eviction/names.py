"""The policies by the names that settings give them."""

from collections.abc import Hashable
from enum import Enum
from random import Random
from typing import TypeVar

from cache.eviction.chance import Chance
from cache.eviction.fifo import Fifo
from cache.eviction.lfu import Lfu
from cache.eviction.lru import Lru
from cache.eviction.policy import Policy
from cache.eviction.s3_fifo import S3Fifo
from cache.eviction.ttl import Ttl

Held = TypeVar("Held", bound=Hashable)


class PolicyName(Enum):
    """What goes first when room is needed."""

    LRU = "lru"
    """What was not used for longest."""
    LFU = "lfu"
    """What was used least often."""
    FIFO = "fifo"
    """What came first."""
    TTL = "ttl"
    """What expires first."""
    RANDOM = "random"
    """Anything, by chance."""
    SCAN_RESISTANT = "scan-resistant"
    """What was not used again soon after it came: S3-FIFO."""


def new_policy(name: PolicyName, random: Random) -> Policy[Held]:
    """Return an empty policy; `random` is drawn from where it goes by chance."""
    match name:
        case PolicyName.LRU:
            return Lru()
        case PolicyName.LFU:
            return Lfu()
        case PolicyName.FIFO:
            return Fifo()
        case PolicyName.TTL:
            return Ttl()
        case PolicyName.RANDOM:
            return Chance(random)
        case PolicyName.SCAN_RESISTANT:
            return S3Fifo()
