"""Showing and changing the policy: the mask, the version, what is refused, and who may."""

import logging
from dataclasses import replace
from typing import Any

import pytest

from forebay.queues.v1 import queue_service_pb2
from scheduler.adapters.clock import FakeClock
from scheduler.errors import InvalidInput, PolicyMoved, RecordsUnavailable
from scheduler.policies.policy import DEFAULT_POLICY, Limit, Policy, TaskOrder
from services.gateway.caller import Caller
from services.gateway.policy_service import Policies
from services.policy_following import PolicyFollower
from services.policy_on_wire import from_wire, stored, to_wire
from tests.unit.services.policy_store import OnePolicy

Wire: Any = queue_service_pb2.Policy
OPERATOR, TENANT = Caller("ops", operator=True), Caller("a")
INITIAL = replace(DEFAULT_POLICY, stretch=3.0, tenant_weights={"a": 2.0, "b": 3.0})


class Desk:
    """Policies over one store, as its gateway has them."""

    def __init__(self, initial: Policy = INITIAL) -> None:
        self.store = OnePolicy()
        self.told: list[int] = []
        self.follower = PolicyFollower(
            self.store, initial, lambda policy, version: self.told.append(version), FakeClock()
        )
        self.policies = Policies(self.store, self.follower)

    async def update(
        self, *mask: str, version: int | None = None, **fields: Any
    ) -> queue_service_pb2.UpdatePolicyResponse:
        request = queue_service_pb2.UpdatePolicyRequest(
            policy=Wire(**fields), update_mask=mask or tuple(fields), version=version
        )
        return await self.policies.update(request, OPERATOR)

    async def standing(self) -> tuple[Policy, int]:
        answer = await self.policies.get(OPERATOR)
        policy, faults = from_wire(answer.policy)
        assert faults == []
        return policy, answer.version


async def test_without_a_change_the_initial_policy_stands_as_version_0() -> None:
    desk = Desk()
    answer = await desk.policies.get(OPERATOR)
    assert (answer.policy, answer.version) == (to_wire(INITIAL), 0)
    assert not answer.HasField("update_time")


async def test_a_change_makes_a_version_is_followed_at_once_and_leaves_a_line_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    desk = Desk()
    caplog.set_level(logging.INFO)
    answer = await desk.update(order=queue_service_pb2.TASK_ORDER_FIFO, ageing={"seconds": 60})
    wanted = replace(INITIAL, order=TaskOrder.FIFO, ageing_s=60.0)
    assert (from_wire(answer.policy)[0], answer.version, answer.update_time.seconds) == (wanted, 1, 1)
    assert await desk.standing() == (wanted, 1)
    assert (desk.follower.policy, desk.told) == (wanted, [1])
    [line] = [vars(record) for record in caplog.records if record.getMessage() == "policy changed"]
    assert (line["tenant"], line["version"], line["fields"]) == ("ops", 1, "ageing_s, order")


async def test_only_fields_of_the_mask_are_taken_and_what_is_not_set_goes_back_to_its_default() -> None:
    desk = Desk()
    await desk.update("ageing_every", "tenant_weights", "stretch", ageing_every=3, cost_label="ignored")
    assert await desk.standing() == (
        replace(INITIAL, ageing_every=3, tenant_weights={}, stretch=DEFAULT_POLICY.stretch),
        1,
    )


async def test_a_field_is_replaced_as_a_whole() -> None:
    desk = Desk()
    await desk.update(tenant_weights={"c": 4.0}, weights=[{"priority": 4, "weight": 2}])
    policy, _ = await desk.standing()
    assert policy.tenant_weights == {"c": 4.0}
    assert list(policy.weights.values()) == [64, 16, 4, 2]


