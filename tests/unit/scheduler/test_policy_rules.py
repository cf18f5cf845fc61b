"""Rules for policies, each with what breaks it."""

import math
from dataclasses import replace
from typing import Any

import pytest

from scheduler.policies.policy import DEFAULT_POLICY, LevelMode, Limit, Policy, Routing, TaskOrder
from scheduler.policies.policy_rules import MAX_LIMITS, MAX_ROUTES, MAX_TENANTS, faults_of, is_tenant
from scheduler.states import Level

ROUTES = {str(n): Routing.WEIGHTED for n in range(MAX_ROUTES + 1)}
TENANTS = {str(n): 1.0 for n in range(MAX_TENANTS + 1)}
REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"weights": {**DEFAULT_POLICY.weights, Level.LOW: 0}}, "weights.low", "must be 1 to 1000000, is 0"),
    ({"weights": {Level.LOW: 1}}, "weights.critical", "must be 1 to"),
    ({"weights": {**DEFAULT_POLICY.weights, Level.HIGH: 1_000_001}}, "weights.high", "is 1000001"),
    ({"level_mode": LevelMode.STRICT, "ageing_s": 0.0}, "ageing", "low levels would never start"),
    ({"ageing_s": 0.5}, "ageing", "must be 1 to 604800 seconds, or 0 for never, is 0.5"),
    ({"ageing_s": -1.0}, "ageing", "is -1"),
    ({"ageing_s": 604_801.0}, "ageing", "is 604801"),
    ({"ageing_s": math.nan}, "ageing", "is nan"),
    ({"ageing_every": 1}, "ageing_every", "must be 2 to 1000, is 1"),
    ({"ageing_every": 1001}, "ageing_every", "is 1001"),
    ({"stretch": -0.1}, "stretch", "must be 0 to 1000, is -0.1"),
    ({"stretch": math.inf}, "stretch", "is inf"),
    ({"patience_s": 0.0}, "patience", "must be 1 to 604800 seconds, is 0"),
    ({"express_slack_s": 86_401.0}, "express_slack", "must be 0 to 86400 seconds"),
    ({"tenant_weights": {"a": 0.0}}, 'tenant_weights["a"]', "must be above 0 and at most 1000000, is 0"),
    ({"tenant_weights": {"a": math.nan}}, 'tenant_weights["a"]', "is nan"),
    ({"tenant_weights": {"": 1.0}}, "tenant_weights", "must be 1 to 128 printable characters"),
    ({"tenant_weights": {"a\n": 1.0}}, "tenant_weights", "must be 1 to 128 printable characters"),
    ({"tenant_weights": TENANTS}, "tenant_weights", "must have at most 10000 tenants, has 10001"),
    ({"limits": (Limit(),)}, "limits[0]", "bounds nothing"),
    ({"limits": (Limit(tenant="a", burst=4),)}, "limits[0].burst", "must not be set without rate"),
    ({"limits": (Limit("a", shared=True, rate=1),)}, "limits[0].shared", "not be set together with tenant"),
    ({"limits": (Limit(level=5, rate=1),)}, "limits[0].priority", "5 is not a priority"),
    ({"limits": (Limit("x" * 129, rate=1),)}, "limits[0].tenant", "must be 1 to 128 printable characters"),
    ({"limits": (Limit(queued_tasks=-1),)}, "limits[0].queued_tasks", "is -1"),
    ({"limits": (Limit(queued_work_s=-1.0),)}, "limits[0].queued_work", "is -1"),
    ({"limits": (Limit(rate=math.nan),)}, "limits[0].rate", "is nan"),
    ({"limits": (Limit(rate=1_000_001),)}, "limits[0].rate", "must be 0 to 1000000, is 1000001"),
    ({"limits": (Limit(rate=1, burst=1_000_001),)}, "limits[0].burst", "is 1000001"),
    ({"limits": (Limit(rate=1), Limit(rate=2))}, "limits[1]", "is for the same tasks as limits[0]"),
    ({"limits": (Limit(rate=1),) * (MAX_LIMITS + 1)}, "limits", "must be at most 1000, are 1001"),
    ({"routing": {"a b": Routing.WEIGHTED}}, "routing", "must be at most 128 letters"),
    ({"routing": ROUTES}, "routing", "must have at most 1000 models, has 1001"),
    ({"cost_label": "k" * 64}, "cost_label", "must be at most 63 characters long, has 64"),
]

ALLOWED: list[dict[str, Any]] = [
    {},
    {"level_mode": LevelMode.STRICT, "ageing_s": 1.0},
    {"ageing_s": 0.0, "stretch": 0.0, "express_slack_s": 0.0, "order": TaskOrder.DEADLINE},
    {
        "limits": (
            Limit(rate=1),
            Limit(rate=2, shared=True),
            Limit("a", rate=3),
            Limit("a", 4, queued_tasks=1),
        )
    },
    {"routing": {"": Routing.ROUND_ROBIN, "m-1.5_b": Routing.PREFIX_AFFINITY}},
    {"tenant_weights": {"Acme Ltd": 0.001}, "cost_label": ""},
]


@pytest.mark.parametrize(("change", "field", "sentence"), REFUSED)
def test_a_policy_is_refused_by_field_with_a_sentence(
    change: dict[str, Any], field: str, sentence: str
) -> None:
    found = [fault for path, fault in faults_of(replace(DEFAULT_POLICY, **change)) if path == field]
    assert len(found) == 1
    assert sentence in found[0]


@pytest.mark.parametrize("change", ALLOWED)
def test_a_policy_that_may_stand_has_no_faults(change: dict[str, Any]) -> None:
    assert faults_of(replace(DEFAULT_POLICY, **change)) == []


def test_every_fault_is_told_at_once() -> None:
    bad = Policy(ageing_every=0, stretch=-1, limits=(Limit(), Limit("a", shared=True)))
    assert [path for path, _ in faults_of(bad)] == [
        "ageing_every",
        "stretch",
        "limits[0]",
        "limits[1].shared",
        "limits[1]",
    ]


def test_a_tenants_name_is_short_and_printable() -> None:
    assert is_tenant("acme") and is_tenant("ä" * 128)
    assert not any(map(is_tenant, ("", "a" * 129, "a\0", "a\tb")))
