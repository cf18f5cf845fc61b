"""ReplayTasks: dead letters as new tasks, with edits. Called by `task_service.py`.

The new task has an idempotency key made of the letter's id, so a letter makes one task however often a call is
repeated; the letter is taken off the list only when that task is accepted.
"""

from collections.abc import AsyncIterator, Collection, Sequence
from typing import Final

from forebay.tasks.v1 import envelope_pb2, task_pb2, task_service_pb2
from scheduler.errors import DeadLetterNotFound, FieldFault, ForebayError, InvalidInput, NotReplayable
from scheduler.ports.clock import Clock
from scheduler.ports.records import Admission
from services.gateway import convert
from services.gateway.accepting import AcceptOnce, Order
from services.gateway.caller import Caller
from services.gateway.dead_letters import DeadLetters, Letter, matches
from services.gateway.request_validation import MAX_IDS, check_target
from services.gateway.validation import MAX_FAULTS, MAX_TASK_BYTES, spec_faults
from services.status import to_status

_BATCH: Final = 250
_OWN: Final = ("idempotency_key", "depends_on", "inputs_from", "on_parent_failure")
"""What a replay never takes over: its parents have ended, and their outputs are in the spec."""
_FIXED: Final = frozenset(_OWN[:3])
_FIELDS: Final = frozenset(field.name for field in task_pb2.TaskSpec.DESCRIPTOR.fields)


class ReplayTasks:
    """The use case."""

    def __init__(
        self, letters: DeadLetters, accept: AcceptOnce, pools: Collection[str], clock: Clock
    ) -> None:
        self._letters = letters
        self._accept = accept
        self._pools = frozenset(pools)
        self._clock = clock

    async def __call__(
        self, caller: Caller, request: task_service_pb2.ReplayTasksRequest
    ) -> task_service_pb2.ReplayTasksResponse:
        """Submit letters again; each is answered by itself. Raises InvalidInput, Overloaded, and ServerUnavailable,
        which leaves open what was submitted; the same call again is harmless.
        """
        check_target(request)
        _check_mask(request.edit_mask)
        response = task_service_pb2.ReplayTasksResponse()
        async for ids, letters in self._batches(caller, request):
            outcomes = await self._replay(caller, letters, request)
            for letter_id in ids:
                outcome = outcomes.get(letter_id, DeadLetterNotFound(letter_id))
                result = response.results.add(id=letter_id)
                if isinstance(outcome, ForebayError):
                    result.error.CopyFrom(to_status(outcome))
                else:
                    convert.fill_accepted(result.task, outcome, caller.tenant)
        return response

    async def _batches(
        self, caller: Caller, request: task_service_pb2.ReplayTasksRequest
    ) -> AsyncIterator[tuple[Sequence[str], Sequence[Letter]]]:
        """Yield ids with the letters that there are of them."""
        if request.WhichOneof("target") == "tasks":
            for start in range(0, len(request.tasks.ids), _BATCH):
                ids = request.tasks.ids[start : start + _BATCH]
                yield ids, list((await self._letters.named(caller, ids)).values())
            return
        batch: list[Letter] = []
        found = 0
        async for letter in self._letters.newest_first(caller, "", None):
            if matches(letter, request.filter):
                batch.append(letter)
                found += 1
            if len(batch) == _BATCH or found == MAX_IDS:
                yield [letter.id for letter in batch], batch
                batch = []
            if found == MAX_IDS:
                return
        yield [letter.id for letter in batch], batch

    async def _replay(
        self, caller: Caller, letters: Sequence[Letter], request: task_service_pb2.ReplayTasksRequest
    ) -> dict[str, Admission | ForebayError]:
        outcomes: dict[str, Admission | ForebayError] = {}
        orders: list[Order] = []
        for letter in letters:
            if letter.unreadable:
                outcomes[letter.id] = NotReplayable(letter.id)
                continue
            spec = edited(letter, request, self._clock.now_ms())
            faults = spec_faults(spec, self._pools, dependent=False)
            if spec.ByteSize() > MAX_TASK_BYTES:
                faults.append(("", f"must be at most {MAX_TASK_BYTES} bytes long, is {spec.ByteSize()}"))
            if faults:
                shown = faults[:MAX_FAULTS]
                outcomes[letter.id] = InvalidInput(
                    [FieldFault(f"edits.{f}".rstrip("."), w) for f, w in shown]
                )
            else:
                orders.append(Order(spec, replay_of=letter.id))
        accepted = await self._accept(caller.tenant, orders)
        outcomes.update((order.replay_of, one) for order, one in zip(orders, accepted, strict=True))
        done = [order.replay_of for order in orders if isinstance(outcomes[order.replay_of], Admission)]
        await self._letters.remove(caller, done)
        return outcomes


def edited(letter: Letter, request: task_service_pb2.ReplayTasksRequest, now_ms: int) -> task_pb2.TaskSpec:
    """Return the spec of a letter's replay. A deadline that has passed is left out: it would expire at once."""
    envelope = envelope_pb2.Envelope.FromString(letter.record.envelope)
    spec = task_pb2.TaskSpec.FromString(envelope.spec)
    for name in _OWN:
        spec.ClearField(name)
    if convert.deadline_ms_of(spec) <= now_ms:
        spec.ClearField("deadline")
    for name in request.edit_mask:
        spec.ClearField(name)  # type: ignore[arg-type]
    part = task_pb2.TaskSpec()
    part.CopyFrom(request.edits)
    for name in _FIELDS.difference(request.edit_mask):
        part.ClearField(name)  # type: ignore[arg-type]  # names of its fields
    spec.MergeFrom(part)
    spec.idempotency_key = f"replay/{letter.id}"
    return spec


def _check_mask(mask: Sequence[str]) -> None:
    faults = [
        FieldFault(f"edit_mask[{place}]", "cannot be edited" if name in _FIXED else "is no field of TaskSpec")
        for place, name in enumerate(mask)
        if name in _FIXED or name not in _FIELDS
    ]
    if faults:
        raise InvalidInput(faults[:MAX_FAULTS])
