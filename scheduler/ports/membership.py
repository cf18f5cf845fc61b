"""Who is there: processes announce themselves with an expiry, and one of several may hold a duty."""

from collections.abc import Sequence
from typing import Final, Protocol

SCHEDULER_ROLE: Final = "scheduler"
"""Card: the host:port that runners dial."""
QUEUES_ROLE: Final = "queues"
"""Card: a serialised `ListQueuesResponse`, a scheduler's own view."""
VIEW_ROLE: Final = "view"
"""Card: a serialised `forebay.dispatch.v1.SchedulerView`, what a scheduler knows of the fleet."""
METRICS_ROLE: Final = "metrics"
"""Card: the host:port of the Prometheus page of a process that has no other card for it."""
RUNNER_ROLE: Final = "runner"
"""Card: a serialised `forebay.runner.v1.WatchStatusResponse`."""
REPOSITORY_ROLE: Final = "repository"
"""Card: a serialised `forebay.models.v1.RepositoryView`, the models that an agent has."""


class Membership(Protocol):
    """A directory that forgets. Every method raises RecordsUnavailable when the store does not answer in time."""

    async def announce(self, role: str, member: str, card: bytes, ttl_ms: int) -> None:
        """Show a card (opaque here) under a role for that long; repeat it to stay."""
        ...

    async def withdraw(self, role: str, member: str) -> None:
        """Take the card away at once. Idempotent."""
        ...

    async def members(self, role: str) -> Sequence[tuple[str, bytes]]:
        """Return (member, card) of those present, sorted by member."""
        ...

    async def hold(self, duty: str, member: str, ttl_ms: int) -> bool:
        """Take or keep a duty for that long; False while another member holds it. Not a lock: work done under
        a duty must be harmless when two do it for a moment.
        """
        ...
