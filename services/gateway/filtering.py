"""Which tasks a TaskFilter means."""

from forebay.tasks.v1 import task_service_pb2
from scheduler.ports.records import Record
from services.gateway import convert


class Filter:
    """A TaskFilter, ready to be asked of many records. States are asked first: they cost nothing to read."""

    def __init__(self, wanted: task_service_pb2.TaskFilter) -> None:
        # UNSPECIFIED means any state, and NORMAL for a priority.
        self._states = frozenset() if 0 in wanted.states else frozenset(map(int, wanted.states))
        self._priorities = frozenset(int(priority) or 3 for priority in wanted.priorities)
        self._model = wanted.model
        self._pool = wanted.pool
        self._labels = dict(wanted.labels)
        self._reads_spec = bool(self._priorities or self._model or self._pool or self._labels)

    def matches(self, record: Record) -> bool:
        """Whether a record is meant."""
        if self._states and record.state not in self._states:
            return False
        if not self._reads_spec:
            return True
        spec = convert.spec_of(record)
        return (
            (not self._model or spec.model == self._model)
            and (not self._pool or spec.pool == self._pool)
            and (not self._priorities or spec.priority in self._priorities)
            and all(spec.labels.get(key) == value for key, value in self._labels.items())
        )
