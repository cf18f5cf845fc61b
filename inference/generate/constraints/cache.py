"""Remembering what was made, bounded by number and by size; what was used longest ago goes first."""

from collections import OrderedDict
from typing import Generic, TypeVar

Value = TypeVar("Value")


class BoundedCache(Generic[Value]):
    """Values by key. Not thread-safe."""

    def __init__(self, entries: int, size_bytes: int) -> None:
        """Take how many values and how many bytes are held at most."""
        self._entries = entries
        self._limit_bytes = size_bytes
        self._held: OrderedDict[bytes, tuple[Value, int]] = OrderedDict()
        self.size_bytes = 0

    def __len__(self) -> int:
        return len(self._held)

    def get(self, key: bytes) -> Value | None:
        """Return a value and count that as a use; None when it is not held."""
        found = self._held.get(key)
        if found is None:
            return None
        self._held.move_to_end(key)
        return found[0]

    def put(self, key: bytes, value: Value, size_bytes: int) -> None:
        """Hold a value of this size, and let go of others for it. One that is too large by itself is not held."""
        self.drop(key)
        if size_bytes > self._limit_bytes:
            return
        self._held[key] = (value, size_bytes)
        self.size_bytes += size_bytes
        while len(self._held) > self._entries or self.size_bytes > self._limit_bytes:
            _, (_, freed) = self._held.popitem(last=False)
            self.size_bytes -= freed

    def drop(self, key: bytes) -> None:
        """Let go of a value. Unknown keys are ignored."""
        if held := self._held.pop(key, None):
            self.size_bytes -= held[1]
