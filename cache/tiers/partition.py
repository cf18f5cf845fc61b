"""A tenant's own part of a tier: every namespace has its quota, its own policy, and nothing of anybody else's.

An entry makes room only in its own namespace. When the whole tier is full, so that even all of the namespace's own
entries would not make enough, it is not taken: what others have stays, and so does what the namespace has.
"""

from collections.abc import Callable
from typing import Generic, TypeVar

from cache.eviction import Bounded, Policy, Slot
from cache.ports import Key, PartitionStats

V = TypeVar("V")


class Partitions(Generic[V]):
    """The partitions of one tier, and the values in them."""

    def __init__(
        self, capacity_bytes: int, namespace_bytes: int, new_policy: Callable[[], Policy[bytes]]
    ) -> None:
        self._capacity_bytes = capacity_bytes
        self._namespace_bytes = namespace_bytes
        self._new_policy = new_policy
        self._partitions: dict[bytes, Bounded[bytes, V]] = {}
        self._walked = b""
        self._to_walk: list[bytes] = []
        """Digests of that namespace."""
        self._to_visit: list[bytes] = []
        self.held_bytes = 0

    def use(self, key: Key, now_ms: int) -> V | None:
        """Return a value whose time is not over, and count the use."""
        partition = self._partitions.get(key[0])
        if partition is None:
            return None
        slot = partition.look(key[1])
        if slot is None or slot.until_ms <= now_ms:
            return None
        partition.touch(key[1])
        return slot.value

    def glance(self, key: Key, now_ms: int) -> V | None:
        """Return a value whose time is not over, and count no use."""
        slot = self.look(key)
        return slot.value if slot is not None and slot.until_ms > now_ms else None

    def look(self, key: Key) -> Slot[V] | None:
        """Return what is held of a key, whatever its time, and count no use."""
        partition = self._partitions.get(key[0])
        return partition.look(key[1]) if partition is not None else None

    def put(self, key: Key, value: V, size: int, until_ms: int) -> list[tuple[Key, Slot[V]]] | None:
        """Hold a value of `size` bytes and return what went for it, which may be itself where it replaced another;
        None when there is no room, and then an older value of the key is gone.
        """
        namespace, digest = key
        partition = self._partitions.get(namespace)
        if partition is None:
            partition = self._partitions[namespace] = Bounded(self._new_policy())
        before = partition.held_bytes
        room_bytes = min(self._namespace_bytes, self._capacity_bytes - (self.held_bytes - before))
        gone = partition.put(digest, value, size, until_ms, room_bytes)
        self._settle(namespace, partition, before)
        return None if gone is None else [(Key(namespace, victim), slot) for victim, slot in gone]

    def remove(self, key: Key) -> Slot[V] | None:
        """Let go of a key and return what it had."""
        partition = self._partitions.get(key[0])
        if partition is None:
            return None
        before = partition.held_bytes
        slot = partition.remove(key[1])
        self._settle(key[0], partition, before)
        return slot

    def walk(self, budget: int) -> list[tuple[Key, Slot[V]]]:
        """Return up to `budget` keys and what they have, going on where the last walk stopped, and at most each once.
        Keys that came meanwhile are met in the next round.
        """
        found: list[tuple[Key, Slot[V]]] = []
        begun = False
        while len(found) < budget:
            if self._to_walk:
                key = Key(self._walked, self._to_walk.pop())
                slot = self.look(key)
                if slot is not None:
                    found.append((key, slot))
            elif self._to_visit:
                self._walked = self._to_visit.pop()
                # A plain copy: of a million keys anything more would keep everybody waiting.
                self._to_walk = list(self._partitions.get(self._walked, ()))
            elif begun:
                break
            else:
                begun = True
                self._to_visit = list(self._partitions)
        return found

    def clear(self) -> None:
        """Let go of everything."""
        self._partitions.clear()
        self._to_walk.clear()
        self._to_visit.clear()
        self.held_bytes = 0

    def by_namespace(self) -> dict[bytes, PartitionStats]:
        """Return what each namespace has."""
        return {
            namespace: PartitionStats(len(partition), partition.held_bytes)
            for namespace, partition in self._partitions.items()
        }

    def __len__(self) -> int:
        return sum(map(len, self._partitions.values()))

    def _settle(self, namespace: bytes, partition: Bounded[bytes, V], before: int) -> None:
        """Take a partition's change into the whole, and forget it when it is empty."""
        self.held_bytes += partition.held_bytes - before
        if not len(partition):
            del self._partitions[namespace]
