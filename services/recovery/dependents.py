"""Tasks that wait for others, kept in a temporary file until everything that they wait for is recorded.

A child that is linked with a parent before the parent's record is there would be taken for an orphan. So independent
tasks come first, then these, parents before children.
"""

import tempfile
from collections.abc import Iterator, Sequence
from graphlib import CycleError, TopologicalSorter
from typing import NamedTuple, Self

from scheduler.ports.records import NewTask
from services.recovery.planning import Plan


class _Kept(NamedTuple):
    """Where an envelope is in the file, and the rest of its plan."""

    offset: int
    size: int
    plan: Plan
    """With an empty envelope."""


class Dependents:
    """Plans of BLOCKED tasks. The envelopes are in a file that is gone when this is closed, or the process dies."""

    def __init__(self) -> None:
        """Make the file."""
        self._file = tempfile.TemporaryFile()  # closed by `__exit__`
        self._kept: dict[str, _Kept] = {}

    def __len__(self) -> int:
        """Count the tasks."""
        return len(self._kept)

    def __enter__(self) -> Self:
        """Use it in a block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Remove the file."""
        self._file.close()

    def add(self, plan: Plan) -> None:
        """Keep a plan."""
        task = plan.task
        offset = self._file.seek(0, 2)
        self._file.write(task.envelope)
        self._kept[task.id] = _Kept(
            offset, len(task.envelope), plan._replace(task=task._replace(envelope=b""))
        )

    def in_order(self, batch: int) -> Iterator[list[Plan]]:
        """Yield all plans in batches of at most `batch`; no task of a batch depends on another one of it.

        Tasks that depend on each other in a circle, which nobody can make, are left out.
        """
        graph = TopologicalSorter(
            {
                task_id: [parent for parent in kept.plan.task.parents if parent in self._kept]
                for task_id, kept in self._kept.items()
            }
        )
        try:
            graph.prepare()
        except CycleError:
            # What is not in the circle is still given out.
            pass
        while ready := graph.get_ready():
            for first in range(0, len(ready), batch):
                yield [self._whole(task_id) for task_id in ready[first : first + batch]]
            graph.done(*ready)

    def _whole(self, task_id: str) -> Plan:
        kept = self._kept[task_id]
        self._file.seek(kept.offset)
        return kept.plan._replace(task=kept.plan.task._replace(envelope=self._file.read(kept.size)))


def pairs_of(plans: Sequence[Plan]) -> dict[str, list[tuple[str, str]]]:
    """Return (parent, child) of plans whose parents decide later, by tenant."""
    pairs: dict[str, list[tuple[str, str]]] = {}
    for plan in plans:
        task: NewTask = plan.task
        if plan.release is None:
            pairs.setdefault(task.tenant, []).extend((parent, task.id) for parent in task.parents)
    return pairs
