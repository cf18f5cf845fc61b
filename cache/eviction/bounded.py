"""Values within a number of bytes: a policy says which of them go."""

from collections.abc import Iterator
from typing import Generic, NamedTuple, TypeVar

from cache.eviction.policy import K, Policy

V = TypeVar("V")


class Slot(NamedTuple, Generic[V]):
    """A value that is held."""

    value: V
    size: int
    """In bytes."""
    until_ms: int
    """When it expires."""


class Bounded(Generic[K, V]):
    """Keys with values; makes room when asked, and never by itself."""

    def __init__(self, policy: Policy[K]) -> None:
        self._policy = policy
        self._slots: dict[K, Slot[V]] = {}
        self.held_bytes = 0
        self.look = self._slots.get
        """Return the slot of a key without counting a use, or None."""
        self.touch = policy.touch
        """Count a use of a key that is held."""

    def put(
        self, key: K, value: V, size: int, until_ms: int, room_bytes: int
    ) -> list[tuple[K, Slot[V]]] | None:
        """Hold a value, in place of an older one of its key, so that all together have at most `room_bytes`.

        Return what had to go for it; of a key that is held already, that may be the new value. None when the value
        alone is larger, and then nothing is changed but that the older value of the key is gone.
        """
        if size > room_bytes:
            self.remove(key)
            return None
        held = self._slots.get(key)
        gone: list[tuple[K, Slot[V]]] = []
        if held is None:
            # Room first: a policy that looks at what came last must not choose the newcomer.
            self._shrink(room_bytes - size, gone)
            self._policy.add(key, size, until_ms)
        else:
            self.held_bytes -= held.size
            self._policy.replace(key, size, until_ms)
        self._slots[key] = Slot(value, size, until_ms)
        self.held_bytes += size
        self._shrink(room_bytes, gone)
        return gone

    def remove(self, key: K) -> Slot[V] | None:
        """Let go of a key and return what it had."""
        slot = self._slots.pop(key, None)
        if slot is not None:
            self.held_bytes -= slot.size
            self._policy.remove(key)
        return slot

    def _shrink(self, room_bytes: int, gone: list[tuple[K, Slot[V]]]) -> None:
        """Let the policy's choices go until what is held fits."""
        while self.held_bytes > room_bytes:
            victim = self._policy.evict()
            slot = self._slots.pop(victim)
            self.held_bytes -= slot.size
            gone.append((victim, slot))

    def __len__(self) -> int:
        return len(self._slots)

    def __iter__(self) -> Iterator[K]:
        return iter(self._slots)

    def __contains__(self, key: object) -> bool:
        return key in self._slots
