"""The states of a task, the moves between them, and the levels of a queue.

Values equal those of `forebay.tasks.v1.TaskState` and `Priority`; a test holds them together, so that
an adapter converts by number. `TABLE` is the whole life of a task; docs/task_lifecycle.md shows it, and a test holds
the two together.
"""

from enum import IntEnum, StrEnum
from typing import Final, NamedTuple


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

    # Enum's own hashes the name, in Python: that takes longer than what is looked up by it.
    __hash__ = int.__hash__

    @property
    def label(self) -> str:
        """The level's name in topics, metrics and tables: lower case."""
        return self.name.lower()


class Event(StrEnum):
    """What can happen to a task."""

    DUE = "due"
    UNBLOCK = "unblock"
    POSTPONE = "postpone"
    UPDATE = "update"
    UNSHELVE = "unshelve"
    PROMOTE = "promote"
    LEASE = "lease"
    SUCCEED = "succeed"
    FAIL = "fail"
    RETRY = "retry"
    CANCEL = "cancel"
    EXPIRE = "expire"
    PARENT_FAILED = "parent_failed"
    LEASE_EXPIRED = "lease_expired"
    RUNNER_DIED = "runner_died"
    ATTEMPTS_EXHAUSTED = "attempts_exhausted"
    RETURN = "return"


class Move(NamedTuple):
    """One row of the table: what an event does to a task in a state."""

    before: TaskState
    event: Event
    after: TaskState
    written_by: str
    effect: str
    """What else the same atomic step does, in a clause."""


TERMINAL: Final = frozenset(state for state in TaskState if state.terminal)

WAITING: Final = frozenset({TaskState.SCHEDULED, TaskState.BLOCKED, TaskState.RETRYING})
"""States in which a task is on no lane: a timer or a parent brings it back."""

_S = TaskState
_E = Event
_ENDS = "its children are dealt with and the journal of endings gets it"

