"""Idempotency keys, read without recording anything. Raises RecordsUnavailable when the store does not answer."""

from collections.abc import Sequence
from typing import Protocol


class KeyStore(Protocol):
    """Used by the gateway before it refuses a task that may exist already."""

    async def known(self, tenant: str, keys: Sequence[tuple[int, str]]) -> list[bool]:
        """Say of each key, given with the partition of its tasks, whether a task of the tenant was made with it. One
        whose record has expired counts as long as the key is kept.
        """
        ...
