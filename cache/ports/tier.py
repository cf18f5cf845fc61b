"""The port to what keeps entries: the process's memory, a server, a disk."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from cache.ports.entries import Entry, Key


@dataclass(frozen=True, slots=True)
class PartitionStats:
    """What one namespace has in one tier."""

    entries: int = 0
    held_bytes: int = 0


@dataclass(frozen=True, slots=True)
class TierStats:
    """What a tier holds, and what this process has counted on it since it was made."""

    entries: int = 0
    held_bytes: int = 0
    hits: int = 0
    misses: int = 0
    fills: int = 0
    """Entries taken."""
    evictions: int = 0
    """Entries dropped for room before their time."""
    refusals: int = 0
    """Entries not taken: larger than allowed, or no room that is their own namespace's to make."""
    damaged: int = 0
    """Entries found damaged, removed and counted as misses."""
    expired: int = 0
    """Entries removed after their time."""
    purged: int = 0
    """Entries removed because a purge marker matched them."""
    away: int = 0
    """Calls that the tier did not answer in its time."""
    namespaces: Mapping[bytes, PartitionStats] = field(default_factory=dict)
    """By the namespace's tag; empty unless asked for, and where a tier knows only by asking, as last seen."""


class Tier(Protocol):
    """One place that keeps entries, in a partition for each namespace with a quota of its own.

    Every method that is waited for raises TierAway when the tier does not answer in its time; nothing else is raised
    for a state of the tier. Cancelling a call leaves it done or not done, never half done.
    """

    name: str
    """What metrics and spans call it: `memory`, `redis`, `disk`."""

    async def get(self, keys: Sequence[Key], now_ms: int) -> list[Entry | None]:
        """Return the entries in the order of the keys; None where there is none that is fresh. A damaged entry is
        removed, counted, and None. A tier may give fewer: those of the first keys, one at least, where all together
        would be too much at once. For the others it has not looked then.
        """
        ...

    async def peek(self, keys: Sequence[Key], now_ms: int) -> list[Entry | None]:
        """Return what `get` would, and leave no trace of it: it is neither a hit nor a miss, and no use of an entry."""
        ...

    async def put(self, entries: Sequence[tuple[Key, Entry]], now_ms: int) -> None:
        """Keep entries, each in place of one of its key, unless that was created later: then nothing changes, for what
        was looked up before that one came must not undo it. Room is made only in the entry's own namespace; an entry
        for which there is none is not kept, and counted.
        """
        ...

    async def outdate(self, before: Mapping[Key, int], now_ms: int) -> None:
        """Remove entries, each given by its key, where they were created before a time."""
        ...

    def discount(self, hits: int) -> None:
        """Count as misses what was counted as hits and could not be given: it was purged. Never waits."""
        ...

    async def sweep(self, now_ms: int, dead: Callable[[Key, Entry], bool], budget: int) -> int:
        """Look at up to `budget` entries, going on where the last sweep stopped, and remove those that have expired
        or are `dead`; return how many were removed.
        """
        ...

    def stats(self, by_namespace: bool = False) -> TierStats:
        """Return the counts; never waits."""
        ...

    async def close(self) -> None:
        """Finish what was begun and let go of connections and files. May be called twice."""
        ...
