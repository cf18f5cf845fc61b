"""What is held back, and where tasks rest that cannot start for a reason of their model or label.

A paused pool or level simply stays on its lanes. A task whose model or label is paused, or whose model nobody serves,
would stand in the way of others on its lane: it is shelved. Its record stays QUEUED, its message is acknowledged, and
when the shelf is opened it is published again. Guarantees as in ports/records.py.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from scheduler.ports.records import PublishTicket, Republication


class Pause(NamedTuple):
    """Holds back the start of tasks that meet every condition that is set."""

    pool: str = ""
    level: int = 0
    """Number of a Level; 0 for every level."""
    model: str = ""
    label_key: str = ""
    label_value: str = ""

    def holds(self, pool: str, level: int, model: str, labels: Mapping[str, str]) -> bool:
        """Whether a task is held back."""
        return (
            self.pool in ("", pool)
            and self.level in (0, level)
            and self.model in ("", model)
            and (not self.label_key or labels.get(self.label_key) == self.label_value)
        )


class StandingPause(NamedTuple):
    """A pause, with why and since when."""

    pause: Pause
    reason: str
    since_ms: int


class PauseStore(Protocol):
    """Used by the gateway to pause, and by schedulers to know."""

    async def pause(self, pause: Pause, reason: str) -> StandingPause:
        """Pause; returns the pause that stands now, the older one when it stood already."""
        ...

    async def resume(self, pause: Pause) -> StandingPause | None:
        """Take back exactly this pause; None when it does not stand."""
        ...

    async def pauses(self) -> list[StandingPause]:
        """Return all pauses, oldest first."""
        ...


class ShelfStore(Protocol):
    """Used by schedulers."""

    async def shelve(self, shelf: str, tasks: Sequence[tuple[str, int]]) -> list[bool]:
        """Put QUEUED tasks, named by id and the publication of their message, on a shelf. True when the message is
        not needed any more: the task is on the shelf, or the message was stale. False when it runs under a lease.
        """
        ...

    async def unshelve(self, shelf: str, limit: int) -> tuple[list[Republication], list[PublishTicket]]:
        """Take up to `limit` of the oldest tasks off a shelf: QUEUED under a new publication."""
        ...

    async def shelves(self) -> dict[str, int]:
        """Return the shelves that hold something, with how many."""
        ...
