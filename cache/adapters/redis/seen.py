"""What namespaces have in the server, as last seen: by this process's own fills, and by sweeps of what others fill."""

from collections.abc import Collection, Sequence
from typing import Final

from cache.ports import PartitionStats
from cache.tiers.settings import TierSettings

LIST_AGAIN_MS: Final = 1_000
"""The server may evict its list of namespaces, and a sweep take one out of it: each is put in again so often."""
_NOTHING: Final = PartitionStats()


class Seen:
    """Namespaces that have something, by tag."""

    def __init__(self, settings: TierSettings) -> None:
        self._settings = settings
        self._listed_ms: dict[bytes, int] = {}
        """When this process put a namespace into the server's list."""
        self.namespaces: Final[dict[bytes, PartitionStats]] = {}
        self.held_bytes = 0

    @property
    def entries(self) -> int:
        """Entries of all of them."""
        return sum(each.entries for each in self.namespaces.values())

    def note(self, tag: bytes, found: PartitionStats) -> None:
        """Take in what a namespace has now; one that has nothing is forgotten."""
        if not found.entries:
            # An index that lost its entries may still count bytes of them.
            found = _NOTHING
        self.held_bytes += found.held_bytes - self.namespaces.get(tag, _NOTHING).held_bytes
        if found.entries:
            self.namespaces[tag] = found
        else:
            self.namespaces.pop(tag, None)
            self._listed_ms.pop(tag, None)

    def room_bytes(self, tag: bytes) -> int:
        """Return how many bytes a namespace may have, with what others were last seen to have."""
        others = self.held_bytes - self.namespaces.get(tag, _NOTHING).held_bytes
        return max(0, min(self._settings.namespace_bytes, self._settings.capacity_bytes - others))

    def unlisted(self, tags: Sequence[bytes], now_ms: int) -> list[bytes]:
        """Return those that the server's list may lack."""
        return [tag for tag in tags if self._listed_ms.get(tag, 0) <= now_ms - LIST_AGAIN_MS]

    def listed(self, tags: Collection[bytes], now_ms: int) -> None:
        """Take in that these were put into the server's list."""
        self._listed_ms.update(dict.fromkeys(tags, now_ms))
