"""The policy through the gateway's door, with the client that people use."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from forebay.client import (
    AsyncClient,
    Conflict,
    InvalidArgument,
    PermissionDenied,
    PolicyLimit,
    Priority,
    ResourceExhausted,
    Unauthenticated,
)
from scheduler.adapters.clock import SystemClock
from scheduler.adapters.memory import MemoryStore
from services.api_keys import line_of, new_key
from services.gateway.settings import GatewaySettings
from tests.integration.gateway import System, running


@asynccontextmanager
async def client_of(system: System) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(system.gateway.grpc.address) as client:
        yield client


async def test_a_policy_is_shown_changed_and_shown_again(system: System) -> None:
    async with client_of(system) as client:
        first = await client.policy()
        assert (first.version, first.update_time, first.order) == (0, None, "balanced")
        assert first.weights == {
            Priority.CRITICAL: 64,
            Priority.HIGH: 16,
            Priority.NORMAL: 4,
            Priority.LOW: 1,
        }
        changed = await client.update_policy(order="shortest", weights={"low": 2}, routing={"m": "weighted"})
        assert (changed.version, changed.order, changed.weights[Priority.LOW]) == (1, "shortest", 2)
        assert await client.policy() == changed
        back = await client.update_policy(order=None, weights=None, routing=None)
        assert (back.version, back.order, back.weights) == (2, first.order, first.weights)


async def test_a_bad_change_is_refused_by_field_and_the_old_policy_stays(system: System) -> None:
    async with client_of(system) as client:
        before = await client.update_policy(ageing_s=60)
        with pytest.raises(InvalidArgument) as raised:
            await client.update_policy(
                ageing_s=0, level_mode="strict", limits=[PolicyLimit("a", shared=True)], stretch=9999
            )
        assert [fault.field for fault in raised.value.faults] == [
            "policy.ageing",
            "policy.stretch",
            "policy.limits[0].shared",
            "policy.limits[0]",
        ]
        assert await client.policy() == before


async def test_of_two_clients_with_the_same_version_one_is_refused(system: System) -> None:
    async with client_of(system) as one, client_of(system) as other:
        version = (await one.policy()).version
        assert version == (await other.policy()).version
        await one.update_policy(version=version, stretch=1)
        with pytest.raises(Conflict) as raised:
            await other.update_policy(version=version, stretch=2)
        assert (raised.value.reason, raised.value.metadata) == ("POLICY_MOVED", {"version": "1"})
        assert (await other.policy()).stretch == 1


async def test_a_limit_holds_from_the_next_task_on(system: System) -> None:
    async with client_of(system) as client:
        await client.submit("m", prompt="x")
        await client.update_policy(limits=[PolicyLimit(rate=1e-6, burst=1)])
        await client.submit("m", prompt="x")
        with pytest.raises(ResourceExhausted):
            await client.submit("m", prompt="x")
        await client.update_policy(limits=())
        await client.submit("m", prompt="x")


async def test_another_gateway_shows_the_change_at_once() -> None:
    store = MemoryStore(SystemClock())
    async with (
        running(store) as here,
        running(store) as there,
        client_of(here) as one,
        client_of(there) as other,
    ):
        changed = await one.update_policy(cost_label="topic")
        assert await other.policy() == changed


async def test_only_operators_change_the_policy_and_tenants_see_themselves(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    operator, tenant = new_key(), new_key()
    keys = tmp_path / "keys"
    keys.write_text(f"{line_of(operator, 'ops', operator=True)}\n{line_of(tenant, 'a')}\n")
    settings = GatewaySettings(
        listen="127.0.0.1:0", http_listen="127.0.0.1:0", grace_s=2.0, api_keys_file=keys
    )
    async with running(settings=settings) as system:
        address = system.gateway.grpc.address
        async with AsyncClient(address, api_key=operator) as client:
            caplog.set_level(logging.INFO, "services.gateway.policy_service")
            await client.update_policy(tenant_weights={"a": 2.0, "b": 3.0})
        [line] = [vars(record) for record in caplog.records if record.getMessage() == "policy changed"]
        assert (line["tenant"], line["version"], line["fields"]) == ("ops", 1, "tenant_weights")
        async with AsyncClient(address, api_key=tenant) as client:
            assert (await client.policy()).tenant_weights == {"a": 2.0}
            with pytest.raises(PermissionDenied):
                await client.update_policy(stretch=1)
        async with AsyncClient(address) as client:
            with pytest.raises(Unauthenticated):
                await client.policy()
