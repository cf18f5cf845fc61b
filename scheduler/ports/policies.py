"""The policy that stands, kept in the record store, and followed by every process.

Every method raises RecordsUnavailable when the store does not answer in time.
"""

from typing import NamedTuple, Protocol


class StoredPolicy(NamedTuple):
    """A policy as it was stored."""

    version: int
    """0 when none was ever stored."""
    body: bytes
    """Opaque here; empty for version 0."""
    time_ms: int
    """When it was stored, by the store's clock."""


class PolicyStore(Protocol):
    """Keeps one policy for all pools."""

    async def policy(self) -> StoredPolicy:
        """Return the policy that stands; a read of a few microseconds, for asking every second."""
        ...

    async def replace(self, body: bytes, version: int) -> StoredPolicy | None:
        """Store a new policy if the one that stands has this version; None when it has another one."""
        ...
