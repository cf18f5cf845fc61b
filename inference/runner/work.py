"""From an assignment, as a scheduler sent it, to a request for the engine."""

import hashlib
from math import inf
from typing import Final

from google.protobuf.message import DecodeError

from forebay.dispatch.v1.dispatch_service_pb2 import Assignment
from forebay.tasks.v1.task_pb2 import RetryPolicy, TaskSpec
from inference.convert import request_of
from inference.engine import EmbedRequest, EngineKind, GenerateRequest, ModelCard, Request
from inference.runner.held import DEFAULT_BACKOFF, Held, Source
from inference.runner.job import LEVELS
from observability import names
from scheduler.errors import EnvelopeDamaged, InvalidInput
from scheduler.policies.failures import Backoff
from scheduler.states import Level

OF_INPUT: Final = {EngineKind.TENSOR: "tensors", EngineKind.GENERATE: "generate", EngineKind.EMBED: "embed"}
"""The field of an input that a kind of model takes."""


def hold(assignment: Assignment, source: Source, received_s: float) -> Held:
    """Note an assignment, without its request: `prepare` reads that."""
    envelope = assignment.envelope
    task_id, attempt = envelope.id, assignment.attempt
    # The lease tells what the store's clock said when the task was assigned.
    left_ms = envelope.deadline_ms - assignment.lease_time_ms
    return Held(
        f"{task_id}#{attempt}",
        LEVELS.get(envelope.priority, Level.NORMAL),
        received_s,
        task_id,
        attempt,
        source,
        envelope.create_time_ms,
        assignment.lease_time_ms,
        due_s=received_s + left_ms / 1000 if envelope.deadline_ms else inf,
        traceparent=assignment.traceparent,
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
    check_kind(request, card.kind, spec.model)
    held.operation = operation_of(request)
    held.request = request


def check_kind(request: Request, kind: EngineKind, model: str) -> None:
    """Raise InvalidInput for a request that is none for a model of this kind."""
    given = EngineKind.TENSOR
    if isinstance(request, GenerateRequest):
        given = EngineKind.GENERATE
    elif isinstance(request, EmbedRequest):
        given = EngineKind.EMBED
    if given is not kind:
        raise InvalidInput.of(OF_INPUT[given], f"model {model} takes {OF_INPUT[kind]}")


def operation_of(request: Request) -> str:
    """Return what a generation does, by OpenTelemetry's name; empty for all else."""
    if not isinstance(request, GenerateRequest):
        return ""
    return names.GEN_AI_CHAT if request.messages else names.GEN_AI_TEXT_COMPLETION


def _backoff_of(policy: RetryPolicy) -> Backoff:
    """Read the rests of a policy; what it leaves out has the contract's default."""
    default = DEFAULT_BACKOFF
    return Backoff(
        policy.initial_backoff.ToMilliseconds() if policy.HasField("initial_backoff") else default.initial_ms,
        policy.max_backoff.ToMilliseconds() if policy.HasField("max_backoff") else default.longest_ms,
        policy.multiplier or default.multiplier,
    )
