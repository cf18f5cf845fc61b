"""What was made for short requests lately, kept by whose and what they are.

Each tenant has a part of its own, so that one's flood makes nobody else's requests slower.
"""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Final, Generic, TypeVar

TENANT_BYTES: Final = 1 << 20
"""What is kept for one tenant at most; what came first goes first."""
MOST_TENANTS: Final = 64
"""Tenants with a part; of more, the one that asked least recently begins anew."""
OBJECT_BYTES: Final = 1024
"""What one counts for beside its own size."""

V = TypeVar("V")


class _Part(Generic[V]):
    """What one tenant has."""

    __slots__ = ("held", "held_bytes")

    def __init__(self) -> None:
        self.held: OrderedDict[Hashable, tuple[V, int]] = OrderedDict()
        self.held_bytes = 0


class Lately(Generic[V]):
    """Bounded in bytes. Finding counts as a use of its tenant's part, and not of the thing: to keep an order of use of
    all things costs more than to make one again.
    """

    def __init__(self, tenant_bytes: int = TENANT_BYTES, most_tenants: int = MOST_TENANTS) -> None:
        self._tenant_bytes = tenant_bytes
        self._most_tenants = most_tenants
        self._parts: OrderedDict[str, _Part[V]] = OrderedDict()

    @property
    def held_bytes(self) -> int:
        """What is kept for all tenants."""
        return sum(part.held_bytes for part in self._parts.values())

    def __bool__(self) -> bool:
        return bool(self._parts)

    def find(self, tenant: str, request: Hashable) -> V | None:
        """Return what was made for a request; None when it is not here any more, or never was."""
        part = self._parts.get(tenant)
        if part is None:
            return None
        self._parts.move_to_end(tenant)
        held = part.held.get(request)
        return None if held is None else held[0]

    def keep(self, tenant: str, request: Hashable, made: V, size: int) -> None:
        """Keep what was made for a request, both of `size` bytes, unless that is more than a tenant may have."""
        self.drop(tenant, request)
        size += OBJECT_BYTES
        if size > self._tenant_bytes:
            return
        part = self._parts.get(tenant)
        if part is None:
            if len(self._parts) >= self._most_tenants:
                self._parts.popitem(last=False)
            part = self._parts[tenant] = _Part()
        part.held[request] = made, size
        part.held_bytes += size
        while part.held_bytes > self._tenant_bytes:
            part.held_bytes -= part.held.popitem(last=False)[1][1]

    def drop(self, tenant: str, request: Hashable) -> None:
        """Keep nothing of a request any more."""
        part = self._parts.get(tenant)
        if part is not None and (held := part.held.pop(request, None)) is not None:
            part.held_bytes -= held[1]
