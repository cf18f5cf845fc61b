"""Records to Task messages, and accepted specs to envelopes and bundles: all mapping between domain and Protobuf."""

from functools import lru_cache
from hashlib import sha256
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp

from forebay.tasks.v1 import envelope_pb2, task_pb2
from scheduler.errors import DeadlinePassed
from scheduler.ports.records import Admission, Record
from scheduler.states import Level, TaskState
from services.status import to_status

DEFAULT_POOL: Final = "default"
DEFAULT_ATTEMPTS: Final = 3
LEVELS: Final = (Level.NORMAL, *Level)
"""Level by the number of its Priority; UNSPECIFIED means NORMAL."""

_EXPIRED: Final = to_status(
    DeadlinePassed("the task was not started before its deadline")
).SerializeToString()


def seal(
    task_id: str,
    tenant: str,
    spec: task_pb2.TaskSpec,
    body: bytes,
    *,
    pool: str,
    level: int,
    create_time_ms: int,
    deadline_ms: int,
    max_attempts: int,
    traceparent: str,
) -> bytes:
    """Return the serialised Envelope of an accepted task; `body` is the serialised spec."""
    envelope = envelope_pb2.Envelope(
        id=task_id,
        tenant=tenant,
        spec=body,
        sha256=sha256(body).digest(),
        model=spec.model,
        priority=level,  # type: ignore[arg-type]  # levels have the numbers of priorities
        pool=pool,
        create_time_ms=create_time_ms,
        deadline_ms=deadline_ms,
        max_attempts=max_attempts,
        traceparent=traceparent,
    )
    return envelope.SerializeToString()


def deadline_ms_of(spec: task_pb2.TaskSpec) -> int:
    """Return a spec's deadline in milliseconds, rounded down; 0 for none."""
    if not spec.HasField("deadline"):
        return 0
    # A deadline in the first millisecond of 1970 must not become "none".
    return max(1, spec.deadline.seconds * 1000 + spec.deadline.nanos // 1_000_000)


def frame(envelope: bytes, publication: int) -> bytes:
    """Return a serialised Bundle of one publication.

    Bundles are put together by concatenation: Protobuf defines that serialised messages joined together parse as
    their merge, and repeated fields merge by appending
    (https://protobuf.dev/programming-guides/encoding/#last-one-wins). So a task is serialised once, for record and log.
    """
    head, tail = _frame(len(envelope), publication)
    return head + envelope + tail


@lru_cache(maxsize=4096)
def _frame(size: int, publication: int) -> tuple[bytes, bytes]:
    """Return what surrounds an envelope of that size: fields 1 and 2 of Publication inside field 1 of Bundle."""
    head = b"\x0a" + _varint(size)
    tail = b"\x10" + _varint(publication)
    return b"\x0a" + _varint(len(head) + size + len(tail)) + head, tail


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def fill_accepted(task: task_pb2.Task, admission: Admission, tenant: str) -> None:
    """Write what SubmitTasks answers of an accepted task."""
    task.id = admission.task_id
    task.state = admission.state  # type: ignore[assignment]  # states have the numbers of the contract's
    task.publication = admission.publication
    task.tenant = tenant
    _stamp(task.create_time, admission.create_time_ms)


def update_of(record: Record, *, include_result: bool) -> task_pb2.Task:
    """Return a task as WatchTasks sends it: without spec and history."""
    task = task_pb2.Task(
        id=record.id,
        tenant=record.tenant,
        state=record.state,  # type: ignore[arg-type]  # states have the numbers of the contract's
        attempt=record.attempt,
        publication=record.publication,
        runner=record.runner,
    )
    _stamp(task.create_time, record.create_time_ms)
    if record.queue_time_ms:
        _stamp(task.queue_time, record.queue_time_ms)
    if record.start_time_ms:
        _stamp(task.start_time, record.start_time_ms)
    if record.end_time_ms:
        _stamp(task.end_time, record.end_time_ms)
    if record.error:
        task.error.ParseFromString(record.error)
    elif record.state is TaskState.EXPIRED:
        task.error.ParseFromString(_EXPIRED)
    elif include_result and record.result:
        task.result.ParseFromString(record.result)
    return task


def task_of(record: Record, *, include_input: bool, include_result: bool) -> task_pb2.Task:
    """Return a whole task as GetTask and ListTasks answer it."""
    task = update_of(record, include_result=include_result)
    task.spec.CopyFrom(spec_of(record))
    if not include_input:
        task.spec.ClearField("input")
    for entry in record.history:
        event = task.events.add(state=entry.state, reason=entry.reason)
        _stamp(event.time, entry.time_ms)
    return task


def spec_of(record: Record) -> task_pb2.TaskSpec:
    """Return what was asked, defaults filled in."""
    spec = task_pb2.TaskSpec.FromString(envelope_pb2.Envelope.FromString(record.envelope).spec)
    spec.pool = spec.pool or DEFAULT_POOL
    spec.priority = spec.priority or task_pb2.PRIORITY_NORMAL
    return spec


def _stamp(stamp: Timestamp, time_ms: int) -> None:
    stamp.seconds, rest = divmod(time_ms, 1000)
    stamp.nanos = rest * 1_000_000
