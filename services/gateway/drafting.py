"""From specs to what is recorded and sent: checks each task of a call and seals it. No I/O. Called by `submit.py`."""

import random
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from forebay.tasks.v1 import task_pb2
from observability import names, tracing
from scheduler.errors import FieldFault, ForebayError, InvalidInput
from scheduler.ids import PARTITIONS, new_ids, partition_for
from scheduler.ports.answers import CACHED
from scheduler.ports.records import NewTask
from scheduler.states import Level, TaskState
from services.gateway import convert
from services.gateway.dependencies import Dependents, automatic_call, resolved
from services.gateway.fingerprint import Fingerprints
from services.gateway.task_looks import NOTHING_KNOWN, TaskLooks
from services.gateway.validation import MAX_TASK_BYTES, invalid_spec, spec_faults

NONE_REFUSED: Final[Mapping[int, ForebayError]] = MappingProxyType({})


@dataclass(slots=True, eq=False)
class Batch:
    """The tasks of one call that go to the same queue, or are parked on the way to it."""

    pool: str
    level: Level
    parked: bool
    """Whether they wait for their time or for parents: no lane gets them."""
    span: tracing.Span
    """The producer span; it ends with the call."""
    traceparent: str
    """Of that span, read once."""
    frames: list[bytes] = field(default_factory=list)
    """One for each task that was created."""
    positions: list[int] = field(default_factory=list)
    """Where those tasks are in the call."""
    accepted: int = 0
    """Those that were recorded: what existed under a known key was counted before."""
    ended: int = 0
    """Of those, the ones that were recorded as ended: with an answer from the result cache."""


@dataclass(slots=True, eq=False)
class Draft:
    """One call's tasks, ready for the record store: all of them, or one round where tasks depend on others."""

    tenant: str
    specs: Sequence[task_pb2.TaskSpec]
    now_ms: int
    ids: Sequence[str]
    """Fresh ids, for tasks without a key."""
    spans: ExitStack
    traceparent: str
    replay_of: Sequence[str]
    schedule: str
    tasks: list[NewTask] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    """Where each task is in the call."""
    batches: list[Batch] = field(default_factory=list)
    """The batch of each task."""
    queues: dict[tuple[str, Level, bool], Batch] = field(default_factory=dict)
    """All batches."""
    looks: TaskLooks = NOTHING_KNOWN
    """What the result cache knows of them."""
    refused: dict[int, ForebayError] = field(default_factory=dict)
    """Why others are not among them, by their place in the call."""
    dependents: Dependents | None = None
    """Tasks that depend on others; None when there are none."""

    def next_round(self) -> None:
        """Make room for the tasks that are recorded next."""
        self.tasks, self.positions, self.batches = [], [], []

    def leave_out(self, rows: Collection[int]) -> None:
        """Take tasks out of those that are recorded next; `rows` are their places among these."""
        kept = [row for row in range(len(self.tasks)) if row not in rows]
        self.tasks = [self.tasks[row] for row in kept]
        self.positions = [self.positions[row] for row in kept]
        self.batches = [self.batches[row] for row in kept]


