"""What every list of tenants must do, and what is purged because of it."""

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from cache.adapters.disk import DiskTenants
from cache.adapters.disk.tenants import FILE
from cache.adapters.memory import MemoryTenants
from cache.adapters.redis import RedisTenants
from cache.adapters.redis.tenants import TENANTS
from cache.ports import Entry, Key, PurgesAway
from cache.tenants import TENANT_TAG_BYTES, TenantTags
from scheduler.adapters.clock import SystemClock
from scheduler.adapters.redis import connect
from services.gateway.cache_control.leaving import tenants_are
from services.gateway.caching import CacheControl, CacheSettings, open_cache
from tests.conformance.cache_tiers import look_up
from tests.fixtures.valkey import ValkeyServer

ONE, TWO, THREE = (bytes([number]) * TENANT_TAG_BYTES for number in (0, 10, 255))
Same = Callable[[], TenantTags]
"""Makes what a process has of one list."""


@pytest.fixture(params=["memory", "disk", "redis"])
def place(request: pytest.FixtureRequest) -> str:
    """The name of an adapter, or where its server is."""
    return str(request.getfixturevalue("valkey_url") if request.param == "redis" else request.param)


@pytest.fixture
async def same(place: str, tmp_path: Path) -> AsyncIterator[Same]:
    if place == "memory":
        tags = MemoryTenants()
        yield lambda: tags
    elif place == "disk":
        yield lambda: DiskTenants(tmp_path / "disk")
    else:
        client = connect(place, timeout_s=5.0)
        await client.delete(TENANTS)
        yield lambda: RedisTenants(client)
        await client.aclose()


async def test_tags_are_added_and_taken_out(same: Same) -> None:
    assert await same().read() == frozenset()
    await same().change([ONE, TWO], [])
    await same().change([], [])
    await same().change([THREE], [ONE])
    assert await same().read() == {TWO, THREE}
    await same().change([], [TWO, THREE])
    assert await same().read() == frozenset()


async def test_a_list_that_cannot_be_reached_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    client = connect("redis://127.0.0.1:1", timeout_s=1.0)
    try:
        for tags in (DiskTenants(tmp_path / "file" / "disk"), RedisTenants(client)):
            with pytest.raises(PurgesAway):
                await tags.read()
                await tags.change([ONE], [])
    finally:
        await client.aclose()


async def test_a_damaged_list_is_begun_anew(tmp_path: Path) -> None:
    await DiskTenants(tmp_path).change([ONE, TWO], [])
    content = (tmp_path / FILE).read_bytes()
    (tmp_path / FILE).write_bytes(content[:-40])
    assert await DiskTenants(tmp_path).read() == frozenset()
    await DiskTenants(tmp_path).change([ONE], [])
    assert await DiskTenants(tmp_path).read() == {ONE}


def with_keys(*tenants: str) -> dict[str, set[str]]:
    """Tenants with a key each."""
    return {tenant: {f"digest of {tenant}'s key"} for tenant in tenants}


def key_of(control: CacheControl, tenant: str) -> Key:
    return Key(control.keys.namespace(tenant), b"d" * 32)


async def keep(control: CacheControl, *tenants: str) -> None:
    """Keep an answer of each tenant, in every tier."""
    now_ms = control.clock.now_ms()
    for tenant in tenants:
        entry = Entry(tenant.encode(), "m", b"identity", (), now_ms, now_ms + 60_000, 1.0, False)
        assert await control.layers.put_through(key_of(control, tenant), entry, now_ms)
    assert await control.layers.drained(5.0)


async def having(control: CacheControl, *tenants: str) -> list[str]:
    """Return those of the tenants whose answer is given."""
    now_ms = control.clock.now_ms()
    return [name for name in tenants if (await look_up(control.layers, key_of(control, name), now_ms)).entry]


@pytest.mark.parametrize("place", ["disk", "redis"])
async def test_who_went_while_no_gateway_ran_leaves_nothing_to_who_is_given_the_name_next(
    valkey_server: ValkeyServer, tmp_path: Path, place: str
) -> None:
    settings = replace(
        CacheSettings(enabled=True, redis_timeout_s=5.0, namespaces=("shares=team", "shares-too=team")),
        **({"disk_folder": tmp_path} if place == "disk" else {"redis_url": valkey_server.url}),
    )
    everybody = ["goes", "stays", "shares"]
    async with open_cache(settings, "s" * 16, SystemClock(), Random(1)) as opened:
        assert await tenants_are(opened.control, with_keys(*everybody))
        await keep(opened.control, *everybody)
    async with open_cache(settings, "s" * 16, SystemClock(), Random(1)) as opened:
        assert await having(opened.control, *everybody) == everybody
        assert await tenants_are(opened.control, with_keys("stays"))
        assert await tenants_are(opened.control, with_keys(*everybody))
        assert await having(opened.control, *everybody) == ["stays", "shares"]


@pytest.mark.parametrize(
    ("keys", "left"),
    [
        ({"one", "two"}, ["given", "other"]),
        ({"two", "three"}, ["given", "other"]),
        ({"three"}, ["other"]),
    ],
    ids=["the same keys", "one of them and another", "other keys"],
)
async def test_a_name_that_was_taken_away_and_given_again_while_no_gateway_ran_has_nothing_of_before(
    tmp_path: Path, keys: set[str], left: list[str]
) -> None:
    settings = CacheSettings(enabled=True, disk_folder=tmp_path)
    async with open_cache(settings, "s" * 16, SystemClock(), Random(1)) as opened:
        assert await tenants_are(opened.control, {"given": {"one", "two"}, "other": {"four"}})
        await keep(opened.control, "given", "other")
    async with open_cache(settings, "s" * 16, SystemClock(), Random(1)) as opened:
        assert await tenants_are(opened.control, {"given": keys, "other": {"four"}})
        assert await having(opened.control, "given", "other") == left


async def test_a_list_that_was_out_of_reach_is_compared_later(valkey_server: ValkeyServer) -> None:
    settings = CacheSettings(enabled=True, redis_url=valkey_server.url, redis_timeout_s=5.0)
    client = connect(valkey_server.url, timeout_s=5.0)
    try:
        async with open_cache(settings, "s" * 16, SystemClock(), Random(1)) as opened:
            assert await tenants_are(opened.control, with_keys("goes"))
            await keep(opened.control, "goes")
            await client.acl_setuser("default", enabled=True, commands=["-smembers"])
            assert not await tenants_are(opened.control, {})
            await client.acl_setuser("default", enabled=True, commands=["+smembers"])
            assert await tenants_are(opened.control, {})
            assert await RedisTenants(client).read() == frozenset()
            assert await having(opened.control, "goes") == []
    finally:
        await client.aclose()