async def test_every_fault_is_named_and_the_old_policy_stays() -> None:
    desk = Desk()
    await desk.update(ageing_every=3)
    with pytest.raises(InvalidInput) as raised:
        await desk.update(stretch=-1.0, order=9, limits=[{"burst": 3}])
    assert [fault.field for fault in raised.value.faults] == [
        "policy.order",
        "policy.stretch",
        "policy.limits[0].burst",
        "policy.limits[0]",
    ]
    assert await desk.standing() == (replace(INITIAL, ageing_every=3), 1)
    assert desk.told == [1]


async def test_what_contradicts_a_field_that_is_not_changed_is_refused() -> None:
    desk = Desk(replace(INITIAL, ageing_s=0.0))
    with pytest.raises(InvalidInput, match="low levels would never start"):
        await desk.update(level_mode=queue_service_pb2.LEVEL_MODE_STRICT)


async def test_a_mask_names_fields_of_a_policy() -> None:
    desk = Desk()
    with pytest.raises(InvalidInput, match=r"^update_mask\[1\]: 'colour' is no field of a policy; it has"):
        await desk.update("order", "colour")
    with pytest.raises(InvalidInput, match="must name at least one field"):
        await desk.policies.update(queue_service_pb2.UpdatePolicyRequest(), OPERATOR)


async def test_a_change_for_a_version_that_does_not_stand_any_more_is_refused() -> None:
    desk = Desk()
    await desk.update(ageing_every=3, version=0)
    with pytest.raises(PolicyMoved, match="meant for version 0; version 1 of the policy stands now"):
        await desk.update(ageing_every=4, version=0)
    assert (await desk.standing())[1] == 1


async def test_a_change_for_a_version_that_goes_in_between_is_refused() -> None:
    desk = Desk()
    desk.store.meanwhile = [DEFAULT_POLICY]
    with pytest.raises(PolicyMoved):
        await desk.update(ageing_every=4, version=0)
    assert await desk.standing() == (DEFAULT_POLICY, 1)


async def test_a_change_for_whichever_stands_is_made_anew_when_another_one_went_in_between() -> None:
    desk = Desk()
    desk.store.meanwhile = [replace(INITIAL, cost_label="other")]
    answer = await desk.update(ageing_every=4)
    assert answer.version == 2
    assert await desk.standing() == (replace(INITIAL, cost_label="other", ageing_every=4), 2)


async def test_a_policy_that_never_stops_changing_is_given_up_on() -> None:
    desk = Desk()
    desk.store.meanwhile = [replace(INITIAL, ageing_every=n) for n in range(10, 20)]
    with pytest.raises(PolicyMoved, match="the policy keeps changing"):
        await desk.update(stretch=1.0)


async def test_what_changes_nothing_makes_no_version() -> None:
    desk = Desk()
    assert (await desk.update(stretch=3.0)).version == 0
    await desk.update(stretch=4.0)
    assert (await desk.update(stretch=4.0)).version == 1
    assert desk.told == [1]


async def test_a_tenant_sees_nothing_of_other_tenants() -> None:
    limits = (Limit("a", rate=1), Limit("b", rate=1), Limit(rate=2), Limit(shared=True, rate=3))
    desk = Desk(replace(INITIAL, limits=limits))
    shown = from_wire((await desk.policies.get(TENANT)).policy)[0]
    assert shown.tenant_weights == {"a": 2.0}
    assert shown.limits == (limits[0], limits[2], limits[3])


async def test_while_the_stored_policy_cannot_be_read_the_followed_one_is_shown_and_can_be_stored() -> None:
    desk = Desk()
    desk.store.put(b"\xff")
    assert await desk.standing() == (INITIAL, 1)
    answer = await desk.update(stretch=3.0)
    assert answer.version == 2
    assert desk.store.standing.body == stored(INITIAL)


async def test_a_store_that_is_away_is_told() -> None:
    desk = Desk()
    desk.store.away = True
    with pytest.raises(RecordsUnavailable):
        await desk.policies.get(OPERATOR)
    with pytest.raises(RecordsUnavailable):
        await desk.update(stretch=4.0)
