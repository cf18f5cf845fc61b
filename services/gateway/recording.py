"""Writes a call's tasks into the record store: all at once, or, where ids must be known first, in rounds.

Called by `submit.py`, between drafting and publishing.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from observability import names, tracing
from scheduler.errors import ForebayError, KeyConflict
from scheduler.policies.parents import OnParentFailure
from scheduler.ports.records import Admission, AdmissionStore, Admitted, PublishTicket, QueryStore
from services.gateway import convert
from services.gateway.dependencies import Dependents, resolved
from services.gateway.drafting import Draft, Drafter
from services.gateway.linking import Child
from services.gateway.repetition import Conflict, may_be_unpublished

Outcome = Admission | ForebayError
"""Of one task of a call: where it is, or why it was not accepted."""

_READ: Final = 250


@dataclass(slots=True, eq=False)
class Recorded:
    """What a call has put into the record store, and what is to be done about it."""

    outcomes: list[Outcome | None]
    """By place in the call. Those of refused tasks are None."""
    tickets: list[PublishTicket] = field(default_factory=list)
    children: list[Child] = field(default_factory=list)
    """New tasks that must be linked with their parents."""
    young: list[int] = field(default_factory=list)
    """Places of tasks that existed before and may not have reached the log."""
    conflicts: list[Conflict] = field(default_factory=list)
    ended: set[int] = field(default_factory=set)
    """Places of tasks that were recorded as ended, with an answer from the result cache."""
    begun: bool = False
    """Whether the record store was asked to write anything: when that fails, what it wrote is unknown."""


class Recorder:
    """Records drafted tasks."""

    def __init__(self, store: AdmissionStore, reader: QueryStore, drafter: Drafter) -> None:
        self._store = store
        self._reader = reader
        self._drafter = drafter

    async def __call__(self, draft: Draft, recorded: Recorded, parent: str) -> None:
        """Record everything that can be, enter it in `recorded`, of which nothing is known yet, and fill the frames of
        its batches; `parent` is the trace context.

        What cannot be for its parents' sake is entered in `draft.refused`. Raises RecordsUnavailable.
        """
        dependents = draft.dependents
        if dependents is not None:
            await self._check_named(draft.tenant, dependents)
            self._drafter.draft_ready(draft, dependents)
        while draft.tasks:
            await self._round(draft, recorded, parent)
            if dependents is None:
                break
            draft.next_round()
            self._drafter.draft_ready(draft, dependents)
        if dependents is not None:
            dependents.refuse_rest()
            draft.refused.update(dependents.refused)

    async def _check_named(self, tenant: str, dependents: Dependents) -> None:
        named = dependents.named()
        known: set[str] = set()
        # In parts: a record brings its whole input.
        for start in range(0, len(named), _READ):
            records = await self._reader.get(named[start : start + _READ], False)
            known.update(record.id for record in records if record is not None and record.tenant == tenant)
        dependents.refuse_unknown(known)
        for place in list(dependents.refused):
            dependents.refuse_children(place)

    async def _known(self, draft: Draft, recorded: Recorded) -> None:
        """Take the tasks out of a round that want a cached answer or none, where there is none: what exists under their
        keys is told, and the others are refused.
        """
        refusals, dependents = draft.looks.refused, draft.dependents
        rows = [row for row, position in enumerate(draft.positions) if position in refusals]
        if not rows:
            return
        for row, admission in zip(
            rows, await self._store.known([draft.tasks[row] for row in rows]), strict=True
        ):
            if admission is not None:
                _settle(draft, recorded, row, admission)
                continue
            position = draft.positions[row]
            draft.refused[position] = refusals[position]
            if dependents is not None:
                dependents.refuse_children(position)
        draft.leave_out(set(rows))

    async def _round(self, draft: Draft, recorded: Recorded, parent: str) -> None:
        if draft.looks.refused:
            await self._known(draft, recorded)
        count = len(draft.tasks)
        if not count:
            return
        attributes: dict[str, tracing.Value] = {
            names.DB_SYSTEM_NAME: names.DB_SYSTEM_REDIS,
            names.DB_OPERATION_NAME: "EVALSHA",
            names.DB_STORED_PROCEDURE_NAME: "create",
            names.DB_OPERATION_BATCH_SIZE: count,
        }
        name = names.records_span("create")
        with tracing.span(name, kind=tracing.Kind.CLIENT, parent=parent, attributes=attributes):
            recorded.begun = True
            admissions, tickets = await self._store.create(draft.tasks)
        recorded.tickets += tickets
        for row, admission in enumerate(admissions):
            _settle(draft, recorded, row, admission)


def _settle(draft: Draft, recorded: Recorded, row: int, admission: Admission) -> None:
    """Enter what became of one task of a round."""
    task, position, batch = draft.tasks[row], draft.positions[row], draft.batches[row]
    if admission.verdict is Admitted.CONFLICT:
        _note_conflict(draft, recorded, position, admission.task_id)
        return
    recorded.outcomes[position] = admission
    created = admission.verdict is Admitted.CREATED
    batch.accepted += created
    if created and task.state.terminal:
        batch.ended += 1
        recorded.ended.add(position)
    elif created:
        batch.frames.append(convert.frame(task.envelope, 0 if batch.parked else admission.publication))
        batch.positions.append(position)
        if task.parents:
            recorded.children.append(_child(draft, position, task.parents, task.id))
    elif may_be_unpublished(admission):
        recorded.young.append(position)
    if draft.dependents is not None:
        draft.dependents.settle(position, admission.task_id)


def _note_conflict(draft: Draft, recorded: Recorded, position: int, task_id: str) -> None:
    recorded.outcomes[position] = KeyConflict(task_id)
    spec, dependents = draft.specs[position], draft.dependents
    if dependents is not None:
        if spec.depends_on:
            spec = resolved(spec, dependents.parents(position))
        dependents.refuse_children(position)
    recorded.conflicts.append(Conflict(position, task_id, spec))


def _child(draft: Draft, position: int, parents: Sequence[str], task_id: str) -> Child:
    spec = draft.specs[position]
    choice = OnParentFailure.of(spec.on_parent_failure)
    return Child(task_id, tuple(parents), choice, bool(spec.inputs_from))
