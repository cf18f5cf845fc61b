"""The policy: how tasks are ordered, limited and routed. What it is, what may be changed, and both on the wire."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, TypedDict

from google.protobuf.duration_pb2 import Duration

from forebay.client import reading
from forebay.client.specs import PRIORITIES, priority_number
from forebay.client.tasks import Priority
from forebay.queues.v1.queue_service_pb2 import (
    GetPolicyResponse,
    LevelMode,
    Limit,
    Routing,
    TaskOrder,
    UpdatePolicyRequest,
    UpdatePolicyResponse,
)

_LEVELS: Final = {number: priority for priority, number in PRIORITIES.items()}
_NANOS: Final = 1_000_000_000
_SECONDS: Final = {"ageing_s": "ageing", "patience_s": "patience", "express_slack_s": "express_slack"}
"""Names here -> names in the contract, where they differ."""


@dataclass(frozen=True, slots=True)
class PolicyLimit:
    """A bound on what may wait; 0 bounds nothing. At least one of `queued_tasks`, `queued_work_s` and `rate`."""

    tenant: str = ""
    """For this tenant; empty for each tenant by itself."""
    priority: Priority | str | None = None
    """For tasks of this level; None for all levels together, of which the lower ones are refused first."""
    shared: bool = False
    """For all tenants together; not with `tenant`."""
    queued_tasks: int = 0
    """Most tasks that wait in queues."""
    queued_work_s: float = 0.0
    """Most expected work that waits in queues, in seconds of one runner."""
    rate: float = 0.0
    """Most tasks accepted per second, in the long run, by each gateway."""
    burst: int = 0
    """Most tasks accepted at once beyond `rate`; 0 for two seconds' worth of it."""


@dataclass(frozen=True, slots=True)
class PolicyInfo:
    """The policy that stands. Fields have the meaning that docs/scheduling.md explains."""

    version: int
    """Grows by one with each change; 0 for the one that the platform was started with."""
    update_time: datetime | None
    """When it was changed; None for version 0."""
    level_mode: str
    """`weighted` or `strict`."""
    weights: Mapping[Priority, int]
    ageing_s: float
    """0 for never."""
    ageing_every: int
    order: str
    """`fifo`, `shortest`, `deadline` or `balanced`."""
    stretch: float
    patience_s: float
    express_slack_s: float
    """0 for never."""
    expire_early: bool
    tenant_weights: Mapping[str, float]
    limits: tuple[PolicyLimit, ...]
    routing: Mapping[str, str]
    """By model; the empty name stands for every other model."""
    cost_label: str


class PolicyChanges(TypedDict, total=False):
    """What `update_policy` may change. Each replaces the whole field; None takes it back to its default."""

    level_mode: str | None
    weights: Mapping[Priority, int] | Mapping[str, int] | None
    """A level that is absent goes back to its default."""
    ageing_s: float | None
    ageing_every: int | None
    order: str | None
    stretch: float | None
    patience_s: float | None
    express_slack_s: float | None
    expire_early: bool | None
    tenant_weights: Mapping[str, float] | None
    limits: Sequence[PolicyLimit] | None
    routing: Mapping[str, str] | None
    cost_label: str | None


def info(answer: GetPolicyResponse | UpdatePolicyResponse) -> PolicyInfo:
    """Read a policy."""
    policy = answer.policy
    return PolicyInfo(
        version=answer.version,
        update_time=reading.time(answer.update_time) if answer.HasField("update_time") else None,
        level_mode=_word(LevelMode.Name(policy.level_mode), "LEVEL_MODE_"),
        weights={_LEVELS[one.priority]: one.weight for one in policy.weights if one.priority in _LEVELS},
        ageing_s=reading.seconds(policy.ageing),
        ageing_every=policy.ageing_every,
        order=_word(TaskOrder.Name(policy.order), "TASK_ORDER_"),
        stretch=policy.stretch,
        patience_s=reading.seconds(policy.patience),
        express_slack_s=reading.seconds(policy.express_slack),
        expire_early=policy.expire_early,
        tenant_weights=dict(policy.tenant_weights),
        limits=tuple(map(_limit, policy.limits)),
        routing={model: _word(Routing.Name(number), "ROUTING_") for model, number in policy.routing.items()},
        cost_label=policy.cost_label,
    )


