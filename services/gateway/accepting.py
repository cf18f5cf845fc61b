"""Submits tasks that the gateway makes itself, of dead letters and schedules, each at most once. Called by `replay.py`
and `running_schedules.py`.

Their idempotency keys are of the gateway's making, so a key that is known means that the task was made before, also
where its body differs (other edits, another deadline): that task is the answer then.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from forebay.tasks.v1 import envelope_pb2, task_pb2
from scheduler.errors import ForebayError, KeyConflict
from scheduler.ports.records import Admission, Admitted, QueryStore
from services.gateway.submit import Submit

_BATCH: Final = 250


class Order(NamedTuple):
    """A task that the gateway wants made; its key is in the spec."""

    spec: task_pb2.TaskSpec
    replay_of: str = ""
    schedule: str = ""


class AcceptOnce:
    """Submits orders."""

    def __init__(self, submit: Submit, store: QueryStore) -> None:
        self._submit = submit
        self._store = store

    async def __call__(self, tenant: str, orders: Sequence[Order]) -> list[Admission | ForebayError]:
        """Return what became of each, in order; the schedule must be the same for all. Raises as `Submit` does."""
        outcomes: list[Admission | ForebayError] = []
        for start in range(0, len(orders), _BATCH):
            part = orders[start : start + _BATCH]
            answers = await self._submit(
                tenant,
                [order.spec for order in part],
                sum(order.spec.ByteSize() for order in part),
                replay_of=[order.replay_of for order in part],
                schedule=part[0].schedule,
            )
            for order, answer in zip(part, answers, strict=True):
                known = isinstance(answer, KeyConflict)
                outcomes.append(await self._known(tenant, order, answer) if known else answer)
        return outcomes

    async def _known(
        self, tenant: str, order: Order, conflict: Admission | ForebayError
    ) -> Admission | ForebayError:
        """Return the task that has the key, if it was made of the same order; else the conflict."""
        if not isinstance(conflict, KeyConflict):
            return conflict
        record = (await self._store.get([conflict.task_id], False))[0]
        if record is None or record.tenant != tenant:
            return conflict
        envelope = envelope_pb2.Envelope.FromString(record.envelope)
        if (envelope.replay_of, envelope.schedule) != (order.replay_of, order.schedule):
            return conflict
        return Admission(
            Admitted.EXISTING, record.id, record.state, record.publication, record.create_time_ms
        )
