"""The ids of tasks that have ended, as numbers: a million of them take about 110 MB."""

from collections.abc import Iterable
from typing import Final

from scheduler.ids import is_task_id
from scheduler.states import TERMINAL, TaskState

_DIGITS: Final = str.maketrans("0123456789abcdefghjkmnpqrstvwxyz", "0123456789abcdefghijklmnopqrstuv")
"""From the digits of ids to those that `int` takes for base 32."""
_RANDOM_BITS: Final = 130


def compact(task_id: str) -> int:
    """Return an id, one that `is_task_id` accepts, as a number; different ids give different numbers."""
    return int(task_id[:2]) << _RANDOM_BITS | int(task_id[3:].translate(_DIGITS), 32)


class Finished:
    """Which tasks have ended, and how."""

    def __init__(self) -> None:
        """Nothing has ended."""
        self._by_state: dict[TaskState, set[int]] = {state: set() for state in sorted(TERMINAL)}

    def __len__(self) -> int:
        """Count them."""
        return sum(map(len, self._by_state.values()))

    def add(self, state: TaskState, ids: Iterable[str]) -> None:
        """Note that these reached a terminal state. What is no id is left out."""
        self._by_state[state].update(compact(task_id) for task_id in ids if is_task_id(task_id))

    def state_of(self, task_id: str) -> TaskState | None:
        """Return how a task ended; None when nothing is known of its end."""
        number = compact(task_id)
        return next((state for state, ids in self._by_state.items() if number in ids), None)
