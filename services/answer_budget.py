"""How many bytes of known answers each tenant's tasks may be ended with.

What runners bring is bounded by what runners can do. A task that ends with a known answer costs a record with a copy of
it and nothing else, and the record store evicts nothing: without a bound, one tenant fills it within seconds, with
requests of a few bytes. So gateways and schedulers each spend a part of so many bytes a second. Who has none left
waits; nothing is refused, and nothing is computed again for it.
"""

from collections.abc import Callable
from typing import Final

from scheduler.admission.bucket import Buckets, TokenBucket

_MIB: Final = 1 << 20
BYTES_PER_S: Final = 16 * _MIB
"""Bytes a second of one tenant."""
BYTES_AT_ONCE: Final = 64 * _MIB
"""What it may spend at once, after a pause."""


class AnswerBudget:
    """The budget of one process. Bounded by the tenants that it remembers (see `Buckets`)."""

    def __init__(
        self,
        monotonic: Callable[[], float],
        per_s: float = BYTES_PER_S,
        at_once: float = BYTES_AT_ONCE,
    ) -> None:
        """`monotonic` tells seconds of a clock that never goes back; `per_s` and `at_once` are bytes of each tenant."""
        self._monotonic = monotonic
        self._per_s = per_s
        self._at_once = at_once
        self._buckets = Buckets()

    def spend(self, tenant: str, size: int) -> bool:
        """Spend bytes, and return whether the tenant had any left. The last ones may be spent by more than there are,
        so that an answer of any size comes through: what is spent too much is waited for afterwards.
        """
        bucket = self._filled(tenant)
        if bucket.tokens <= 0:
            return False
        bucket.give_back(-size)
        return True

    def give_back(self, tenant: str, size: int) -> None:
        """Return bytes that came to nothing."""
        self._filled(tenant).give_back(size)

    def has_some(self, tenant: str) -> bool:
        """Whether a tenant has any left."""
        return self._filled(tenant).tokens > 0

    def _filled(self, tenant: str) -> TokenBucket:
        now_s = self._monotonic()
        bucket = self._buckets.bucket(tenant, self._at_once, now_s)
        bucket.fill(self._per_s, self._at_once, now_s)
        return bucket
