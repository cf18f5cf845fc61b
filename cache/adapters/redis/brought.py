"""How much look-ups bring, by namespace: where the last one brought much, the next may, too."""

from collections.abc import Iterable
from typing import Final

from cache.adapters.redis.gathering import MUCH_BYTES

_MOST: Final = 4_096
"""Namespaces of which is remembered that they have large answers."""


class Brought:
    """Bytes that the last look-up of each namespace brought, where that was much."""

    def __init__(self) -> None:
        self._bytes: dict[bytes, int] = {}

    def expected(self, tags: Iterable[bytes]) -> int:
        """Return how many bytes a look-up of these namespaces may bring, as far as they are known for much."""
        return sum(self._bytes.get(tag, 0) for tag in tags)

    def note(self, tag: bytes, brought: int) -> None:
        """Take in how many bytes a look-up of a namespace brought."""
        if brought < MUCH_BYTES:
            self._bytes.pop(tag, None)
        elif tag in self._bytes or len(self._bytes) < _MOST:
            self._bytes[tag] = brought
