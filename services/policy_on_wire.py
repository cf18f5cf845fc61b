"""The policy as it travels and as it is stored: `forebay.queues.v1.Policy` to the domain's `Policy` and back.

Both ways together are the identity for every policy that may stand, with times to the nanosecond.
"""

from collections.abc import Mapping
from enum import IntEnum
from typing import Final, TypeVar

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError

from forebay.queues.v1 import queue_service_pb2
from scheduler.errors import FieldFault, InvalidInput
from scheduler.policies.policy import DEFAULT_POLICY, LevelMode, Limit, Policy, Routing, TaskOrder
from scheduler.policies.policy_rules import Fault, faults_of
from scheduler.states import Level

_NANOS: Final = 1_000_000_000
E = TypeVar("E", bound=IntEnum)


def to_wire(policy: Policy) -> queue_service_pb2.Policy:
    """Return a policy as it travels, with every field filled in. The policy must be one that may stand."""
    message = queue_service_pb2.Policy(
        ageing_every=policy.ageing_every,
        stretch=policy.stretch,
        expire_early=policy.expire_early,
        tenant_weights=policy.tenant_weights,
        limits=map(_limit_to_wire, policy.limits),
        cost_label=policy.cost_label,
    )
    # Enums of the domain have the numbers of the contract; a test holds them together.
    message.level_mode = policy.level_mode.value  # type: ignore[assignment]
    message.order = policy.order.value  # type: ignore[assignment]
    for level in Level:
        message.weights.add(priority=level.value, weight=policy.weights[level])
    for model, routing in policy.routing.items():
        message.routing[model] = routing.value  # type: ignore[assignment]
    _write(message.ageing, policy.ageing_s)
    _write(message.patience, policy.patience_s)
    _write(message.express_slack, policy.express_slack_s)
    return message


def from_wire(message: queue_service_pb2.Policy) -> tuple[Policy, list[Fault]]:
    """Return the policy that a message means, defaults filled in, and everything that is wrong with it, by the path in
    the message. A policy with faults is not to be used.
    """
    default = DEFAULT_POLICY
    faults: list[Fault] = []
    policy = Policy(
        level_mode=_choice(LevelMode, message.level_mode, default.level_mode, "level_mode", faults),
        weights=_weights(message, faults),
        ageing_s=_read(message.ageing) if message.HasField("ageing") else default.ageing_s,
        ageing_every=message.ageing_every if message.HasField("ageing_every") else default.ageing_every,
        order=_choice(TaskOrder, message.order, default.order, "order", faults),
        stretch=message.stretch if message.HasField("stretch") else default.stretch,
        patience_s=_read(message.patience) if message.HasField("patience") else default.patience_s,
        express_slack_s=_read(message.express_slack)
        if message.HasField("express_slack")
        else default.express_slack_s,
        expire_early=message.expire_early if message.HasField("expire_early") else default.expire_early,
        tenant_weights=dict(message.tenant_weights),
        limits=tuple(map(_limit_of, message.limits)),
        routing={
            model: _choice(Routing, number, default.route(""), f'routing["{model[:128]}"]', faults)
            for model, number in message.routing.items()
        },
        cost_label=message.cost_label if message.HasField("cost_label") else default.cost_label,
    )
    return policy, faults + faults_of(policy)


def stored(policy: Policy) -> bytes:
    """Return what the record store keeps of a policy; equal policies have equal bytes."""
    return to_wire(policy).SerializeToString(deterministic=True)


def restored(body: bytes) -> Policy:
    """Read what the record store keeps. Raises InvalidInput with every fault of a body that means no policy."""
    try:
        message = queue_service_pb2.Policy.FromString(body)
    except DecodeError:
        raise InvalidInput.of("", "the bytes are no policy") from None
    policy, faults = from_wire(message)
    if faults:
        raise InvalidInput([FieldFault(field, fault) for field, fault in faults])
    return policy


def _weights(message: queue_service_pb2.Policy, faults: list[Fault]) -> Mapping[Level, int]:
    weights = dict(DEFAULT_POLICY.weights)
    seen: set[Level] = set()
    for index, entry in enumerate(message.weights):
        path = f"weights[{index}].priority"
        try:
            level = Level(entry.priority)
        except ValueError:
            faults.append((path, f"{entry.priority} is not a priority" if entry.priority else "is required"))
            continue
        if level in seen:
            faults.append((path, f"{level.label} has a weight already"))
        seen.add(level)
        weights[level] = entry.weight
    return weights


def _limit_to_wire(limit: Limit) -> queue_service_pb2.Limit:
    message = queue_service_pb2.Limit(
        tenant=limit.tenant,
        shared=limit.shared,
        queued_tasks=limit.queued_tasks,
        rate=limit.rate,
        burst=limit.burst,
    )
    message.priority = limit.level  # type: ignore[assignment]  # levels have the numbers of priorities
    if limit.queued_work_s:
        _write(message.queued_work, limit.queued_work_s)
    return message


def _limit_of(message: queue_service_pb2.Limit) -> Limit:
    return Limit(
        message.tenant,
        message.priority,
        message.shared,
        message.queued_tasks,
        _read(message.queued_work),
        message.rate,
        message.burst,
    )


def _choice(kind: type[E], number: int, default: E, path: str, faults: list[Fault]) -> E:
    """Return the member with a number; 0 stands for the default, and an unknown one is a fault."""
    if not number:
        return default
    try:
        return kind(number)
    except ValueError:
        names = ", ".join(f"{one.value} {one.name}" for one in kind)
        faults.append((path, f"{number} is none of {names}"))
        return default


def _write(field: Duration, seconds: float) -> None:
    whole = int(seconds)
    nanos = round((seconds - whole) * _NANOS)
    carry, field.nanos = divmod(nanos, _NANOS)
    field.seconds = whole + carry


def _read(field: Duration) -> float:
    # A quotient of whole numbers is rounded once; a sum of seconds and nanoseconds would be rounded twice.
    return (field.seconds * _NANOS + field.nanos) / _NANOS
