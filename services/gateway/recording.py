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


class Recorder:
    """Records drafted tasks."""

    def __init__(self, store: AdmissionStore, reader: QueryStore, drafter: Drafter) -> None:
        self._store = store
        self._reader = reader
        self._drafter = drafter

    async def __call__(self, draft: Draft, parent: str) -> Recorded:
        """Record everything that can be, and fill the frames of its batches; `parent` is the trace context.

        What cannot be for its parents' sake is entered in `draft.refused`. Raises RecordsUnavailable.
        """
        recorded = Recorded([None] * len(draft.specs))
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
        return recorded

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

    async def _round(self, draft: Draft, recorded: Recorded, parent: str) -> None:
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
        recorded.tickets += tickets
        outcomes, dependents = recorded.outcomes, draft.dependents
        rows = zip(draft.tasks, draft.positions, draft.batches, admissions, strict=True)
        for task, position, batch, admission in rows:
            if admission.verdict is Admitted.CONFLICT:
                _note_conflict(draft, recorded, position, admission.task_id)
                continue
            outcomes[position] = admission
            batch.accepted += 1
            if admission.verdict is Admitted.CREATED:
                batch.frames.append(
                    convert.frame(task.envelope, 0 if batch.parked else admission.publication)
                )
                batch.positions.append(position)
                if task.parents:
                    recorded.children.append(_child(draft, position, task.parents, task.id))
            elif may_be_unpublished(admission):
                recorded.young.append(position)
            if dependents is not None:
                dependents.settle(position, admission.task_id)


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
