"""A call while this runner has it: from its arrival on a gateway's stream until it is answered or nobody waits."""

from dataclasses import dataclass

from inference.runner.direct.outbox import Outbox
from inference.runner.job import Job


@dataclass(slots=True, eq=False)
class HeldCall(Job):
    """One call. Its key holds no `#`, so that nobody takes it for the attempt of a task."""

    id: int
    """The gateway's number for it."""
    outbox: Outbox
    """Where its answers go."""
    size: int
    """Bytes of its input, about."""
