"""The policy as the client says it and reads it."""

from dataclasses import replace
from typing import Any

import pytest

from forebay.client import AsyncClient, PolicyChanges, PolicyInfo, PolicyLimit, Priority, Unavailable
from forebay.client.policies import request
from forebay.queues.v1 import queue_service_pb2 as queues
from forebay.tasks.v1.task_pb2 import PRIORITY_HIGH, PRIORITY_LOW
from tests.unit.sdk.test_operating import NOON, Script

Wire: Any = queues.Policy
POLICY = Wire(
    level_mode=queues.LEVEL_MODE_STRICT,
    weights=[{"priority": PRIORITY_HIGH, "weight": 5}, {"priority": PRIORITY_LOW, "weight": 1}],
    ageing={"seconds": 60, "nanos": 500_000_000},
    ageing_every=4,
    order=queues.TASK_ORDER_SHORTEST,
    stretch=2.5,
    patience={"seconds": 600},
    express_slack={},
    expire_early=False,
    tenant_weights={"a": 3.0},
    limits=[
        {"tenant": "a", "priority": PRIORITY_LOW, "queued_tasks": 5, "queued_work": {"seconds": 90}},
        {"shared": True, "rate": 0.5, "burst": 2},
    ],
    routing={"": queues.ROUTING_ROUND_ROBIN, "m": queues.ROUTING_PREFIX_AFFINITY},
    cost_label="kind",
)
LIMITS = (
    PolicyLimit("a", Priority.LOW, queued_tasks=5, queued_work_s=90.0),
    PolicyLimit(shared=True, rate=0.5, burst=2),
)
READ = PolicyInfo(
    version=3,
    update_time=NOON,
    level_mode="strict",
    weights={Priority.HIGH: 5, Priority.LOW: 1},
    ageing_s=60.5,
    ageing_every=4,
    order="shortest",
    stretch=2.5,
    patience_s=600.0,
    express_slack_s=0.0,
    expire_early=False,
    tenant_weights={"a": 3.0},
    limits=LIMITS,
    routing={"": "round_robin", "m": "prefix_affinity"},
    cost_label="kind",
)
EVERYTHING: PolicyChanges = {
    "level_mode": "strict",
    "weights": {"high": 5, "low": 1},
    "ageing_s": 60.5,
    "ageing_every": 4,
    "order": "Shortest",
    "stretch": 2.5,
    "patience_s": 600,
    "express_slack_s": 0,
    "expire_early": False,
    "tenant_weights": {"a": 3.0},
    "limits": [replace(LIMITS[0], priority="low"), LIMITS[1]],
    "routing": {"": "round_robin", "m": "prefix_affinity"},
    "cost_label": "kind",
}


def answer(kind: Any) -> Any:
    made = kind(policy=POLICY, version=3)
    made.update_time.FromDatetime(NOON)
    return made


async def test_a_policy_is_read() -> None:
    client = AsyncClient.over(Script(answer(queues.GetPolicyResponse)))
    assert await client.policy() == READ


async def test_the_first_policy_was_never_changed() -> None:
    client = AsyncClient.over(Script(queues.GetPolicyResponse(policy=POLICY)))
    shown = await client.policy()
    assert (shown.version, shown.update_time) == (0, None)


async def test_every_field_is_changed_by_its_name() -> None:
    script = Script(answer(queues.UpdatePolicyResponse))
    assert await AsyncClient.over(script).update_policy(version=2, **EVERYTHING) == READ
    [asked] = script.asked
    assert (asked.policy, asked.version) == (POLICY, 2)
    assert sorted(asked.update_mask) == sorted(field.name for field in Wire.DESCRIPTOR.fields)


async def test_none_takes_a_field_back_to_its_default() -> None:
    asked = request({"ageing_s": None, "limits": None, "order": None, "stretch": None}, None)
    assert list(asked.update_mask) == ["ageing", "limits", "order", "stretch"]
    assert asked.policy == queues.Policy()
    assert not asked.HasField("version")


def test_a_zero_is_said() -> None:
    asked = request({"ageing_s": 0, "stretch": 0, "expire_early": False}, 0)
    assert asked.policy == Wire(ageing={}, stretch=0.0, expire_early=False)
    assert asked.HasField("version") and asked.version == 0


@pytest.mark.parametrize(
    ("changes", "kind", "sentence"),
    [
        ({}, TypeError, "nothing is to be changed"),
        ({"colour": "red"}, TypeError, "unknown fields of a policy: colour"),
        ({"order": "best"}, ValueError, "order 'best' is none of fifo, shortest, deadline, balanced"),
        ({"level_mode": "unspecified"}, ValueError, "level_mode 'unspecified' is none of weighted, strict"),
        ({"routing": {"m": "x"}}, ValueError, "routing 'x' is none of least_outstanding, round_robin"),
        ({"weights": {"urgent": 1}}, ValueError, "priority 'urgent' is none of"),
        ({"limits": [PolicyLimit(priority="urgent")]}, ValueError, "priority 'urgent' is none of"),
    ],
)
def test_what_cannot_be_said_is_refused(changes: Any, kind: type[Exception], sentence: str) -> None:
    with pytest.raises(kind, match=sentence):
        request(changes, None)


class Losing(Script):
    """Loses every answer, and does not mind being asked to wait."""

    async def unary(self, method: Any, request: Any, timeout_s: float, metadata: Any) -> Any:
        self.asked.append(request)
        raise Unavailable("lost")

    async def sleep(self, seconds: float) -> None:
        pass


async def test_a_change_for_a_version_is_tried_once_because_it_ends_that_version_itself() -> None:
    for version, least, most in ((4, 1, 1), (None, 2, 99)):
        script = Losing()
        with pytest.raises(Unavailable):
            await AsyncClient.over(script).update_policy(version=version, stretch=1.0)
        assert least <= len(script.asked) <= most
