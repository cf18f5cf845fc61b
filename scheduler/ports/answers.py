"""Tasks that end without having run, because their answer is known: from the result cache, or from another task that
asked the same. And what a run came to, for those who keep it. Guarantees as in ports/records.py.
"""

from collections.abc import Sequence
from enum import IntEnum
from typing import Final, NamedTuple, Protocol

from scheduler.ports.records import Hold
from scheduler.states import TaskState

CACHED: Final = "CACHED"
"""The reason of the step that ends a task for which nothing was executed."""


class Answer(NamedTuple):
    """How tasks end that ask the same."""

    state: TaskState
    """SUCCEEDED or FAILED."""
    body: bytes
    """SUCCEEDED: serialised `forebay.tasks.v1.Result`; FAILED: serialised `google.rpc.Status`. Opaque here."""
    reason: str
    """UPPER_SNAKE word for the history."""
    outputs: tuple[bytes, ...] = ()
    """What the task's stream gets, each a serialised `StreamOutputResponse` without its sequence, the last one with the
    terminal state; empty when it has none. Opaque here."""
    void: bytes = b""
    """Goes before the outputs where an earlier attempt has written some, which it says are void."""


class Answered(NamedTuple):
    """A QUEUED task that shall end."""

    id: str
    publication: int
    """The number of its message."""
    answer: Answer
    """One object for all that end the same way: it is sent once."""


class Closed(IntEnum):
    """What became of an Answered."""

    ENDED = 1
    STALE = 2
    """Terminal, missing, waiting, or queued under another publication: the message is worth nothing any more."""
    HELD = 3
    """RUNNING under a lease that stands: keep the message until that attempt ends."""
    EXPIRED = 4
    """Its deadline has passed: it has no answer, and its message is worth nothing any more."""


class RunOutcome(NamedTuple):
    """What an attempt came to, as far as it is the last one."""

    state: TaskState
    """SUCCEEDED or FAILED; QUEUED for anything else: there is nothing that others could be given."""
    body: bytes = b""
    """As in `Answer`; empty for a result that is larger than was asked for."""
    outputs: tuple[bytes, ...] = ()
    """The task's stream; empty when it has none, or more than was asked for."""


class AnswerStore(Protocol):
    """Used by the scheduler."""

    async def answer(self, answered: Sequence[Answered]) -> list[Closed]:
        """End QUEUED tasks; as when a runner ends them, but without an attempt: those whose deadline has passed are
        EXPIRED, as when they are leased. Repeating it is harmless: what ended is
        STALE then.
        """
        ...

    async def outcomes(self, holds: Sequence[Hold], largest: int) -> list[RunOutcome | None]:
        """Read what attempts came to. Of each at most `largest` bytes of result and of stream are read; None for those
        that were not looked at because the call has read enough, which are never the first.
        """
        ...
