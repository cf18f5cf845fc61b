"""Accepting tasks durably: limit, check, record, put on the log, link, answer. A request comes here from
sdk/forebay/client/async_client.py (by way of `task_service.py`) and goes on in services/gateway/publisher.py.

A task is answered as accepted only after the log's acknowledgement: of its lane, or, for one that waits for its time or
for parents, of the topic where those are parked. When that does not come, the record is there already and the sweeper
completes it: the task will run, and a client that wants it once retries with the same key. One whose answer the result
cache has is recorded as ended, and never on the log.
"""

import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack, suppress
from typing import Final, Protocol

from forebay.tasks.v1 import task_pb2
from observability import names, tracing
from scheduler.errors import ForebayError, QuotaExceeded, ServerUnavailable
from scheduler.ports.clock import Clock
from scheduler.ports.records import Admission, PublishTicket
from scheduler.states import TaskState
from services.gateway.drafting import NONE_REFUSED, Batch, Draft, Drafter
from services.gateway.lanes import LaneChooser
from services.gateway.limits import InFlight
from services.gateway.linking import Linking
from services.gateway.publisher import BundlePublisher, Destination, Parcel, Parking
from services.gateway.quotas import Admittance, Quotas
from services.gateway.recording import Outcome, Recorded, Recorder
from services.gateway.repetition import Repetitions
from services.gateway.request_validation import check_task_count
from services.gateway.task_looks import NOTHING_KNOWN, TaskCache

_LOG: Final = logging.getLogger(__name__)


class SubmitObserver(Protocol):
    """What counts submitted tasks."""

    def submitted(self, level: str, count: int) -> None:
        """Count tasks that were recorded, each once: not those that a known key repeats."""
        ...

    def refused(self, reason: str, count: int) -> None:
        """Count tasks for which their call had an error."""
        ...

    def finished(self, state: str, level: str, count: int) -> None:
        """Count tasks that were recorded in a terminal state (lower case)."""
        ...

    def batch(self, hop: str, tasks: int) -> None:
        """Count one batch."""
        ...


