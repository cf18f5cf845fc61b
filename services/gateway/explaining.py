"""ExplainTask: where a task is and why it is still there, or how it spent its life. Called by `task_service.py`.

What is known comes from the record, from the lines that the record store counts, from the views that schedulers
announce, and from the policy that this process follows. Nothing is kept between two calls.
"""

import asyncio
from collections.abc import Callable, Sequence

from forebay.tasks.v1 import envelope_pb2
from forebay.tasks.v1.task_service_pb2 import ExplainTaskRequest, ExplainTaskResponse
from scheduler.errors import TaskNotFound
from scheduler.policies.policy import Policy
from scheduler.ports.clock import StoreTime
from scheduler.ports.lines import Line, LineStore
from scheduler.ports.membership import VIEW_ROLE, Membership
from scheduler.ports.pauses import PauseStore, StandingPause
from scheduler.ports.records import QueryStore, Record
from scheduler.states import Level, TaskState
from services.gateway import convert, expecting, explanation, phases, queue_reasons, waiting_reasons
from services.gateway.caller import Caller
from services.gateway.fleet_view import NO_COST, FleetView, PoolKnown
from services.gateway.request_validation import check_id
from services.gateway.waiting_reasons import Reason


class ExplainTask:
    """The use case."""

    def __init__(
        self,
        store: QueryStore,
        lines: LineStore,
        pauses: PauseStore,
        membership: Membership,
        time: StoreTime,
        policy: Callable[[], Policy],
    ) -> None:
        """`policy` returns the one that this process follows."""
        self._store = store
        self._lines = lines
        self._pauses = pauses
        self._membership = membership
        self._time = time
        self._policy = policy

    async def __call__(self, caller: Caller, request: ExplainTaskRequest) -> ExplainTaskResponse:
        """Explain a task of the caller. Raises InvalidInput, TaskNotFound, RecordsUnavailable."""
        check_id(request.id)
        # Side by side: each is a round trip, and together they are to take no longer than one.
        [record], now_ms, cards, standing = await asyncio.gather(
            self._store.get([request.id], False),
            self._time.now_ms(),
            self._membership.members(VIEW_ROLE),
            self._pauses.pauses(),
        )
        if record is None or record.tenant != caller.tenant:
            raise TaskNotFound(request.id)
        answer = ExplainTaskResponse(task=convert.task_of(record, include_input=False, include_result=False))
        parts = phases.spells(record, now_ms)
        phases.fill(answer, parts)
        if record.state.terminal:
            answer.summary = phases.told(record, parts)
            return answer
        fleet = FleetView.of(card for _, card in cards)
        reasons = await self._reasons(answer, record, fleet, standing, caller, now_ms)
        for reason in reasons:
            reason.fill(answer.reasons.add())
        answer.summary = explanation.summary(answer, reasons, now_ms)
        return answer

    async def _reasons(
        self,
        answer: ExplainTaskResponse,
        record: Record,
        fleet: FleetView,
        standing: Sequence[StandingPause],
        caller: Caller,
        now_ms: int,
    ) -> list[Reason]:
        """Return what a task waits for, and write into the answer what is expected of it."""
        envelope = envelope_pb2.Envelope.FromString(record.envelope)
        spec = answer.task.spec
        match record.state:
            case TaskState.SCHEDULED:
                return [waiting_reasons.scheduled(envelope.not_before_ms, now_ms)]
            case TaskState.BLOCKED:
                parents = list(envelope.parents)
                found = await self._store.get(parents, False)
                return [waiting_reasons.blocked(parents, [one.state if one else None for one in found])]
            case TaskState.RETRYING:
                return [waiting_reasons.retrying(record, spec, envelope.max_attempts)]
        task = expecting.Task(
            record,
            envelope.pool or convert.DEFAULT_POOL,
            Level(envelope.priority or Level.NORMAL),
            envelope.model,
            spec.labels,
            envelope.deadline_ms,
        )
        pool = fleet.pools.get(task.pool, PoolKnown())
        cost = pool.cost(task.model, record.tenant, task.level)
        policy = self._policy()
        if record.state is TaskState.RUNNING:
            passed_s = max(0, now_ms - record.start_time_ms) / 1000
            if cost is NO_COST:
                return [waiting_reasons.running(record, passed_s, None)]
            stay, expected_s = expecting.run(task, pool, policy, passed_s)
            explanation.fill_estimate(
                answer.end, record.start_time_ms, (stay.middle_s, stay.earliest_s, stay.latest_s)
            )
            return [waiting_reasons.running(record, passed_s, expected_s)]
        lines, place, urgent = await self._places(task, policy)
        forecast, before = expecting.turn(task, lines, place, pool, standing, policy, now_ms, urgent)
        explanation.fill_ahead(answer, before, caller)
        reasons = queue_reasons.queued(task, fleet, standing, before, caller, now_ms)
        if forecast is not None and not any(reason.kind in queue_reasons.STOPS for reason in reasons):
            explanation.fill_forecast(answer, forecast, now_ms, cost is not NO_COST)
        return reasons

    async def _places(self, task: expecting.Task, policy: Policy) -> tuple[Sequence[Line], int, int | None]:
        """Count the lines, how many are before a task in its own, and how many will be once it is on the express lane;
        None where that changes nothing.
        """
        place_ms, urgent_ms = expecting.place_ms(task), expecting.urgent_ms(task)
        if task.promoted:
            place_ms = urgent_ms
        sooner = urgent_ms < place_ms and policy.express_slack_s > 0
        own = task.pool, task.level, task.record.tenant, task.model
        lines, earlier, not_later, urgent = await asyncio.gather(
            self._lines.lines(),
            self._lines.place(*own, place_ms),
            self._lines.place(*own, place_ms + 1),
            self._lines.place(*own, urgent_ms if sooner else place_ms),
        )
        # Among those that came in the same millisecond, which may be a thousand of one call, it is taken to be in the
        # middle; it is one of them itself.
        return lines, earlier + max(0, not_later - earlier - 1) // 2, urgent if sooner else None
