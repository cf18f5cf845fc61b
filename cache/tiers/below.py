"""What the layers are made of: the tier on top, and those below it, each with what it needs to be one of many."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from cache.faults import Faults
from cache.ports import Entry, Key, Tier
from cache.tiers.breaker import Breaker
from cache.tiers.guard import Guarded, Usable
from cache.tiers.promotion import Promotion
from cache.tiers.settings import QueueSettings
from cache.tiers.write_behind import WriteBehind

Holds = Callable[[Key, int], bool]
"""Whether a tier has an entry of a key at a time in milliseconds; never waits."""


class FrontTier(Tier, Protocol):
    """The tier on top, which answers without waiting."""

    def find(self, key: Key, now_ms: int) -> Entry | None:
        """Return the entry of a key if it is fresh."""
        ...

    def glance(self, key: Key, now_ms: int) -> Entry | None:
        """Return the entry of a key if it is fresh, and count nothing."""
        ...

    def keep(self, key: Key, entry: Entry, now_ms: int) -> bool:
        """Keep an entry; False when there is no room for it, or one of its key that was created later."""
        ...

    def drop(self, key: Key) -> bool:
        """Remove an entry; False when there was none."""
        ...


def always() -> bool:
    """Let a tier be used whenever it answers."""
    return True


def unknown(key: Key, now_ms: int) -> bool:
    """Take it that a tier has an entry where nobody can tell: it is not written once more."""
    return True


@dataclass(frozen=True, slots=True)
class Below:
    """A tier below the memory, and how it is used."""

    tier: Tier
    shared: bool
    """Whether other gateways read it."""
    usable: Usable = always
    """Whether it may be used now: not while what was purged from it by others is not known."""
    holds: Holds = unknown
    """Of a tier that others do not read: what is found above it is copied down into it unless it has it."""
    promote_after: int = 2
    queue: QueueSettings = field(default_factory=QueueSettings)


class Lower:
    """A tier below the memory at work."""

    def __init__(self, below: Below, faults: Faults) -> None:
        self.name = below.tier.name
        self.shared = below.shared
        self.guarded = Guarded(below.tier, Breaker(), below.usable, faults)
        self.queue = WriteBehind(self.guarded, below.queue)
        self.promotion = Promotion(below.promote_after)
        self._holds = below.holds

    def lacks(self, key: Key, now_ms: int) -> bool:
        """Tell whether a tier that others do not read is without an entry, which is not on its way into it either."""
        return not self.shared and not self._holds(key, now_ms) and not self.queue.waits(key)
