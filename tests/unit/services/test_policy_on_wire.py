"""The policy as it travels: numbers of the contract, defaults, and what it does not know."""

from dataclasses import replace
from enum import IntEnum
from typing import Any

import pytest

from forebay.queues.v1 import queue_service_pb2
from forebay.tasks.v1 import task_pb2
from scheduler.errors import InvalidInput
from scheduler.policies.policy import DEFAULT_POLICY, LevelMode, Limit, Policy, Routing, TaskOrder
from scheduler.states import Level
from services.policy_on_wire import from_wire, restored, stored, to_wire

Wire: Any = queue_service_pb2.Policy
FULL = Policy(
    level_mode=LevelMode.STRICT,
    weights={Level.CRITICAL: 8, Level.HIGH: 4, Level.NORMAL: 2, Level.LOW: 1},
    ageing_s=1.5,
    ageing_every=3,
    order=TaskOrder.SHORTEST,
    stretch=0.0,
    patience_s=60.0,
    express_slack_s=0.0,
    expire_early=False,
    tenant_weights={"a": 0.1, "b": 3.0},
    limits=(Limit("a", Level.LOW, False, 1, 0.000000001, 0.5, 2), Limit(shared=True, queued_work_s=1e9)),
    routing={"": Routing.ZONE_FIRST, "m": Routing.PREFIX_AFFINITY},
    cost_label="",
)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (LevelMode, queue_service_pb2.LevelMode),
        (TaskOrder, queue_service_pb2.TaskOrder),
        (Routing, queue_service_pb2.Routing),
        (Level, task_pb2.Priority),
    ],
)
def test_enums_have_the_names_and_numbers_of_the_contract(ours: type[IntEnum], theirs: Any) -> None:
    known = {number: name for name, number in theirs.items() if number}
    assert {one.value for one in ours} == known.keys()
    assert all(known[one.value].endswith(f"_{one.name}") for one in ours)


@pytest.mark.parametrize("policy", [DEFAULT_POLICY, FULL])
def test_a_policy_comes_back_as_it_went(policy: Policy) -> None:
    assert from_wire(to_wire(policy)) == (policy, [])
    assert restored(stored(policy)) == policy


def test_what_is_absent_has_its_default_and_what_is_zero_has_not() -> None:
    assert from_wire(Wire()) == (DEFAULT_POLICY, [])
    said = Wire(stretch=0.0, ageing={}, express_slack={}, expire_early=False, cost_label="")
    policy, faults = from_wire(said)
    assert faults == []
    assert policy == replace(
        DEFAULT_POLICY, stretch=0.0, ageing_s=0.0, express_slack_s=0.0, expire_early=False, cost_label=""
    )


def test_the_defaults_are_those_of_the_contract() -> None:
    shown = to_wire(DEFAULT_POLICY)
    assert [(one.priority, one.weight) for one in shown.weights] == [(1, 64), (2, 16), (3, 4), (4, 1)]
    assert (shown.ageing.seconds, shown.patience.seconds, shown.express_slack.seconds) == (300, 600, 10)
    assert (shown.ageing_every, shown.stretch, shown.expire_early, shown.cost_label) == (
        8,
        10.0,
        True,
        "kind",
    )
    assert shown.order == queue_service_pb2.TASK_ORDER_BALANCED
    assert shown.level_mode == queue_service_pb2.LEVEL_MODE_WEIGHTED


@pytest.mark.parametrize(
    ("message", "field", "sentence"),
    [
        (Wire(level_mode=9), "level_mode", "9 is none of 1 WEIGHTED, 2 STRICT"),
        (Wire(order=9), "order", "9 is none of 1 FIFO, 2 SHORTEST"),
        (Wire(routing={"m": 9}), 'routing["m"]', "9 is none of 1 LEAST_OUTSTANDING"),
        (Wire(weights=[{"weight": 3}]), "weights[0].priority", "is required"),
        (Wire(weights=[{"priority": 9, "weight": 3}]), "weights[0].priority", "9 is not a priority"),
        (Wire(weights=[{"priority": 1, "weight": 3}] * 2), "weights[1].priority", "critical has a weight"),
        (Wire(weights=[{"priority": 1}]), "weights.critical", "must be 1 to 1000000, is 0"),
        (Wire(ageing_every=0), "ageing_every", "must be 2 to 1000, is 0"),
        (Wire(limits=[{"priority": 9, "rate": 1.0}]), "limits[0].priority", "9 is not a priority"),
        (Wire(limits=[{"queued_work": {"seconds": -1}}]), "limits[0].queued_work", "is -1"),
        (Wire(stretch=float("nan")), "stretch", "is nan"),
    ],
)
def test_a_message_is_refused_by_field_with_a_sentence(message: Any, field: str, sentence: str) -> None:
    _, faults = from_wire(message)
    [fault] = [fault for path, fault in faults if path == field]
    assert sentence in fault
    with pytest.raises(InvalidInput) as raised:
        restored(message.SerializeToString())
    assert field in [fault.field for fault in raised.value.faults]


def test_bytes_that_are_no_policy_are_refused() -> None:
    with pytest.raises(InvalidInput, match="the bytes are no policy"):
        restored(b"\xff")


def test_equal_policies_are_stored_as_equal_bytes() -> None:
    other = replace(
        FULL, tenant_weights={"b": 3.0, "a": 0.1}, routing=dict(sorted(FULL.routing.items(), reverse=True))
    )
    assert stored(other) == stored(FULL)
