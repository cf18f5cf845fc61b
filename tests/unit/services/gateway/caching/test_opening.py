"""A gateway's cache as it is opened: which secrets do, and what is not used before it is known what was purged."""

from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from cache.ports import Entry, Key
from scheduler.adapters.clock import SystemClock
from scheduler.adapters.redis import connect
from scheduler.errors import StartupRefused
from services.gateway.caching.opening import open_cache
from services.gateway.caching.settings import CacheSettings
from tests.conformance.cache_tiers import look_up
from tests.fixtures.valkey import ValkeyServer

ON = CacheSettings(enabled=True)
SECRET = "s" * 16
KEY = Key(b"n" * 16, b"d" * 32)


@pytest.mark.parametrize("secret", ["", "short"])
@pytest.mark.parametrize("place", ["redis_url", "disk_folder"])
async def test_keys_that_others_may_see_are_not_made_with_a_secret_that_can_be_guessed(
    tmp_path: Path, secret: str, place: str
) -> None:
    # Nothing listens there, and nothing is asked.
    settings = {
        "redis_url": replace(ON, redis_url="redis://127.0.0.1:1"),
        "disk_folder": replace(ON, disk_folder=tmp_path / "disk"),
    }[place]
    with pytest.raises(StartupRefused, match=f"gateway.secret.*cache.{place}"):
        async with open_cache(settings, secret, SystemClock(), Random(1)):
            pass
    assert not (tmp_path / "disk").exists()


async def test_without_a_secret_each_gateway_makes_its_own_for_what_is_in_its_memory() -> None:
    async with (
        open_cache(ON, "", SystemClock(), Random(1)) as one,
        open_cache(ON, "", SystemClock(), Random(1)) as other,
    ):
        assert one.control.keys.namespace("a") != other.control.keys.namespace("a")
    async with (
        open_cache(ON, SECRET, SystemClock(), Random(1)) as one,
        open_cache(ON, SECRET, SystemClock(), Random(1)) as other,
    ):
        assert one.control.keys.namespace("a") == other.control.keys.namespace("a")


async def test_what_gateways_share_is_not_used_while_the_markers_cannot_be_read_though_it_answers(
    valkey_server: ValkeyServer,
) -> None:
    clock = SystemClock()
    settings = replace(ON, redis_url=valkey_server.url, redis_timeout_s=5.0)
    client = connect(valkey_server.url, timeout_s=5.0)
    try:
        async with open_cache(settings, SECRET, clock, Random(1)) as there:
            await client.acl_setuser("default", enabled=True, commands=["-hgetall"])
            async with open_cache(settings, SECRET, clock, Random(1)) as here:
                # Newer than this gateway, and so not dead for its age.
                now_ms = clock.now_ms()
                entry = Entry(b"body", "m", b"identity", (), now_ms, now_ms + 60_000, 1.0, False)
                assert await there.control.layers.put_through(KEY, entry, now_ms)
                assert not here.control.board.current
                assert (await look_up(here.control.layers, KEY, now_ms)).entry is None
                await client.acl_setuser("default", enabled=True, commands=["+hgetall"])
                await here.control.board.refresh()
                assert (await look_up(here.control.layers, KEY, now_ms)).entry == entry
    finally:
        await client.aclose()
