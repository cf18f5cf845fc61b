"""What a tier counts."""

from collections.abc import Mapping

from cache.ports import PartitionStats, TierStats


class Counts:
    """Counters of one tier in one process; plain numbers, because a look-up has no time for more."""

    __slots__ = ("away", "damaged", "evictions", "expired", "fills", "hits", "misses", "purged", "refusals")

    def __init__(self) -> None:
        self.hits = self.misses = self.fills = self.evictions = self.refusals = 0
        self.damaged = self.expired = self.purged = self.away = 0

    def discount(self, hits: int) -> None:
        """Count hits as misses; see `Tier`."""
        self.hits -= hits
        self.misses += hits

    def stats(self, entries: int, held_bytes: int, namespaces: Mapping[bytes, PartitionStats]) -> TierStats:
        """Return the counts beside what the tier holds."""
        return TierStats(
            entries=entries,
            held_bytes=held_bytes,
            hits=self.hits,
            misses=self.misses,
            fills=self.fills,
            evictions=self.evictions,
            refusals=self.refusals,
            damaged=self.damaged,
            expired=self.expired,
            purged=self.purged,
            away=self.away,
            namespaces=namespaces,
        )
