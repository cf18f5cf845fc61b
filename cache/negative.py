"""Short answers to questions whose input fails each time, so that asking them costs nothing behind the gateway.

From its second failure on such a question is remembered for a short while. The first is only noted by a doorkeeper:
inputs that are asked once, however many, never push out one that is asked again and again.

A model that does not exist needs none of this: which models exist is known in the gateway's memory.
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from cache.doorkeeper import Doorkeeper
from cache.ports import Key

TTL_MS: Final = 5_000
MOST: Final = 16_384
MOST_PER_NAMESPACE: Final = 1_024
MOST_DOORKEEPERS: Final = 256
"""Namespaces that have one, 41 kB each; of more, the one whose inputs failed least recently begins anew."""
MOST_STATUS_BYTES: Final = 2_048
"""A longer failure is not remembered."""


@dataclass(frozen=True, slots=True)
class _Failure:
    status: bytes
    until_ms: int


class NegativeAnswers:
    """Failures that would only come again, bounded in number for each namespace and in all.

    Only its own namespace's entries make room for an entry: those of others are neither pushed out nor felt.
    """

    def __init__(
        self, *, ttl_ms: int = TTL_MS, most: int = MOST, most_per_namespace: int = MOST_PER_NAMESPACE
    ) -> None:
        self._ttl_ms, self._most, self._most_per_namespace = ttl_ms, most, most_per_namespace
        self._failures: dict[bytes, OrderedDict[bytes, _Failure]] = {}
        """By namespace and digest, the oldest first: all live equally long, so that is also who ends first."""
        self._doorkeepers: OrderedDict[bytes, Doorkeeper] = OrderedDict()
        """By namespace, the one that was used last at the end."""
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def find(self, key: Key, now_ms: int) -> bytes | None:
        """Return the failure as it was noted, a serialised google.rpc.Status; None when the question may be asked."""
        failures = self._failures.get(key.namespace)
        failure = failures.get(key.digest) if failures else None
        return failure.status if failure is not None and failure.until_ms > now_ms else None

    def note(self, key: Key, status: bytes, now_ms: int) -> bool:
        """Take in that a question failed through a fault of its own; return whether it is answered from here now."""
        if len(status) > MOST_STATUS_BYTES:
            return False
        if not self._doorkeeper(key.namespace).note(key.digest):
            return False
        failures = self._failures.setdefault(key.namespace, OrderedDict())
        self._drop(failures, key.digest)
        self._expire(failures, now_ms)
        if self._count >= self._most:
            for others in list(self._failures.values()):
                self._expire(others, now_ms)
        while failures and (len(failures) >= self._most_per_namespace or self._count >= self._most):
            self._drop(failures, next(iter(failures)))
        taken = self._count < self._most
        if taken:
            failures[key.digest] = _Failure(status, now_ms + self._ttl_ms)
            self._count += 1
        self._tidy()
        return taken

    def forget(self, key: Key) -> None:
        """Let a question be asked again, such as when it was answered after all."""
        failures = self._failures.get(key.namespace)
        if failures is not None:
            self._drop(failures, key.digest)
            self._tidy()

    def _doorkeeper(self, namespace: bytes) -> Doorkeeper:
        doorkeeper = self._doorkeepers.get(namespace)
        if doorkeeper is None:
            doorkeeper = self._doorkeepers[namespace] = Doorkeeper(self._most)
            if len(self._doorkeepers) > MOST_DOORKEEPERS:
                self._doorkeepers.popitem(last=False)
        else:
            self._doorkeepers.move_to_end(namespace)
        return doorkeeper

    def _expire(self, failures: OrderedDict[bytes, _Failure], now_ms: int) -> None:
        while failures and next(iter(failures.values())).until_ms <= now_ms:
            self._drop(failures, next(iter(failures)))

    def _drop(self, failures: OrderedDict[bytes, _Failure], digest: bytes) -> None:
        if failures.pop(digest, None) is not None:
            self._count -= 1

    def _tidy(self) -> None:
        """Forget namespaces that have nothing."""
        if len(self._failures) > 2 * self._count:
            self._failures = {name: failures for name, failures in self._failures.items() if failures}
