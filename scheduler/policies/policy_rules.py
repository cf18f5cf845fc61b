"""Which policies may stand: ranges, names, and settings that contradict each other.

Every fault is a pair: the path of the field, as `forebay.queues.v1.Policy` names it, and a sentence without it. Called
by whoever takes a policy in: settings at start, UpdatePolicy, and processes that follow the stored one.
"""

import re
from collections.abc import Iterable
from typing import Final

from scheduler.policies.policy import LevelMode, Limit, Policy
from scheduler.states import Level

Fault = tuple[str, str]

DAY_S: Final = 86_400
WEEK_S: Final = 7 * DAY_S
MAX_WEIGHT: Final = 1_000_000
MAX_RATE: Final = 1_000_000
MAX_TENANTS: Final = 10_000
MAX_LIMITS: Final = 1000
MAX_ROUTES: Final = 1000
MAX_TENANT: Final = 128
MAX_LABEL: Final = 63
MAX_COUNT: Final = (1 << 63) - 1
"""What an int64 of the contract holds."""
MAX_DURATION_S: Final = 315_576_000_000
"""What a google.protobuf.Duration holds."""

_MODEL: Final = re.compile(r"[A-Za-z0-9._-]{1,128}")
_LEVELS: Final = frozenset(map(int, Level))
_TENANT_RULE: Final = f"a tenant's name must be 1 to {MAX_TENANT} printable characters"


def faults_of(policy: Policy) -> list[Fault]:
    """Return everything that is wrong with a policy, in the order of its fields; nothing for one that may stand."""
    return [
        *_level_faults(policy),
        *_order_faults(policy),
        *_tenant_faults(policy),
        *_limits_faults(policy.limits),
        *_routing_faults(policy),
        *(
            [("cost_label", f"must be at most {MAX_LABEL} characters long, has {len(policy.cost_label)}")]
            if len(policy.cost_label) > MAX_LABEL
            else ()
        ),
    ]


def is_tenant(name: str) -> bool:
    """Whether this can be the name of a tenant."""
    return 1 <= len(name) <= MAX_TENANT and name.isprintable()


def _level_faults(policy: Policy) -> Iterable[Fault]:
    for level in Level:
        yield from _between(f"weights.{level.label}", policy.weights.get(level, 0), 1, MAX_WEIGHT)
    if policy.ageing_s == 0:
        if policy.level_mode is LevelMode.STRICT:
            yield "ageing", "must not be 0 where levels are strict: low levels would never start"
    else:
        yield from _between("ageing", policy.ageing_s, 1, WEEK_S, " seconds, or 0 for never")
    yield from _between("ageing_every", policy.ageing_every, 2, 1000)


def _order_faults(policy: Policy) -> Iterable[Fault]:
    yield from _between("stretch", policy.stretch, 0, 1000)
    yield from _between("patience", policy.patience_s, 1, WEEK_S, " seconds")
    yield from _between("express_slack", policy.express_slack_s, 0, DAY_S, " seconds")


def _tenant_faults(policy: Policy) -> Iterable[Fault]:
    weights = policy.tenant_weights
    if len(weights) > MAX_TENANTS:
        yield "tenant_weights", f"must have at most {MAX_TENANTS} tenants, has {len(weights)}"
        return
    for tenant, weight in weights.items():
        if not is_tenant(tenant):
            yield "tenant_weights", _TENANT_RULE
        # Written so that NaN, which compares as false with everything, is refused too.
        elif not 0 < weight <= MAX_WEIGHT:
            yield f'tenant_weights["{tenant}"]', f"must be above 0 and at most {MAX_WEIGHT}, is {weight:g}"


def _limits_faults(limits: tuple[Limit, ...]) -> Iterable[Fault]:
    if len(limits) > MAX_LIMITS:
        yield "limits", f"must be at most {MAX_LIMITS}, are {len(limits)}"
        return
    first: dict[tuple[str, int, bool], int] = {}
    for index, limit in enumerate(limits):
        path = f"limits[{index}]"
        for field, fault in _limit_faults(limit):
            yield f"{path}.{field}".rstrip("."), fault
        same = first.setdefault((limit.tenant, limit.level, limit.shared), index)
        if same != index:
            yield path, f"is for the same tasks as limits[{same}]: one of them must go, or both become one"


def _limit_faults(limit: Limit) -> Iterable[Fault]:
    if limit.tenant and not is_tenant(limit.tenant):
        yield "tenant", _TENANT_RULE
    if limit.level and limit.level not in _LEVELS:
        yield "priority", f"{limit.level} is not a priority"
    if limit.shared and limit.tenant:
        yield "shared", "must not be set together with tenant: a limit is for one tenant, or for all together"
    yield from _between("queued_tasks", limit.queued_tasks, 0, MAX_COUNT)
    yield from _between("queued_work", limit.queued_work_s, 0, MAX_DURATION_S, " seconds")
    yield from _between("rate", limit.rate, 0, MAX_RATE)
    yield from _between("burst", limit.burst, 0, MAX_RATE)
    if limit.burst and not limit.rate:
        yield "burst", "must not be set without rate"
    if not (limit.queued_tasks or limit.queued_work_s or limit.rate):
        yield "", "bounds nothing: give queued_tasks, queued_work or rate"


def _routing_faults(policy: Policy) -> Iterable[Fault]:
    if len(policy.routing) > MAX_ROUTES:
        yield "routing", f"must have at most {MAX_ROUTES} models, has {len(policy.routing)}"
        return
    for model in policy.routing:
        if model and not _MODEL.fullmatch(model):
            yield "routing", "a model's name must be at most 128 letters, digits, '.', '_' or '-'"


def _between(path: str, value: float, least: float, most: float, unit: str = "") -> Iterable[Fault]:
    if not least <= value <= most:
        yield path, f"must be {least} to {most}{unit}, is {value:.15g}"
