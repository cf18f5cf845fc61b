"""What the end of a parent means for a task that depends on it."""

from enum import IntEnum

from scheduler.ports.follow_ups import ChildVerdict
from scheduler.states import TaskState


class OnParentFailure(IntEnum):
    """A task's own choice. Values equal those of `forebay.tasks.v1.ParentFailurePolicy`."""

    FAIL = 1
    RUN = 2
    CANCEL = 3

    @classmethod
    def of(cls, number: int) -> "OnParentFailure":
        """Return the choice with this number. None, 0, means FAIL, and so does one that this version does not know."""
        return cls(number) if number in cls._value2member_map_ else cls.FAIL


def verdict(choice: OnParentFailure, parent: TaskState) -> ChildVerdict:
    """Return what becomes of a child whose parent reached this terminal state.

    A cancelled parent cancels its child even where the choice is FAIL: nothing went wrong, it is not wanted any more.
    """
    if parent is TaskState.SUCCEEDED or choice is OnParentFailure.RUN:
        return ChildVerdict.RUN
    if choice is OnParentFailure.CANCEL or parent is TaskState.CANCELLED:
        return ChildVerdict.CANCEL
    return ChildVerdict.FAIL