class Drafter:
    """Knows which tasks are acceptable and how they look in the record and on the log."""

    def __init__(
        self, pools: Collection[str], fingerprints: Fingerprints, max_task_bytes: int = MAX_TASK_BYTES
    ) -> None:
        self._pools: Final = frozenset(pools)
        self._fingerprints = fingerprints
        self._max_task_bytes = max_task_bytes
        self.cost_label = convert.DEFAULT_COST_LABEL
        """The label whose value tells kinds of tasks apart; the policy may name another at any time."""

    def draft(
        self,
        tenant: str,
        specs: Sequence[task_pb2.TaskSpec],
        now_ms: int,
        spans: ExitStack,
        *,
        replay_of: Sequence[str] = (),
        schedule: str = "",
        refused: Mapping[int, ForebayError] = NONE_REFUSED,
        looks: TaskLooks = NOTHING_KNOWN,
    ) -> Draft:
        """Check tasks, and seal those that depend on none; opens one producer span for each queue on the stack.

        `replay_of` names the dead letter that each task repeats, `schedule` the schedule that made them, and `refused`
        has what was refused before, by place; what depends on that is refused too. `looks` is what the cache knows.
        """
        # Tasks without a key are in no relation to others: one partition takes them all, in one step.
        ids = new_ids(random.randrange(PARTITIONS), len(specs), now_ms)
        draft = Draft(tenant, specs, now_ms, ids, spans, tracing.current(), replay_of, schedule)
        draft.looks = looks
        draft.refused.update(refused)
        dependent: list[int] = []
        for index, spec in enumerate(specs):
            if index in draft.refused:
                continue
            has_parents = bool(spec.depends_on)
            faults = spec_faults(spec, self._pools, dependent=has_parents)
            if faults:
                draft.refused[index] = invalid_spec(index, faults)
            elif index in looks.refused and not spec.idempotency_key:
                draft.refused[index] = looks.refused[index]
            elif has_parents:
                dependent.append(index)
            else:
                self._add(draft, index, spec)
        if dependent:
            dependents = draft.dependents = Dependents(specs, dependent)
            for place in (*draft.refused, *dependents.refused):
                dependents.refuse_children(place)
            for task, position in zip(draft.tasks, draft.positions, strict=True):
                dependents.foresee(position, task.id)
        return draft

    def draft_ready(self, draft: Draft, dependents: Dependents) -> None:
        """Add dependent tasks whose parents have ids by now."""
        while (index := dependents.next()) is not None:
            self._add(draft, index, draft.specs[index], dependents.parents(index))
            if index in draft.refused:
                dependents.refuse_children(index)
            else:
                dependents.foresee(index, draft.tasks[-1].id)

    def _add(self, draft: Draft, index: int, spec: task_pb2.TaskSpec, parents: tuple[str, ...] = ()) -> None:
        body = (resolved(spec, parents) if parents else spec).SerializeToString()
        if len(body) > self._max_task_bytes:
            draft.refused[index] = self._too_large(index, len(body))
            return
        pool = spec.pool or convert.DEFAULT_POOL
        level = convert.LEVELS[spec.priority]
        tenant, now_ms = draft.tenant, draft.now_ms
        not_before_ms = convert.not_before_ms_of(spec) if spec.HasField("not_before") else 0
        # Whether its time has come is for the record store's clock to say, not for this machine's.
        parked = not_before_ms > 0 or parents != ()
        batch = draft.queues.get((pool, level, parked))
        if batch is None:
            batch = draft.queues[pool, level, parked] = _open(pool, level, parked, draft)
        key = spec.idempotency_key
        task_id = new_ids(partition_of_key(tenant, key), 1, now_ms)[0] if key else draft.ids[index]
        deadline_ms = convert.deadline_ms_of(spec)
        max_attempts = spec.retry.max_attempts or convert.DEFAULT_ATTEMPTS
        fingerprint = self._fingerprints.of(tenant, spec) if key else ""
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
            traceparent=batch.traceparent,
            not_before_ms=not_before_ms,
            parents=parents,
            replay_of=draft.replay_of[index] if draft.replay_of else "",
            schedule=draft.schedule,
            fingerprint=fingerprint,
            cached_as=draft.looks.questions.get(index),
            cost_label=self.cost_label,
        )
        task = NewTask(
            task_id,
            tenant,
            pool,
            level,
            envelope,
            max_attempts,
            deadline_ms,
            key,
            fingerprint,
            model=spec.model,
        )
        if parked:
            state = TaskState.BLOCKED if parents else TaskState.SCHEDULED
            unique = tuple(dict.fromkeys(parents))
            task = task._replace(state=state, not_before_ms=not_before_ms, parents=unique)
        elif (end := draft.looks.ends.get(index)) is not None:
            task = task._replace(
                state=TaskState.SUCCEEDED,
                publication=1,
                result=end.result,
                reason=CACHED,
                outputs=end.outputs,
            )
        draft.tasks.append(task)
        draft.positions.append(index)
        draft.batches.append(batch)

    def _too_large(self, index: int, size: int) -> InvalidInput:
        limit = self._max_task_bytes
        return InvalidInput([FieldFault(f"tasks[{index}]", f"must be at most {limit} bytes long, is {size}")])


def _open(pool: str, level: Level, parked: bool, draft: Draft) -> Batch:
    destination = f"parked.{pool}" if parked else f"tasks.{pool}.{level.label}"
    attributes: dict[str, tracing.Value] = {
        names.MESSAGING_SYSTEM: names.MESSAGING_SYSTEM_PULSAR,
        names.MESSAGING_OPERATION_NAME: names.OPERATION_SEND,
        names.MESSAGING_OPERATION_TYPE: names.OPERATION_SEND,
        names.MESSAGING_DESTINATION_NAME: destination,
        names.QUEUE_POOL: pool,
        names.QUEUE_LEVEL: level.label,
    }
    name = names.messaging_span(names.OPERATION_SEND, destination)
    span = tracing.span(name, kind=tracing.Kind.PRODUCER, parent=draft.traceparent, attributes=attributes)
    opened = draft.spans.enter_context(span)
    return Batch(pool, level, parked, opened, opened.traceparent)


def partition_of_key(tenant: str, key: str) -> int:
    """Return the partition of all tasks with a key. Keys that the client library made for one call share theirs, so
    that a call stays one script call.
    """
    return partition_for(tenant, automatic_call(key) or key)
