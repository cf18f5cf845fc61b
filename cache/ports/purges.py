"""The port to purge markers, shared by all gateways."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Purge:
    """A marker: entries that match every part that is given, and were created before it, are dead."""

    before_ms: int
    """Only entries created before this time."""
    namespace: bytes | None = None
    """The tag of a namespace; None: all of them."""
    model: str | None = None
    """The name of a model; None: all of them."""
    label: bytes | None = None
    """The tag of a label; None: with any labels or none."""
    digest: bytes | None = None
    """The digest of a key; None: all of them."""


class Purges(Protocol):
    """Purge markers, shared by all gateways. Raises PurgesAway when they cannot be read or written."""

    async def add(self, purge: Purge, keep_until_ms: int) -> None:
        """Keep a marker until `keep_until_ms` and tell every gateway."""
        ...

    async def read(self, now_ms: int) -> list[Purge]:
        """Return the markers that are kept, and forget those whose time is over."""
        ...

    async def changed(self) -> None:
        """Wait until a marker was added since the last `read`, or may have been. Cancelling stops the wait."""
        ...
