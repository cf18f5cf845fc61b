"""From an assignment, as a scheduler sent it, to a request for the engine."""

import hashlib
from typing import Final

from google.protobuf.message import DecodeError

from forebay.dispatch.v1.dispatch_service_pb2 import Assignment
from forebay.tasks.v1.task_pb2 import RetryPolicy, TaskSpec
from inference.convert import request_of
from inference.engine import EngineKind, GenerateRequest, ModelCard
from inference.runner.held import DEFAULT_BACKOFF, Held, Source
from observability import names
from scheduler.errors import EnvelopeDamaged, InvalidInput
from scheduler.policies.failures import Backoff
from scheduler.states import Level

_LEVELS: Final[dict[int, Level]] = {level.value: level for level in Level}


def hold(assignment: Assignment, source: Source, received_s: float) -> Held:
    """Note an assignment, without its request: `prepare` reads that."""
    envelope = assignment.envelope
    task_id, attempt = envelope.id, assignment.attempt
    return Held(
        f"{task_id}#{attempt}",
        task_id,
        attempt,
        _LEVELS.get(envelope.priority, Level.NORMAL),
        source,
        envelope.create_time_ms,
        assignment.lease_time_ms,
        assignment.traceparent,
        received_s,
        deadline_ms=envelope.deadline_ms,
        max_attempts=envelope.max_attempts,
        isolation=assignment.isolation,
    )


def prepare(held: Held, assignment: Assignment, card: ModelCard) -> None:
    """Check the envelope and put the request for the engine into `held`.

    Raises EnvelopeDamaged when it is not what was accepted, InvalidInput when this model cannot take it.
    """
    envelope = assignment.envelope
    if hashlib.sha256(envelope.spec).digest() != envelope.sha256:
        raise EnvelopeDamaged("the task's specification does not have the checksum that it was accepted with")
    try:
        spec = TaskSpec.FromString(envelope.spec)
    except DecodeError:
        raise EnvelopeDamaged("the task's specification cannot be parsed")
    if spec.HasField("retry"):
        held.backoff = _backoff_of(spec.retry)
    request = request_of(spec, level=held.level, tenant=envelope.tenant)
    generates = isinstance(request, GenerateRequest)
    if generates != (card.kind is EngineKind.GENERATE):
        given, taken = ("generate", "tensors") if generates else ("tensors", "generate")
        raise InvalidInput.of(given, f"model {spec.model} takes {taken}")
    if isinstance(request, GenerateRequest):
        held.operation = names.GEN_AI_CHAT if request.messages else names.GEN_AI_TEXT_COMPLETION
    held.request = request


def _backoff_of(policy: RetryPolicy) -> Backoff:
    """Read the rests of a policy; what it leaves out has the contract's default."""
    default = DEFAULT_BACKOFF
    return Backoff(
        policy.initial_backoff.ToMilliseconds() if policy.HasField("initial_backoff") else default.initial_ms,
        policy.max_backoff.ToMilliseconds() if policy.HasField("max_backoff") else default.longest_ms,
        policy.multiplier or default.multiplier,
    )
