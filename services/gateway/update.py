"""UpdateTasks: another level, deadline or earliest start for tasks that wait. Called by `task_service.py`.

A task that is queued is published anew under the next number; its old message is dropped by whoever meets it. One that
is to go to a level that is full by a limit stays as it is (services/gateway/quotas.py).
"""

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Final, NamedTuple

from forebay.tasks.v1 import envelope_pb2, task_pb2, task_service_pb2
from scheduler.errors import ForebayError, TaskMoved, TaskNotFound, TaskNotWaiting
from scheduler.ports.records import QueryStore, Record, Update, Updated
from scheduler.replacing import envelope_digest
from scheduler.states import Level, TaskState
from services.gateway import convert
from services.gateway.quotas import Quotas
from services.gateway.republishing import Republish
from services.gateway.request_validation import check_update
from services.status import to_status

_BATCH: Final = 250
_TRIES: Final = 3
"""How often a task that moves is read again before the client is told."""

Answers = dict[str, task_pb2.Task | ForebayError]
"""What became of tasks, by id."""


class Change(NamedTuple):
    """What a task is to become, and what it was."""

    update: Update
    model: str
    was: Level


class UpdateTasks:
    """The use case."""

    def __init__(self, store: QueryStore, republish: Republish, quotas: Quotas) -> None:
        self._store = store
        self._republish = republish
        self._quotas = quotas

    async def __call__(
        self, tenant: str, request: task_service_pb2.UpdateTasksRequest
    ) -> task_service_pb2.UpdateTasksResponse:
        """Change tasks; answers in the order of their ids. Raises InvalidInput, and RecordsUnavailable, which leaves
        open what was changed; the same call again is harmless.
        """
        check_update(request)
        answers: Answers = {}
        ids = list(dict.fromkeys(request.tasks.ids))
        for start in range(0, len(ids), _BATCH):
            answers.update(await self._change(tenant, ids[start : start + _BATCH], request))
        response = task_service_pb2.UpdateTasksResponse()
        for task_id in request.tasks.ids:
            answer = answers[task_id]
            if isinstance(answer, ForebayError):
                response.results.add().error.CopyFrom(to_status(answer))
            else:
                response.results.add().task.CopyFrom(answer)
        return response

    async def _change(
        self, tenant: str, ids: Sequence[str], request: task_service_pb2.UpdateTasksRequest
    ) -> Answers:
        answers: Answers = {}
        pending, updated = list(ids), list[str]()
        for _ in range(_TRIES):
            changes: list[Change] = []
            for task_id, record in zip(pending, await self._store.get(pending, False), strict=True):
                if record is None or record.tenant != tenant:
                    answers[task_id] = TaskNotFound(task_id)
                elif record.state.terminal or record.state is TaskState.RUNNING:
                    answers[task_id] = TaskNotWaiting(task_id, record.state.name)
                else:
                    changes.append(changed(record, request))
            verdicts = await self._apply(tenant, changes, answers)
            updated += [i for i, verdict in verdicts.items() if verdict is Updated.UPDATED]
            # What began to run since it was read is read again as well: the answer names its state.
            pending = [
                i for i, verdict in verdicts.items() if verdict in (Updated.MOVED, Updated.NOT_WAITING)
            ]
            if not pending:
                break
        answers.update((task_id, TaskMoved(task_id)) for task_id in pending)
        wanted = [task_id for task_id in updated if task_id not in answers]
        for task_id, record in zip(wanted, await self._store.get(wanted, False), strict=True):
            answers[task_id] = (
                TaskNotFound(task_id)
                if record is None
                else convert.task_of(record, include_input=False, include_result=False)
            )
        return answers

    async def _apply(self, tenant: str, changes: Sequence[Change], answers: Answers) -> Mapping[str, Updated]:
        """Write those of the changes that the limits allow."""
        moves = [change for change in changes if change.update.level is not change.was]
        if not (moves and self._quotas.active):
            return await self._write(tenant, [change.update for change in changes], answers)
        # A call names one level, so they all go to the same one.
        level = moves[0].update.level
        admittance = await self._quotas.admit_moves(tenant, level, [move.model for move in moves])
        refused = {moves[place].update.id: error for place, error in admittance.refused.items()}
        answers.update(refused)
        came: list[bool] | None = None
        try:
            allowed = [change.update for change in changes if change.update.id not in refused]
            verdicts = await self._write(tenant, allowed, answers)
            came = [verdicts.get(move.update.id) is Updated.UPDATED for move in moves]
        finally:
            admittance.settle(came)
        return verdicts

    async def _write(self, tenant: str, updates: Sequence[Update], answers: Answers) -> Mapping[str, Updated]:
        if not updates:
            return {}
        verdicts, republications, tickets = await self._store.update(updates, tenant)
        failed = await self._republish(republications, tickets)
        # Changed, and published by the sweeper in a moment; but only the log's word makes it as safe as it was.
        answers.update(failed)
        for update, verdict in zip(updates, verdicts, strict=True):
            if verdict is Updated.NOT_FOUND:
                answers[update.id] = TaskNotFound(update.id)
        return dict(zip((update.id for update in updates), verdicts, strict=True))


def changed(record: Record, request: task_service_pb2.UpdateTasksRequest) -> Change:
    """Return what a task becomes: the spec inside its envelope is changed as well, under the next revision."""
    envelope = envelope_pb2.Envelope.FromString(record.envelope)
    spec = task_pb2.TaskSpec.FromString(envelope.spec)
    was = convert.LEVELS[envelope.priority]
    if request.priority:
        spec.priority = request.priority
        envelope.priority = request.priority
    # What is not named stays as it is in the envelope: the deadline of a schedule's task is there alone.
    if request.HasField("deadline"):
        spec.deadline.CopyFrom(request.deadline)
        envelope.deadline_ms = convert.deadline_ms_of(spec)
    elif request.clear_deadline:
        spec.ClearField("deadline")
        envelope.deadline_ms = 0
    if request.HasField("not_before"):
        spec.not_before.CopyFrom(request.not_before)
        envelope.not_before_ms = convert.not_before_ms_of(spec)
    envelope.spec = spec.SerializeToString()
    envelope.sha256 = sha256(envelope.spec).digest()
    envelope.revision += 1
    update = Update(
        record.id,
        record.publication,
        convert.LEVELS[envelope.priority],
        envelope.deadline_ms,
        envelope.not_before_ms,
        envelope.SerializeToString(),
        envelope_digest(record.envelope),
    )
    return Change(update, spec.model, was)
