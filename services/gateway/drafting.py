"""From specs to what is recorded and sent: checks each task of a call and seals it. No I/O. Called by `submit.py`."""

import random
from collections.abc import Collection, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Final

from forebay.tasks.v1 import task_pb2
from observability import names, tracing
from scheduler.errors import FieldFault, ForebayError, InvalidInput
from scheduler.ids import PARTITIONS, new_ids, partition_for
from scheduler.lanes import Lane
from scheduler.ports.records import NewTask
from scheduler.states import Level
from services.gateway import convert
from services.gateway.fingerprint import Fingerprints
from services.gateway.validation import MAX_TASK_BYTES, invalid_spec, spec_faults

AUTOMATIC_KEY: Final = "auto-"
"""How idempotency keys begin that the client library makes."""


@dataclass(slots=True, eq=False)
class Batch:
    """The tasks of one call that go to the same queue."""

    pool: str
    level: Level
    span: tracing.Span
    """The producer span; it ends with the call."""
    frames: list[bytes] = field(default_factory=list)
    """One for each task that was created."""
    positions: list[int] = field(default_factory=list)
    """Where those tasks are in the call."""
    accepted: int = 0
    lane: Lane | None = None


@dataclass(slots=True, eq=False)
class Draft:
    """One call's tasks, ready for the record store."""

    tasks: list[NewTask]
    positions: list[int]
    """Where each task is in the call."""
    batches: list[Batch]
    """The batch of each task."""
    queues: Collection[Batch]
    """All batches."""
    refused: dict[int, ForebayError]
    """Why the others are not among them, by their place in the call."""


class Drafter:
    """Knows which tasks are acceptable and how they look in the record and on the log."""

    def __init__(
        self, pools: Collection[str], fingerprints: Fingerprints, max_task_bytes: int = MAX_TASK_BYTES
    ) -> None:
        self._pools: Final = frozenset(pools)
        self._fingerprints = fingerprints
        self._max_task_bytes = max_task_bytes

    def draft(self, tenant: str, specs: Sequence[task_pb2.TaskSpec], now_ms: int, spans: ExitStack) -> Draft:
        """Check and seal tasks; opens one producer span for each queue on the stack."""
        tasks: list[NewTask] = []
        positions: list[int] = []
        batches: list[Batch] = []
        queues: dict[tuple[str, Level], Batch] = {}
        refused: dict[int, ForebayError] = {}
        parent = tracing.current()
        # Tasks without a key are in no relation to others: one partition takes them all, in one step.
        ids = new_ids(random.randrange(PARTITIONS), len(specs), now_ms)
        for index, spec in enumerate(specs):
            faults = spec_faults(spec, self._pools)
            body = spec.SerializeToString()
            if faults or len(body) > self._max_task_bytes:
                refused[index] = invalid_spec(index, faults) if faults else self._too_large(index, len(body))
                continue
            pool = spec.pool or convert.DEFAULT_POOL
            level = convert.LEVELS[spec.priority]
            batch = queues.get((pool, level))
            if batch is None:
                batch = queues[pool, level] = _open(pool, level, parent, spans)
            key = spec.idempotency_key
            task_id = new_ids(_partition_of_key(tenant, key), 1, now_ms)[0] if key else ids[index]
            deadline_ms = convert.deadline_ms_of(spec)
            max_attempts = spec.retry.max_attempts or convert.DEFAULT_ATTEMPTS
            envelope = convert.seal(
                task_id,
                tenant,
                spec,
                body,
                pool=pool,
                level=level,
                create_time_ms=now_ms,
                deadline_ms=deadline_ms,
                max_attempts=max_attempts,
                traceparent=batch.span.traceparent,
            )
            fingerprint = self._fingerprints.of(tenant, spec) if key else ""
            tasks.append(
                NewTask(task_id, tenant, pool, level, envelope, max_attempts, deadline_ms, key, fingerprint)
            )
            positions.append(index)
            batches.append(batch)
        return Draft(tasks, positions, batches, queues.values(), refused)

    def _too_large(self, index: int, size: int) -> InvalidInput:
        limit = self._max_task_bytes
        return InvalidInput([FieldFault(f"tasks[{index}]", f"must be at most {limit} bytes long, is {size}")])


def _open(pool: str, level: Level, parent: str, spans: ExitStack) -> Batch:
    destination = f"tasks.{pool}.{level.label}"
    attributes: dict[str, tracing.Value] = {
        names.MESSAGING_SYSTEM: names.MESSAGING_SYSTEM_PULSAR,
        names.MESSAGING_OPERATION_NAME: names.OPERATION_SEND,
        names.MESSAGING_OPERATION_TYPE: names.OPERATION_SEND,
        names.MESSAGING_DESTINATION_NAME: destination,
        names.QUEUE_POOL: pool,
        names.QUEUE_LEVEL: level.label,
    }
    name = names.messaging_span(names.OPERATION_SEND, destination)
    span = tracing.span(name, kind=tracing.Kind.PRODUCER, parent=parent, attributes=attributes)
    return Batch(pool, level, spans.enter_context(span))


def _partition_of_key(tenant: str, key: str) -> int:
    """Return the partition of all tasks with a key. Keys that the client library made for one call share theirs, so
    that a call stays one script call: `auto-<call>/<number>`.
    """
    head, slash, _ = key.partition("/")
    return partition_for(tenant, head if slash and key.startswith(AUTOMATIC_KEY) else key)