TABLE: Final[tuple[Move, ...]] = (
    Move(_S.SCHEDULED, _E.DUE, _S.QUEUED, "sweeper", "publication + 1, put on the log"),
    Move(_S.SCHEDULED, _E.UPDATE, _S.SCHEDULED, "gateway", "envelope, level, deadline or timer changed"),
    Move(_S.SCHEDULED, _E.CANCEL, _S.CANCELLED, "gateway", f"timer removed; {_ENDS}"),
    Move(_S.SCHEDULED, _E.EXPIRE, _S.EXPIRED, "sweeper", f"timer removed; {_ENDS}"),
    Move(
        _S.BLOCKED,
        _E.UNBLOCK,
        _S.QUEUED,
        "scheduler",
        "the last parent ended: publication + 1, put on the log",
    ),
    Move(
        _S.BLOCKED, _E.POSTPONE, _S.SCHEDULED, "scheduler", "the last parent ended before the task's own time"
    ),
    Move(_S.BLOCKED, _E.PARENT_FAILED, _S.FAILED, "scheduler", f"reason PARENT_FAILED; {_ENDS}"),
    Move(_S.BLOCKED, _E.FAIL, _S.FAILED, "scheduler", f"reason PARENT_OUTPUT_UNUSABLE; {_ENDS}"),
    Move(_S.BLOCKED, _E.UPDATE, _S.BLOCKED, "gateway", "envelope, level, deadline or earliest start changed"),
    Move(
        _S.BLOCKED,
        _E.CANCEL,
        _S.CANCELLED,
        "gateway, scheduler",
        f"also when its parent was cancelled; {_ENDS}",
    ),
    Move(_S.BLOCKED, _E.EXPIRE, _S.EXPIRED, "sweeper", _ENDS),
    Move(_S.QUEUED, _E.LEASE, _S.RUNNING, "scheduler", "attempt + 1; the lease stands for `lease_ms`"),
    Move(
        _S.QUEUED,
        _E.UPDATE,
        _S.QUEUED,
        "gateway",
        "publication + 1, put on the lane of its level; the old message is stale",
    ),
    Move(
        _S.QUEUED,
        _E.POSTPONE,
        _S.SCHEDULED,
        "gateway",
        "an update to a later start; the old message is stale",
    ),
    Move(_S.QUEUED, _E.UNSHELVE, _S.QUEUED, "scheduler", "publication + 1, put on the log again"),
    Move(
        _S.QUEUED,
        _E.PROMOTE,
        _S.QUEUED,
        "scheduler",
        "reason PROMOTED: publication + 1, put on the express lane of its level; it keeps its place in line",
    ),
    Move(
        _S.QUEUED,
        _E.CANCEL,
        _S.CANCELLED,
        "gateway",
        f"its message is dropped when a scheduler meets it; {_ENDS}",
    ),
    Move(
        _S.QUEUED,
        _E.EXPIRE,
        _S.EXPIRED,
        "scheduler, sweeper",
        f"met by the lease script or the sweeper; {_ENDS}",
    ),
    Move(
        _S.QUEUED,
        _E.SUCCEED,
        _S.SUCCEEDED,
        "scheduler",
        f"reason CACHED: its answer is known, nothing is executed for it; {_ENDS}",
    ),
    Move(
        _S.QUEUED,
        _E.FAIL,
        _S.FAILED,
        "scheduler",
        f"its answer is known to be an error of its input, or is not cached and nothing else is wanted; {_ENDS}",
    ),
    Move(_S.RUNNING, _E.SUCCEED, _S.SUCCEEDED, "runner", f"result and end of the output stream; {_ENDS}"),
    Move(_S.RUNNING, _E.FAIL, _S.FAILED, "runner", f"an error that no further attempt can mend; {_ENDS}"),
    Move(_S.RUNNING, _E.RETRY, _S.RETRYING, "runner", "error kept; a timer for the backoff"),
    Move(
        _S.RUNNING,
        _E.ATTEMPTS_EXHAUSTED,
        _S.FAILED,
        "runner, agent, sweeper",
        f"entered in the dead letters; {_ENDS}",
    ),
    Move(
        _S.RUNNING,
        _E.CANCEL,
        _S.CANCELLED,
        "gateway",
        f"the runner is told, whatever it still writes is refused; {_ENDS}",
    ),
    Move(
        _S.RUNNING,
        _E.EXPIRE,
        _S.EXPIRED,
        "runner, sweeper",
        f"the runner is told, whatever it still writes is refused; {_ENDS}",
    ),
    Move(_S.RUNNING, _E.LEASE_EXPIRED, _S.QUEUED, "sweeper", "publication + 1, put on the log again"),
    Move(
        _S.RUNNING,
        _E.RUNNER_DIED,
        _S.QUEUED,
        "agent",
        "publication + 1, put on the log by the sweeper; suspects go into isolation",
    ),
    Move(
        _S.RUNNING,
        _E.RETURN,
        _S.QUEUED,
        "scheduler, agent",
        "publication + 1, put on the log; the attempt is not charged",
    ),
    Move(_S.RETRYING, _E.DUE, _S.QUEUED, "sweeper", "publication + 1, put on the log"),
    Move(_S.RETRYING, _E.UPDATE, _S.RETRYING, "gateway", "envelope, level or deadline changed"),
    Move(_S.RETRYING, _E.POSTPONE, _S.SCHEDULED, "gateway", "an update to a later start"),
    Move(_S.RETRYING, _E.CANCEL, _S.CANCELLED, "gateway", f"timer removed; {_ENDS}"),
    Move(_S.RETRYING, _E.EXPIRE, _S.EXPIRED, "sweeper", f"timer removed; {_ENDS}"),
)
"""Every move that exists. An event without a row for a state leaves the task as it is."""

MOVES: Final[dict[tuple[TaskState, Event], TaskState]] = {
    (move.before, move.event): move.after for move in TABLE
}
"""The table, to look up."""

BIRTHS: Final = frozenset({TaskState.QUEUED, TaskState.SCHEDULED, TaskState.BLOCKED})
"""States in which a task can begin, to go on from there. One whose answer is known when it is accepted begins and ends
as SUCCEEDED."""
