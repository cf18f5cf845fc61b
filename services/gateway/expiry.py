"""What is said of a task whose deadline passed: in which state it was, from its history."""

from functools import lru_cache
from typing import Final

from google.rpc import status_pb2

from scheduler.errors import DeadlinePassed
from scheduler.ports.records import Record
from scheduler.states import TaskState
from services.status import to_status

_WHILE: Final = "WHILE_"
_TOO_LATE: Final = "CANNOT_FINISH"
"""Reason of a task that was not started because it could not have ended in time."""
_STATES: Final = frozenset(state.name for state in TaskState if not state.terminal)


def expired_status(record: Record) -> status_pb2.Status:
    """Return the error of an EXPIRED task whose record has none of its own. The answer is shared: copy it."""
    last = record.history[-1] if record.history else None
    reason = last.reason if last and last.state is TaskState.EXPIRED else ""
    state = reason.removeprefix(_WHILE)
    if state not in _STATES:
        # Nothing but a lease makes a task EXPIRED without saying where it was.
        state = TaskState.QUEUED.name
    return _status(state, record.attempt, reason == _TOO_LATE)


@lru_cache(maxsize=512)
def _status(state: str, attempt: int, too_late: bool) -> status_pb2.Status:
    if too_late:
        after = f" after attempt {attempt}" if attempt else ""
        return to_status(DeadlinePassed(f"its turn came{after}, too late to end before its deadline"))
    where = f"while it was {state}"
    if attempt:
        where += f" in attempt {attempt}" if state == TaskState.RUNNING.name else f" after attempt {attempt}"
    return to_status(DeadlinePassed(f"the deadline passed {where}"))