class Submit:
    """The use case."""

    def __init__(
        self,
        recorder: Recorder,
        publisher: BundlePublisher,
        arrived: Callable[[Sequence[PublishTicket]], None],
        hasten: Callable[[Sequence[PublishTicket]], Awaitable[None]],
        *,
        drafter: Drafter,
        lanes: LaneChooser,
        linking: Linking,
        repetitions: Repetitions,
        limits: InFlight,
        quotas: Quotas,
        cache: TaskCache,
        clock: Clock,
        observer: SubmitObserver,
    ) -> None:
        """`arrived` takes tickets of what the log has, `hasten` those that the sweeper shall complete at once."""
        self._record = recorder
        self._publisher = publisher
        self._arrived = arrived
        self._hasten = hasten
        self._drafter = drafter
        self._lanes = lanes
        self._link = linking
        self._repetitions = repetitions
        self._limits = limits
        self._quotas = quotas
        self._cache = cache
        self._clock = clock
        self._observer = observer

    async def __call__(
        self,
        tenant: str,
        specs: Sequence[task_pb2.TaskSpec],
        size_bytes: int,
        *,
        replay_of: Sequence[str] = (),
        schedule: str = "",
    ) -> list[Outcome]:
        """Accept tasks of a tenant; answers in their order. `replay_of` and `schedule` are as in `Drafter.draft`.

        Raises InvalidInput for a wrong number of tasks, Overloaded, and QuotaExceeded or ServerUnavailable when a limit
        or the servers' fault is why nothing was accepted. Cancelling it leaves open what was accepted.
        """
        check_task_count(len(specs))
        with self._limits.taken(size_bytes), ExitStack() as spans:
            parent = tracing.current()
            admittance = await self._admittance(tenant, specs) if self._quotas.active else None
            refused = admittance.refused if admittance else NONE_REFUSED
            looks, recorded, done = NOTHING_KNOWN, Recorded([None] * len(specs)), False
            try:
                looks = await self._cache.look_up(tenant, specs, refused)
                draft = self._drafter.draft(
                    tenant,
                    specs,
                    self._clock.now_ms(),
                    spans,
                    replay_of=replay_of,
                    schedule=schedule,
                    refused=refused,
                    looks=looks,
                )
                await self._record(draft, recorded, parent)
                done = True
            finally:
                if admittance and done:
                    admittance.close(recorded.outcomes, recorded.ended)
                elif admittance:
                    admittance.close(None)
                if looks.ends and (done or not recorded.begun):
                    self._cache.recorded(tenant, specs, looks, recorded.ended)
            outcomes = recorded.outcomes
            for index, error in draft.refused.items():
                outcomes[index] = error
            await self._publish(tenant, draft, recorded)
            if recorded.conflicts:
                for position, conflict in (
                    await self._repetitions.explain(tenant, recorded.conflicts)
                ).items():
                    outcomes[position] = conflict
            if recorded.young:
                await self._publish_again(tenant, recorded)
            self._count(draft, outcomes)
        answered = [outcome for outcome in outcomes if outcome is not None]
        return _unless_all_failed(answered)

    async def _admittance(self, tenant: str, specs: Sequence[task_pb2.TaskSpec]) -> Admittance:
        """Ask the limits. Raises QuotaExceeded when they let nothing in: then nothing is drafted either."""
        admittance = await self._quotas.admit(tenant, specs)
        if len(admittance.refused) == len(specs):
            admittance.close([None] * len(specs))
            self._observer.refused(QuotaExceeded.reason, len(specs))
            raise admittance.refused[0]
        return admittance

    async def _publish(self, tenant: str, draft: Draft, recorded: Recorded) -> None:
        sent: list[tuple[Batch, list[Parcel]]] = []
        for batch in draft.queues.values():
            # None where the cache has every answer.
            batch.span.set(names.MESSAGING_BATCH_MESSAGE_COUNT, len(batch.frames))
            if batch.frames:
                to: Destination = Parking(batch.pool)
                if not batch.parked:
                    to = lane = self._lanes.choose(batch.pool, batch.level, tenant, len(batch.frames))
                    batch.span.set(names.MESSAGING_DESTINATION_PARTITION_ID, str(lane.index))
                sent.append((batch, self._publisher.hand_over(to, batch.frames, batch.span.traceparent)))
        # While the log takes them in.
        complete = linked = not recorded.children or await self._linked(tenant, recorded)
        for batch, parcels in sent:
            start = 0
            for parcel in parcels:
                end = start + len(parcel.frames)
                error = await parcel.outcome
                if error is not None:
                    complete = False
                    batch.span.fail(error.reason)
                    for position in batch.positions[start:end]:
                        recorded.outcomes[position] = error
                start = end
        if complete:
            self._arrived(recorded.tickets)
        elif not linked:
            await self._leave_to_sweeper(recorded.tickets)

    async def _linked(self, tenant: str, recorded: Recorded) -> bool:
        """Whether no link is left to the sweeper. The tasks are as safe without: their tickets stay."""
        try:
            return await self._link(tenant, recorded.children)
        except ServerUnavailable as error:
            count = len(recorded.children)
            _LOG.warning("children not linked", extra={"reason": error.reason, "tasks": count})
            return False

    async def _leave_to_sweeper(self, tickets: Sequence[PublishTicket]) -> None:
        """Let the sweeper link now: a task that takes outputs of parents that have ended waits for nothing else."""
        with suppress(ServerUnavailable):
            await self._hasten(tickets)

    async def _publish_again(self, tenant: str, recorded: Recorded) -> None:
        outcomes = recorded.outcomes
        ids = {
            position: outcome.task_id
            for position in recorded.young
            if isinstance(outcome := outcomes[position], Admission)
        }
        failed = await self._repetitions.publish(tenant, list(dict.fromkeys(ids.values())))
        for position, task_id in ids.items():
            if task_id in failed:
                outcomes[position] = failed[task_id]

    def _count(self, draft: Draft, outcomes: Sequence[Outcome | None]) -> None:
        self._observer.batch(names.HOP_SUBMIT, len(outcomes))
        batches = draft.queues.values()
        for batch in batches:
            if batch.accepted:
                self._observer.submitted(batch.level.label, batch.accepted)
            if batch.ended:
                self._observer.finished(TaskState.SUCCEEDED.name.lower(), batch.level.label, batch.ended)
        # Also those that are recorded and whose log did not answer: they run, and their call failed.
        reasons = Counter(one.reason for one in outcomes if isinstance(one, ForebayError))
        for reason, count in reasons.items():
            self._observer.refused(reason, count)


def _unless_all_failed(outcomes: list[Outcome]) -> list[Outcome]:
    """Return the outcomes; raise what can pass when nothing was accepted because of it, a fault of servers first."""
    if any(isinstance(outcome, Admission) for outcome in outcomes):
        return outcomes
    faults = [outcome for outcome in outcomes if isinstance(outcome, ServerUnavailable | QuotaExceeded)]
    if not faults:
        return outcomes
    raise next((fault for fault in faults if isinstance(fault, ServerUnavailable)), faults[0])
