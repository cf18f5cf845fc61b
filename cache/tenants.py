"""Who had an own part of the cache when somebody last looked, so that who is no more is noticed also after a restart.

A name that is given again later must not bring back what was answered to whom it belonged before. A tenant is the same
as before as long as it has one of the keys that it had: who is given a name has keys of their own.
"""

from collections.abc import Collection
from hashlib import sha256
from typing import Final, Protocol

from cache.ports import NAMESPACE_BYTES

_KEY_BYTES: Final = 16
TENANT_TAG_BYTES: Final = NAMESPACE_BYTES + _KEY_BYTES
"""A namespace's tag, and the beginning of a digest of it and of one key: a tenant has as many tags as keys."""


class TenantTags(Protocol):
    """The tags of tenants, kept where their entries are and for as long."""

    async def read(self) -> frozenset[bytes]:
        """Return those that are known. Raises Away."""
        ...

    async def change(self, added: Collection[bytes], gone: Collection[bytes]) -> None:
        """Add some and take some out; kept once this returns. Raises Away."""
        ...


def tenant_tag(namespace: bytes, key: str) -> bytes:
    """Return the tag of a tenant with one of its keys, which is named by what nobody could guess."""
    return namespace + sha256(namespace + key.encode()).digest()[:_KEY_BYTES]


def strangers(before: Collection[bytes], now: Collection[bytes]) -> frozenset[bytes]:
    """Return the namespaces of tenants who had a tag before and have none of those now."""
    left = frozenset(now)
    same = {tag[:NAMESPACE_BYTES] for tag in before if tag in left}
    return frozenset(tag[:NAMESPACE_BYTES] for tag in before) - same
