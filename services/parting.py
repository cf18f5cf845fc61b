"""What the end of a parent means for a task that depends on it, as a step for the record store. For whoever learns of
the end: the gateway when it links, the scheduler afterwards, recovery when it reads the journal.
"""

from scheduler.errors import ParentFailed, TaskCancelled, TaskFailure
from scheduler.policies.parents import OnParentFailure, verdict
from scheduler.ports.follow_ups import ChildVerdict, Release
from scheduler.states import TaskState
from services.status import to_status

PARENT_CANCELLED = "PARENT_CANCELLED"
"""Reason in the history of a task that ends because its parent was cancelled."""


def release_of(
    child: str, parent: str, state: TaskState | None, choice: OnParentFailure, *, takes_outputs: bool
) -> Release:
    """Return the release of a child one of whose parents has ended.

    `state` is None for a parent that is not there (any more): nobody can say that it succeeded.
    """
    ended = TaskState.FAILED if state is None else state
    fate = verdict(choice, ended)
    if fate is ChildVerdict.RUN:
        return Release(child, parent, fate, hold=takes_outputs)
    how = "is not there (any more)" if state is None else f"ended as {state.name}"
    sentence = f"task {parent}, which this one depends on, {how}"
    failure: TaskFailure = ParentFailed(sentence) if fate is ChildVerdict.FAIL else TaskCancelled(sentence)
    reason = PARENT_CANCELLED if ended is TaskState.CANCELLED else ParentFailed.reason
    return Release(child, parent, fate, to_status(failure).SerializeToString(), reason)
