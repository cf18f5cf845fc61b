"""What follows from an ending: the journal on the log, and the tasks that waited for it.

Work across partitions is never one step: the script that ends a task puts a follow-up into the task's own partition,
effects are applied to other partitions by idempotent steps, and the follow-up is removed after all of them. What a
death interrupts is done again. Guarantees as in ports/records.py.
"""

from collections.abc import Sequence
from enum import IntEnum
from typing import NamedTuple, Protocol

from scheduler.ports.records import PublishTicket, Republication
from scheduler.states import TaskState


class FollowUp(NamedTuple):
    """Tasks of one partition that ended in one step, and for which not everything is done."""

    partition: int
    member: str
    """Opaque; names it to the store."""
    endings: list[tuple[TaskState, list[str]]]
    """Terminal states, and the ids that reached them."""
    parents: list[str]
    """Those ids that other tasks depend on."""


class ChildVerdict(IntEnum):
    """What the end of a parent means for a child."""

    RUN = 1
    FAIL = 2
    CANCEL = 3


class Release(NamedTuple):
    """One parent of a BLOCKED task has ended."""

    child: str
    parent: str
    verdict: ChildVerdict
    error: bytes = b""
    """Serialised `google.rpc.Status` for FAIL and CANCEL; opaque here."""
    reason: str = ""
    """UPPER_SNAKE word for the history of FAIL and CANCEL."""
    hold: bool = False
    """With RUN: keep the task BLOCKED after its last parent, because outputs must be put into its input first."""
    envelope: bytes = b""
    """With RUN: the envelope that it shall have from now on; empty to keep the one it has."""
    replaces: str = ""
    """With an envelope: SHA-1 of the one that it was made of, in hexadecimal. When the task has another one by now,
    nothing is done and the answer is READY."""


class Released(IntEnum):
    """What became of a Release."""

    WAITING = 1
    """Other parents have not ended."""
    QUEUED = 2
    SCHEDULED = 3
    """Its own time has not come."""
    READY = 4
    """Held: every parent has ended; release it again without `hold`."""
    ENDED = 5
    """FAILED or CANCELLED by this call."""
    GONE = 6
    """It is not BLOCKED (any more)."""


class FollowUpStore(Protocol):
    """Used by the scheduler; `link` also by the gateway."""

    async def follow_ups(self, partitions: Sequence[int], limit: int) -> list[FollowUp]:
        """Return the oldest follow-ups, at most `limit` of each partition; they stay until they are done."""
        ...

    async def followed_up(self, done: Sequence[FollowUp]) -> None:
        """Forget follow-ups, and the lists of children of their parents. Idempotent."""
        ...

    async def children(self, parents: Sequence[str]) -> list[list[str]]:
        """Return the tasks that were linked with each of these."""
        ...

    async def link(self, pairs: Sequence[tuple[str, str]], tenant: str) -> list[TaskState | None]:
        """Make (parent, child) pairs known to the parents' partitions, and return each parent's state read in the
        same step, so that no end is missed; None when this tenant has no such task. A terminal parent keeps no list:
        the caller releases the child.
        """
        ...

    async def release(
        self, releases: Sequence[Release]
    ) -> tuple[list[Released], list[Republication], list[PublishTicket]]:
        """Strike parents off their children's lists, and let those whose last one it was begin, or end. Idempotent.
        Returns what became of each, and what must be published and marked; SCHEDULED ones have number 0. An envelope
        is taken over whatever the answer is, unless the child ended.
        """
        ...
