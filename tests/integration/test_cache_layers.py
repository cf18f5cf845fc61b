"""The three real tiers as one, through the death of the server and restarts of the gateway."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

from cache.adapters.disk import DiskTier
from cache.adapters.memory import MemoryTier
from cache.adapters.redis import RedisTier, carrying
from cache.ports import Entry, Key
from cache.tiers import Below, LayeredCache, Met
from scheduler.adapters.redis import connect
from services.embedded import valkey as embedded
from tests.conformance.cache_tiers import NOW, look_up, new_entry, new_key, tier_settings
from tests.fixtures.valkey import ValkeyServer


@asynccontextmanager
async def gateway(url: str, folder: Path) -> AsyncIterator[LayeredCache]:
    """The tiers of one gateway, from its start to its stop."""

    def dead(key: Key, entry: Entry) -> bool:
        return False

    client = connect(url, timeout_s=5.0)
    disk = await DiskTier.open(folder, tier_settings(), Random(1), NOW, lookup_s=5.0)
    cache = LayeredCache(
        MemoryTier(tier_settings(), Random(1)),
        [
            Below(RedisTier(client, tier_settings(), lookup_s=5.0), shared=True),
            Below(disk, shared=False, holds=disk.holds),
        ],
        dead=dead,
        monotonic=time.monotonic,
    )
    running = asyncio.ensure_future(cache.run())
    async with carrying(client):
        try:
            yield cache
        finally:
            await cache.drained(5.0)
            running.cancel()
            await asyncio.wait([running])
        await cache.close()
        await client.aclose()


async def tiers_that_answer(cache: LayeredCache, numbers: range, now_ms: int = NOW) -> list[str]:
    """Look for each key, check the answers, and return which tier gave each."""
    found = [await look_up(cache, new_key(n), now_ms) for n in numbers]
    assert all(each.entry in (None, new_entry(n)) for n, each in zip(numbers, found, strict=True))
    return [each.tier for each in found]


async def test_what_one_gateway_computed_another_finds_in_redis_and_itself_after_a_restart_on_disk(
    valkey_server: ValkeyServer, tmp_path: Path
) -> None:
    async with gateway(valkey_server.url, tmp_path / "a") as first:
        for n in range(10):
            assert await first.put_through(new_key(n), new_entry(n), NOW)
        assert await first.drained(5.0)
        assert await tiers_that_answer(first, range(11)) == ["memory"] * 10 + [""]
        async with gateway(valkey_server.url, tmp_path / "b") as second:
            assert await tiers_that_answer(second, range(10)) == ["redis"] * 10
            assert await tiers_that_answer(second, range(10)) == ["redis"] * 10
            assert await tiers_that_answer(second, range(10)) == ["memory"] * 10
    valkey_server.kill()
    async with gateway(valkey_server.url, tmp_path / "a") as again:
        assert await tiers_that_answer(again, range(11)) == ["disk"] * 10 + [""]


async def test_without_redis_memory_and_disk_go_on_and_it_is_used_again_when_it_is_back(
    valkey_server: ValkeyServer, tmp_path: Path
) -> None:
    async with gateway(valkey_server.url, tmp_path) as cache:
        for n in range(5):
            assert await cache.put_through(new_key(n), new_entry(n), NOW)
        assert await cache.drained(5.0)
        valkey_server.kill()
        assert await tiers_that_answer(cache, range(8)) == ["memory"] * 5 + [""] * 3
        assert cache.away() == ["redis"]
        assert not await cache.put_through(new_key(6), new_entry(6), NOW)
        assert await cache.drained(5.0)
        valkey_server.start()
        await embedded.wait_ready(valkey_server.socket, 10.0)
        looks = (await cache.get_below(new_key(99), NOW + 600_000)).looks
        assert [look.met for look in looks] == [Met.MISS] * 2
        assert cache.away() == []
        assert await cache.put_through(new_key(8), new_entry(8), NOW + 600_000)