def request(changes: PolicyChanges, version: int | None) -> UpdatePolicyRequest:
    """Return the request for changes. Raises TypeError for a field that there is not, and where none is to be changed;
    ValueError for a word that is none of its kind.
    """
    unknown = changes.keys() - PolicyChanges.__annotations__.keys()
    if unknown:
        raise TypeError(f"unknown fields of a policy: {', '.join(sorted(unknown))}")
    if not changes:
        raise TypeError("nothing is to be changed: give at least one field of PolicyChanges")
    asked = UpdatePolicyRequest(update_mask=[_SECONDS.get(name, name) for name in changes], version=version)
    policy = asked.policy
    for name, value in changes.items():
        if value is not None and name in _PLAIN:
            setattr(policy, name, value)
    for name, field in _SECONDS.items():
        _write(getattr(policy, field), changes.get(name))  # type: ignore[arg-type]  # None or a number of seconds
    if (mode := changes.get("level_mode")) is not None:
        policy.level_mode = LevelMode.Value(_name("level_mode", "LEVEL_MODE_", mode, LevelMode.keys()))
    if (order := changes.get("order")) is not None:
        policy.order = TaskOrder.Value(_name("order", "TASK_ORDER_", order, TaskOrder.keys()))
    for level, weight in (changes.get("weights") or {}).items():
        policy.weights.add(priority=priority_number(level), weight=weight)
    policy.tenant_weights.update(changes.get("tenant_weights") or {})
    policy.limits.extend(map(_limit_on_wire, changes.get("limits") or ()))
    for model, word in (changes.get("routing") or {}).items():
        policy.routing[model] = Routing.Value(_name("routing", "ROUTING_", word, Routing.keys()))
    return asked


_PLAIN: Final = ("ageing_every", "stretch", "expire_early", "cost_label")
"""Fields that are the same here and on the wire."""


def _limit(limit: Limit) -> PolicyLimit:
    return PolicyLimit(
        tenant=limit.tenant,
        priority=_LEVELS.get(limit.priority),
        shared=limit.shared,
        queued_tasks=limit.queued_tasks,
        queued_work_s=reading.seconds(limit.queued_work),
        rate=limit.rate,
        burst=limit.burst,
    )


def _limit_on_wire(limit: PolicyLimit) -> Limit:
    made = Limit(
        tenant=limit.tenant,
        shared=limit.shared,
        queued_tasks=limit.queued_tasks,
        rate=limit.rate,
        burst=limit.burst,
    )
    if limit.priority is not None:
        made.priority = priority_number(limit.priority)
    if limit.queued_work_s:
        _write(made.queued_work, limit.queued_work_s)
    return made


def _name(field: str, prefix: str, word: str, names: Sequence[str]) -> str:
    """Return the name of an enum's member for a word. Raises ValueError."""
    name = f"{prefix}{word}".upper()
    known = [_word(one, prefix) for one in names]
    if word.lower() not in filter(None, known):
        raise ValueError(f"{field} {word!r} is none of {', '.join(filter(None, known))}")
    return name


def _word(name: str, prefix: str) -> str:
    word = name.removeprefix(prefix).lower()
    return "" if word == "unspecified" else word


def _write(field: Duration, seconds: float | None) -> None:
    """Write a length of time; None leaves the field absent."""
    if seconds is None:
        return
    whole = int(seconds)
    carry, nanos = divmod(round((seconds - whole) * _NANOS), _NANOS)
    # A zero would leave the field absent unless it is set as a whole.
    field.CopyFrom(Duration(seconds=whole + carry, nanos=nanos))
