"""One watch: whom it concerns, and the newest update of each task that it has not sent yet.

A watcher keeps at most one update for each task, and few bytes of results: what does not fit is remembered by id only
and read again when there is room. So a client that does not read costs a bounded amount of memory.
"""

import asyncio
from collections.abc import Collection, Mapping
from typing import Final

from forebay.tasks.v1 import task_pb2
from scheduler.errors import ForebayError, Overloaded, TaskNotFound
from scheduler.ports.records import Record
from scheduler.states import TaskState

MAX_BYTES: Final = 4 * 1024 * 1024
MAX_TASKS: Final = 20_000
_TASK_BYTES: Final = 300
_BATCH_TASKS: Final = 512
_BATCH_BYTES: Final = 1024 * 1024
_REREAD: Final = 64

_PROGRESS: Final = {
    state: place
    for place, state in enumerate(
        (TaskState.BLOCKED, TaskState.QUEUED, TaskState.RUNNING, TaskState.RETRYING, TaskState.SCHEDULED)
    )
}
"""Which of two states is the newer one while publication and attempt stay the same."""

Rank = tuple[int, int, int]


def rank_of(record: Record) -> Rank:
    """Return what grows with each change of a task's state."""
    progress = _PROGRESS.get(record.state, int(record.state))
    return record.publication, record.attempt, progress


class Watcher:
    """A watch of named tasks, or, when `ids` is None, of all that carry the labels. Filled by the event hub."""

    def __init__(
        self, tenant: str, *, ids: Collection[str] | None, labels: Mapping[str, str], include_result: bool
    ) -> None:
        self.tenant: Final = tenant
        self.ids: Final = None if ids is None else tuple(dict.fromkeys(ids))
        self.labels: Final = dict(labels)
        self.include_result: Final = include_result
        self.changed: Final = asyncio.Event()
        """Set when `take` has something to give, or the watch is over."""
        self._open = set(self.ids or ())
        self._sent: dict[str, Rank] = {}
        self._waiting: dict[str, tuple[task_pb2.Task, int]] = {}
        self._bytes = 0
        self._reread: dict[str, None] = {}
        self._failure: ForebayError | None = None

    def offer(self, record: Record, update: task_pb2.Task) -> None:
        """Take the newest state of a task. The caller made sure that it is of the watcher's tenant and labels."""
        task_id = record.id
        if self.ids is not None:
            rank = rank_of(record)
            if self._sent.get(task_id, (-1, -1, -1)) >= rank:
                return
            self._sent[task_id] = rank
        size = _TASK_BYTES + (len(record.result) if self.include_result else 0)
        known = self._waiting.pop(task_id, None)
        if known is not None:
            self._bytes -= known[1]
        if self._waiting and self._bytes + size > MAX_BYTES:
            self._sent.pop(task_id, None)
            self._reread[task_id] = None
        else:
            self._reread.pop(task_id, None)
            self._waiting[task_id] = (update, size)
            self._bytes += size
        if len(self._waiting) + len(self._reread) > MAX_TASKS:
            self.fail(Overloaded("this watch does not read its updates", 1.0))
        self.changed.set()

    def missing(self, task_id: str) -> None:
        """Learn that there is no such task for this watcher."""
        if self.ids is not None:
            self.fail(TaskNotFound(task_id))

    def fail(self, failure: ForebayError) -> None:
        """End the watch with an error, in place of what it still had to send."""
        self._failure = self._failure or failure
        self._waiting.clear()
        self._reread.clear()
        self.changed.set()

    def take(self) -> list[task_pb2.Task]:
        """Return a batch of updates, oldest first, that may be empty. Raises the failure that ended the watch."""
        if self._failure is not None:
            raise self._failure
        batch: list[task_pb2.Task] = []
        size = 0
        while self._waiting and len(batch) < _BATCH_TASKS and size < _BATCH_BYTES:
            task_id = next(iter(self._waiting))
            update, weight = self._waiting.pop(task_id)
            size += weight
            batch.append(update)
            if update.state >= task_pb2.TASK_STATE_SUCCEEDED:
                self._open.discard(task_id)
        self._bytes -= size
        if not self._waiting and not self._reread:
            self.changed.clear()
        return batch

    def to_reread(self) -> list[str]:
        """Return tasks that must be read again, once everything else has been taken."""
        if self._waiting or not self._reread:
            return []
        wanted = list(self._reread)[:_REREAD]
        for task_id in wanted:
            del self._reread[task_id]
        if not self._reread:
            self.changed.clear()
        return wanted

    @property
    def finished(self) -> bool:
        """Whether every named task was seen to end. Never for a watch that names none."""
        return self.ids is not None and not self._open

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether labels are among those that the watch asks for."""
        return all(labels.get(key) == value for key, value in self.labels.items())
