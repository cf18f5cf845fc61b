"""What a policy is asked: which of the keys that are held should go."""

from collections.abc import Hashable
from typing import Protocol, TypeVar

K = TypeVar("K", bound=Hashable)


class Policy(Protocol[K]):
    """An order of keys; it holds no values and knows no limit. Every call takes constant time, or amortised so."""

    def add(self, key: K, size: int, until_ms: int) -> None:
        """Take a key that is not held, of so many bytes, which expires at `until_ms`."""
        ...

    def touch(self, key: K) -> None:
        """Note a use of a key that is held."""
        ...

    def replace(self, key: K, size: int, until_ms: int) -> None:
        """Note that a key that is held has a new value, of another size and expiry."""
        ...

    def remove(self, key: K) -> None:
        """Let go of a key that is held."""
        ...

    def evict(self) -> K:
        """Choose the key that should go, and let go of it. Raises LookupError when none is held."""
        ...

    def __len__(self) -> int: ...
