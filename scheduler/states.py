"""The states of a task, the moves between them, and the levels of a queue.

Values equal those of `forebay.tasks.v1.TaskState` and `Priority`; a test holds them together, so that
an adapter converts by number. docs/task_lifecycle.md tells the same story with words.
"""

from enum import IntEnum, StrEnum
from typing import Final


class TaskState(IntEnum):
    """Where a task is in its life."""

    SCHEDULED = 1
    BLOCKED = 2
    QUEUED = 3
    RUNNING = 4
    RETRYING = 5
    SUCCEEDED = 6
    FAILED = 7
    CANCELLED = 8
    EXPIRED = 9

    @property
    def terminal(self) -> bool:
        """Whether nothing can follow."""
        return self >= TaskState.SUCCEEDED


class Level(IntEnum):
    """How urgent a task is: lower numbers start first."""

    CRITICAL = 1
    HIGH = 2
    NORMAL = 3
    LOW = 4

    @property
    def label(self) -> str:
        """The level's name in topics, metrics and tables: lower case."""
        return self.name.lower()


class Event(StrEnum):
    """What can happen to a task."""

    LEASE = "lease"
    SUCCEED = "succeed"
    FAIL = "fail"
    CANCEL = "cancel"
    EXPIRE = "expire"
    LEASE_EXPIRED = "lease_expired"
    ATTEMPTS_EXHAUSTED = "attempts_exhausted"
    RETURN = "return"


TERMINAL: Final = frozenset(state for state in TaskState if state.terminal)

MOVES: Final[dict[tuple[TaskState, Event], TaskState]] = {
    (TaskState.QUEUED, Event.LEASE): TaskState.RUNNING,
    (TaskState.QUEUED, Event.CANCEL): TaskState.CANCELLED,
    (TaskState.QUEUED, Event.EXPIRE): TaskState.EXPIRED,
    (TaskState.RUNNING, Event.SUCCEED): TaskState.SUCCEEDED,
    (TaskState.RUNNING, Event.FAIL): TaskState.FAILED,
    (TaskState.RUNNING, Event.CANCEL): TaskState.CANCELLED,
    (TaskState.RUNNING, Event.EXPIRE): TaskState.EXPIRED,
    (TaskState.RUNNING, Event.LEASE_EXPIRED): TaskState.QUEUED,
    (TaskState.RUNNING, Event.ATTEMPTS_EXHAUSTED): TaskState.FAILED,
    (TaskState.RUNNING, Event.RETURN): TaskState.QUEUED,
}
"""Every move that exists. An event that is not listed for a state leaves the task as it is."""
