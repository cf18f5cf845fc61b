"""Conditions on tasks, as they are on the wire."""

from collections.abc import Iterable, Mapping

from forebay.client import reading
from forebay.client.specs import priority_number
from forebay.client.tasks import Priority, TaskState
from forebay.tasks.v1.task_service_pb2 import TaskFilter


def task_filter(
    states: Iterable[TaskState | str],
    model: str,
    labels: Mapping[str, str] | None,
    priorities: Iterable[Priority | str],
    pool: str,
) -> TaskFilter:
    """Return a filter; what is empty matches all. Raises ValueError for states and priorities that are none."""
    return TaskFilter(
        states=[reading.STATE_NUMBERS[TaskState(state)] for state in states],
        model=model,
        labels=labels,
        priorities=[priority_number(priority) for priority in priorities],
        pool=pool,
    )
