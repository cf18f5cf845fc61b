"""Records to Task messages, and accepted specs to envelopes and bundles: all mapping between domain and Protobuf."""

from collections.abc import Sequence
from functools import lru_cache
from hashlib import sha256
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp

from forebay.tasks.v1 import envelope_pb2, task_pb2
from scheduler.ports.answers import CACHED
from scheduler.ports.records import Admission, Admitted, Record
from scheduler.states import Level, TaskState
from services.gateway.expiry import expired_status

DEFAULT_POOL: Final = "default"
DEFAULT_ATTEMPTS: Final = 3
LEVELS: Final = (Level.NORMAL, *Level)
"""Level by the number of its Priority; UNSPECIFIED means NORMAL."""
DEFAULT_TOKENS: Final = 256
"""What a generation without `max_tokens` may generate."""
DEFAULT_COST_LABEL: Final = "kind"
LONGEST_KIND: Final = 63


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
    not_before_ms: int = 0,
    parents: Sequence[str] = (),
    replay_of: str = "",
    schedule: str = "",
    fingerprint: str = "",
    cached_as: envelope_pb2.CacheQuestion | None = None,
    cost_label: str = DEFAULT_COST_LABEL,
) -> bytes:
    """Return the serialised Envelope of an accepted task; `body` is the serialised spec. The value of the label
    `cost_label` tells kinds of tasks apart when their cost is learned.
    """
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
        # As good as characters or elements where tasks of one model are compared, and known already.
        input_size=len(body),
    )
    # Each of these is set on few tasks, and setting none of them is what ordinary tasks pay for.
    if spec.HasField("generate"):
        generate = spec.generate
        envelope.output_limit = (generate.max_tokens or DEFAULT_TOKENS) * (generate.n or 1)
    if cost_label in (labels := spec.labels):
        envelope.kind = labels[cost_label][:LONGEST_KIND]
    if not_before_ms:
        envelope.not_before_ms = not_before_ms
    if parents:
        envelope.parents.extend(parents)
        envelope.on_parent_failure = spec.on_parent_failure or task_pb2.PARENT_FAILURE_POLICY_FAIL
        envelope.takes_outputs = bool(spec.inputs_from)
    if replay_of:
        envelope.replay_of = replay_of
    if schedule:
        envelope.schedule = schedule
    if fingerprint:
        envelope.fingerprint = fingerprint
    if cached_as is not None:
        envelope.cached_as.CopyFrom(cached_as)
    return envelope.SerializeToString()


def deadline_ms_of(spec: task_pb2.TaskSpec) -> int:
    """Return a spec's deadline in milliseconds, rounded down; 0 for none."""
    if not spec.HasField("deadline"):
        return 0
    # A deadline in the first millisecond of 1970 must not become "none".
    return max(1, spec.deadline.seconds * 1000 + spec.deadline.nanos // 1_000_000)


def not_before_ms_of(spec: task_pb2.TaskSpec) -> int:
    """Return a spec's earliest start in milliseconds, rounded up; 0 for none."""
    if not spec.HasField("not_before"):
        return 0
    return spec.not_before.seconds * 1000 + -(-spec.not_before.nanos // 1_000_000)


def frame(envelope: bytes, publication: int, isolation: str = "") -> bytes:
    """Return a serialised Bundle of one publication; number 0 is for what is parked.

    Bundles are put together by concatenation: Protobuf defines that serialised messages joined together parse as
    their merge, and repeated fields merge by appending
    (https://protobuf.dev/programming-guides/encoding/#last-one-wins). So a task is serialised once, for record and log.
    """
    head, tail = _frame(len(envelope), publication, isolation)
    return head + envelope + tail


@lru_cache(maxsize=4096)
def _frame(size: int, publication: int, isolation: str) -> tuple[bytes, bytes]:
    """Return what surrounds an envelope of that size: fields 1, 2 and 3 of Publication inside field 1 of Bundle."""
    head = b"\x0a" + _varint(size)
    # Proto3 leaves out what is zero or empty.
    tail = b"\x10" + _varint(publication) if publication else b""
    if isolation:
        name = isolation.encode()
        tail += b"\x1a" + _varint(len(name)) + name
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
    stamp(task.create_time, admission.create_time_ms)
    if admission.state is TaskState.SUCCEEDED and admission.verdict is Admitted.CREATED:
        task.cached = True


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
    stamp(task.create_time, record.create_time_ms)
    if record.queue_time_ms:
        stamp(task.queue_time, record.queue_time_ms)
    if record.start_time_ms:
        stamp(task.start_time, record.start_time_ms)
    if record.end_time_ms:
        stamp(task.end_time, record.end_time_ms)
    if not record.state.terminal:
        return task
    if record.error:
        task.error.ParseFromString(record.error)
    elif record.state is TaskState.EXPIRED:
        task.error.CopyFrom(expired_status(record))
    elif include_result and record.result:
        task.result.ParseFromString(record.result)
    if record.state is TaskState.SUCCEEDED:
        task.cached = record.history[-1].reason == CACHED
    return task


def task_of(record: Record, *, include_input: bool, include_result: bool) -> task_pb2.Task:
    """Return a whole task as GetTask and ListTasks answer it."""
    task = update_of(record, include_result=include_result)
    task.uncharged_attempts = record.uncharged
    if record.error and not record.state.terminal:
        task.last_error.ParseFromString(record.error)
    envelope = envelope_pb2.Envelope.FromString(record.envelope)
    task.replay_of, task.schedule = envelope.replay_of, envelope.schedule
    task.spec.CopyFrom(_spec_in(envelope))
    if envelope.deadline_ms and not task.spec.HasField("deadline"):
        # A schedule's run_within is in the envelope alone.
        stamp(task.spec.deadline, envelope.deadline_ms)
    for dependency, parent in zip(task.spec.depends_on, envelope.parents, strict=False):
        # A place in the call that submitted it tells nobody anything now.
        dependency.id = parent
    if not include_input:
        task.spec.ClearField("input")
    for entry in record.history:
        event = task.events.add(state=entry.state, reason=entry.reason)
        stamp(event.time, entry.time_ms)
    return task


def spec_of(record: Record) -> task_pb2.TaskSpec:
    """Return what was asked, defaults filled in."""
    return _spec_in(envelope_pb2.Envelope.FromString(record.envelope))


def _spec_in(envelope: envelope_pb2.Envelope) -> task_pb2.TaskSpec:
    spec = task_pb2.TaskSpec.FromString(envelope.spec)
    spec.pool = spec.pool or DEFAULT_POOL
    spec.priority = spec.priority or task_pb2.PRIORITY_NORMAL
    return spec


def stamp(field: Timestamp, time_ms: int) -> None:
    """Write a time."""
    field.seconds, rest = divmod(time_ms, 1000)
    field.nanos = rest * 1_000_000
