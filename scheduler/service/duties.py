"""Who sweeps which partitions: schedulers share them in groups, each group a membership duty that runs out by itself.

What is done under a duty is idempotent, so two holders for a moment do no harm.
"""

from scheduler.ids import PARTITIONS
from scheduler.ports.clock import Clock
from scheduler.ports.membership import Membership

GROUPS = 4
MARGIN_MS = 200
"""A duty stands for two sweeps and this: after it and one sweep, a dead scheduler's successor is at work."""


class Duties:
    """The groups that this scheduler holds. A duty is renewed only when it would not last beyond the next sweep."""

    def __init__(self, member: str, membership: Membership, clock: Clock, *, interval_s: float) -> None:
        self._member = member
        self._membership = membership
        self._clock = clock
        self._interval_s = interval_s
        self._ttl_ms = int(interval_s * 2000) + MARGIN_MS
        self._until_s: dict[int, float] = {}
        self.partitions: list[int] = []
        """Partitions of the groups that it held when it looked last."""

    async def keep(self) -> list[int]:
        """Renew what is held and take what is free; returns the partitions. Raises RecordsUnavailable."""
        asked_s = self._clock.monotonic()
        wanted = [
            group
            for group in range(GROUPS)
            if self._until_s.get(group, 0.0) < asked_s + self._interval_s + MARGIN_MS / 2000
        ]
        if wanted:
            for group in wanted:
                held = await self._membership.hold(f"sweep-{group}", self._member, self._ttl_ms)
                # Counted from before the call: it ends here no later than at the store.
                self._until_s[group] = asked_s + self._ttl_ms / 1000 if held else 0.0
            self.partitions = [
                partition
                for partition in range(PARTITIONS)
                if self._until_s.get(partition % GROUPS, 0.0) > asked_s
            ]
        return self.partitions
