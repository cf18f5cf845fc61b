"""Accepting tasks durably: check, record, put on the log, answer. A request comes here from
sdk/forebay/client/async_client.py (by way of `task_service.py`) and goes on in services/gateway/publisher.py.

A task is answered as accepted only after the log's acknowledgement. When that does not come, the record is there
already and the sweeper publishes it: the task will run, and a client that wants it once retries with the same key.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Protocol

from forebay.tasks.v1 import task_pb2
from observability import names, tracing
from scheduler.errors import ForebayError, KeyConflict, ServerUnavailable
from scheduler.ports.clock import Clock
from scheduler.ports.records import Admission, AdmissionStore, Admitted, PublishTicket
from services.gateway import convert
from services.gateway.drafting import Draft, Drafter
from services.gateway.lanes import LaneChooser
from services.gateway.limits import InFlight
from services.gateway.publisher import BundlePublisher
from services.gateway.validation import check_task_count

Outcome = Admission | ForebayError
"""Of one task of a call: where it is, or why it was not accepted."""


class SubmitObserver(Protocol):
    """What counts submitted tasks."""

    def submitted(self, level: str, count: int) -> None:
        """Count tasks that were accepted."""
        ...

    def refused(self, reason: str, count: int) -> None:
        """Count tasks that were not."""
        ...

    def batch(self, hop: str, tasks: int) -> None:
        """Count one batch."""
        ...


class Submit:
    """The use case."""

    def __init__(
        self,
        store: AdmissionStore,
        publisher: BundlePublisher,
        arrived: Callable[[Sequence[PublishTicket]], None],
        *,
        drafter: Drafter,
        lanes: LaneChooser,
        limits: InFlight,
        clock: Clock,
        observer: SubmitObserver,
    ) -> None:
        self._store = store
        self._publisher = publisher
        self._arrived = arrived
        self._drafter = drafter
        self._lanes = lanes
        self._limits = limits
        self._clock = clock
        self._observer = observer

    async def __call__(
        self, tenant: str, specs: Sequence[task_pb2.TaskSpec], size_bytes: int
    ) -> list[Outcome]:
        """Accept tasks of a tenant; answers in their order.

        Raises InvalidInput for a wrong number of tasks, Overloaded, and ServerUnavailable when the servers' fault
        is why nothing was accepted. Cancelling it leaves open what was accepted.
        """
        check_task_count(len(specs))
        with self._limits.taken(size_bytes), ExitStack() as spans:
            parent = tracing.current()
            draft = self._drafter.draft(tenant, specs, self._clock.now_ms(), spans)
            outcomes: list[Outcome | None] = [None] * len(specs)
            for index, error in draft.refused.items():
                outcomes[index] = error
            if draft.tasks:
                tickets = await self._record(draft, outcomes, parent)
                await self._publish(tenant, draft, outcomes, tickets)
            self._count(draft, outcomes)
        answered = [outcome for outcome in outcomes if outcome is not None]
        return _unless_all_failed(answered)

    async def _record(self, draft: Draft, outcomes: list[Outcome | None], parent: str) -> list[PublishTicket]:
        count = len(draft.tasks)
        attributes: dict[str, tracing.Value] = {
            names.DB_SYSTEM_NAME: names.DB_SYSTEM_REDIS,
            names.DB_OPERATION_NAME: "EVALSHA",
            names.DB_STORED_PROCEDURE_NAME: "create",
            names.DB_OPERATION_BATCH_SIZE: count,
        }
        name = names.records_span("create")
        with tracing.span(name, kind=tracing.Kind.CLIENT, parent=parent, attributes=attributes):
            admissions, tickets = await self._store.create(draft.tasks)
        rows = zip(draft.tasks, draft.positions, draft.batches, admissions, strict=True)
        for task, position, batch, admission in rows:
            if admission.verdict is Admitted.CONFLICT:
                outcomes[position] = KeyConflict(admission.task_id)
                continue
            outcomes[position] = admission
            batch.accepted += 1
            if admission.verdict is Admitted.CREATED:
                batch.frames.append(convert.frame(task.envelope, admission.publication))
                batch.positions.append(position)
        return tickets

    async def _publish(
        self, tenant: str, draft: Draft, outcomes: list[Outcome | None], tickets: Sequence[PublishTicket]
    ) -> None:
        sent = []
        for batch in draft.queues:
            if batch.frames:
                lane = self._lanes.choose(batch.pool, batch.level, tenant, len(batch.frames))
                batch.span.set(names.MESSAGING_DESTINATION_PARTITION_ID, str(lane.index))
                batch.span.set(names.MESSAGING_BATCH_MESSAGE_COUNT, len(batch.frames))
                sent.append((batch, self._publisher.hand_over(lane, batch.frames, batch.span.traceparent)))
        complete = True
        for batch, parcels in sent:
            start = 0
            for parcel in parcels:
                end = start + len(parcel.frames)
                error = await parcel.outcome
                if error is not None:
                    complete = False
                    batch.accepted -= end - start
                    batch.span.fail(error.reason)
                    for position in batch.positions[start:end]:
                        outcomes[position] = error
                start = end
        if complete:
            self._arrived(tickets)

    def _count(self, draft: Draft, outcomes: Sequence[Outcome | None]) -> None:
        self._observer.batch(names.HOP_SUBMIT, len(outcomes))
        for batch in draft.queues:
            if batch.accepted:
                self._observer.submitted(batch.level.label, batch.accepted)
        if sum(batch.accepted for batch in draft.queues) < len(outcomes):
            reasons = Counter(o.reason for o in outcomes if isinstance(o, ForebayError))
            for reason, count in reasons.items():
                self._observer.refused(reason, count)


def _unless_all_failed(outcomes: list[Outcome]) -> list[Outcome]:
    """Return the outcomes; raise the servers' fault when nothing was accepted because of it."""
    fault = None
    for outcome in outcomes:
        if isinstance(outcome, Admission):
            return outcomes
        if fault is None and isinstance(outcome, ServerUnavailable):
            fault = outcome
    if fault is not None:
        raise fault
    return outcomes
