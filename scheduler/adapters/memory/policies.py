"""The policy that stands, in memory."""

from scheduler.ports.clock import Clock
from scheduler.ports.policies import StoredPolicy


class MemoryPolicies:
    """PolicyStore in memory."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._stored = StoredPolicy(0, b"", 0)

    async def policy(self) -> StoredPolicy:
        """Return the policy that stands; see PolicyStore."""
        return self._stored

    async def replace(self, body: bytes, version: int) -> StoredPolicy | None:
        """Store a policy if this version stands; see PolicyStore."""
        if version != self._stored.version:
            return None
        self._stored = StoredPolicy(version + 1, body, self._clock.now_ms())
        return self._stored
