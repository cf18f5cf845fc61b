"""The tags of tenants as long as a process lasts."""

from collections.abc import Collection


class MemoryTenants:
    """TenantTags in memory."""

    def __init__(self) -> None:
        self._tags: frozenset[bytes] = frozenset()

    async def read(self) -> frozenset[bytes]:
        """Return those that are known; see TenantTags."""
        return self._tags

    async def change(self, added: Collection[bytes], gone: Collection[bytes]) -> None:
        """Add some and take some out; see TenantTags."""
        self._tags = self._tags.union(added).difference(gone)
