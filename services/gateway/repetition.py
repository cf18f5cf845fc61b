"""What submits do about tasks that exist already: says in what the bodies of a reused key differ, and puts on the log
what may never have reached it. Called by `submit.py`.

A gateway that dies between record and log leaves a task that the sweeper publishes after some seconds. A client that
repeats its call meanwhile gets it published at once, and OK means the same as for a new task.
"""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from forebay.tasks.v1 import envelope_pb2, task_pb2
from scheduler.errors import KeyConflict, ServerUnavailable
from scheduler.ports.records import Admission, QueryStore, Republication
from scheduler.states import BIRTHS, TaskState
from services.gateway.differences import differing
from services.gateway.linking import Linking, child_of
from services.gateway.republishing import Republish

_READ: Final = 250


class Conflict(NamedTuple):
    """A key that was used before with another body."""

    position: int
    """Where the refused task is in its call."""
    task_id: str
    """The task that has the key."""
    spec: task_pb2.TaskSpec
    """The refused one, its parents named by ids."""


def may_be_unpublished(admission: Admission) -> bool:
    """Whether a task that existed before may not be on the log. One that has moved on was there, or its mover sees to
    it; a second copy of one that waits is harmless, and how long it has waited says nothing while the log is away.
    """
    return admission.state in BIRTHS and admission.publication <= 1


class Repetitions:
    """Deals with tasks that exist already."""

    def __init__(self, store: QueryStore, republish: Republish, linking: Linking) -> None:
        self._store = store
        self._republish = republish
        self._linking = linking

    async def explain(self, tenant: str, conflicts: Sequence[Conflict]) -> Mapping[int, KeyConflict]:
        """Return the errors of refused tasks by their positions; without the store they name no fields."""
        errors: dict[int, KeyConflict] = {}
        for start in range(0, len(conflicts), _READ):
            part = conflicts[start : start + _READ]
            try:
                records = await self._store.get([conflict.task_id for conflict in part], False)
            except ServerUnavailable:
                records = [None] * len(part)
            for conflict, record in zip(part, records, strict=True):
                fields: list[str] = []
                if record is not None and record.tenant == tenant:
                    envelope = envelope_pb2.Envelope.FromString(record.envelope)
                    fields = differing(task_pb2.TaskSpec.FromString(envelope.spec), conflict.spec)
                errors[conflict.position] = KeyConflict(conflict.task_id, fields)
        return errors

    async def publish(self, tenant: str, ids: Sequence[str]) -> Mapping[str, ServerUnavailable]:
        """Publish or park tasks under their present numbers, and link them. Returns those for which it failed."""
        failed: dict[str, ServerUnavailable] = {}
        for start in range(0, len(ids), _READ):
            part = ids[start : start + _READ]
            try:
                failed.update(await self._publish(tenant, part))
            except ServerUnavailable as error:
                failed.update(dict.fromkeys(part, error))
        return failed

    async def _publish(self, tenant: str, ids: Sequence[str]) -> Mapping[str, ServerUnavailable]:
        records = [record for record in await self._store.get(ids, False) if record is not None]
        again = [record for record in records if record.state in BIRTHS and record.publication <= 1]
        failed = await self._republish(
            [
                Republication(
                    record.id,
                    record.publication if record.state is TaskState.QUEUED else 0,
                    record.envelope,
                )
                for record in again
            ]
        )
        blocked = [record.envelope for record in again if record.state is TaskState.BLOCKED]
        if blocked:
            children = [child_of(envelope_pb2.Envelope.FromString(envelope)) for envelope in blocked]
            await self._linking(tenant, children)
        return failed
