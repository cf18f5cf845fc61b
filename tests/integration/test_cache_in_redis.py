"""The cache's tier on a real server that evicts, forgets, fills up, breaks and comes back."""

import asyncio
import os
import signal
import struct
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any

import pytest
from redis.asyncio import Redis

from cache.adapters.redis import RedisTier, carrying, packing
from cache.adapters.redis import stored as stored_forms
from cache.adapters.redis.names import NAMESPACES, prefix
from cache.adapters.redis.seen import LIST_AGAIN_MS
from cache.eviction import PolicyName
from cache.ports import Key, TierAway, TierFault
from scheduler.adapters.redis import connect
from services.embedded import valkey as embedded
from tests.conformance.cache_tiers import HOUR, NOW, ROOM, held, new_entry, new_key, one, tier_settings
from tests.conformance.stores import new_tasks, redis_store
from tests.fixtures.valkey import ValkeyServer

INDEX = prefix(new_key().namespace) + "i"


@pytest.fixture
async def tier(valkey: Redis) -> RedisTier:
    return RedisTier(valkey, tier_settings(quota=4 * ROOM), lookup_s=5.0)


def stored(key: Key) -> bytes:
    """The name of an entry's own key."""
    return f"{prefix(key.namespace)}e:".encode() + key.digest


async def counted(client: Redis) -> int:
    """The bytes that the server's index says the first namespace has."""
    return int(await client.hget(INDEX, "b") or 0)


async def test_keys_in_the_server_are_made_of_digests_alone(tier: RedisTier, valkey: Redis) -> None:
    await tier.put([(new_key(5), new_entry(model="a {name} of a user\0"))], NOW)
    tag = new_key().namespace
    assert sorted(await valkey.keys()) == sorted(
        [NAMESPACES.encode(), INDEX.encode(), b"fb:c:{" + tag.hex().encode() + b"}:e:" + new_key(5).digest]
    )
    assert 0 < await valkey.pttl(stored(new_key(5))) <= HOUR
    assert 0 < await valkey.pttl(INDEX) <= HOUR


async def test_an_entry_that_the_server_evicted_is_given_up_when_it_is_asked_for(
    tier: RedisTier, valkey: Redis
) -> None:
    await tier.put([(new_key(n), new_entry(n)) for n in range(3)], NOW)
    before = await counted(valkey)
    await valkey.delete(stored(new_key(1)))
    assert await one(tier, new_key(1)) is None
    assert await counted(valkey) == before * 2 // 3
    assert await valkey.hexists(INDEX, new_key(1).digest) is False


async def test_what_the_server_evicted_makes_room_before_anything_else_goes(
    tier: RedisTier, valkey: Redis
) -> None:
    await tier.put([(new_key(n), new_entry(n)) for n in range(4)], NOW)
    await valkey.delete(stored(new_key(2)), stored(new_key(3)))
    await tier.put([(new_key(n), new_entry(n)) for n in (7, 8)], NOW + 1)
    assert tier.stats().evictions == 0
    assert await held(tier, 9, now_ms=NOW + 1) == [0, 1, 7, 8]


async def test_a_sweep_takes_back_the_bytes_of_what_the_server_evicted(
    tier: RedisTier, valkey: Redis
) -> None:
    await tier.put([(new_key(n), new_entry(n)) for n in range(4)], NOW)
    for n in range(4):
        await valkey.delete(stored(new_key(n)))
    assert await tier.sweep(NOW, lambda key, entry: False, 100) == 4
    assert await valkey.exists(INDEX) == 0
    assert (tier.stats().entries, tier.stats().held_bytes) == (0, 0)


async def test_when_the_server_evicted_the_index_it_begins_anew_with_what_is_used(
    tier: RedisTier, valkey: Redis
) -> None:
    await tier.put([(new_key(n), new_entry(n)) for n in range(4)], NOW)
    whole = await counted(valkey)
    await valkey.delete(INDEX)
    assert await one(tier, new_key(2)) == new_entry(2)
    assert whole // 4 - 500 < await counted(valkey) <= whole // 4
    # Its facts are read from the entry where the index does not have them.
    assert await held(tier, 4) == [2]
    await tier.put([(new_key(n), new_entry(n)) for n in range(5, 9)], NOW + 1)
    assert await counted(valkey) <= 4 * ROOM
    assert await held(tier, 9, now_ms=NOW + 1) == [5, 6, 7, 8]


async def test_a_namespace_that_the_servers_list_lost_is_swept_by_who_knows_it_and_by_all_after_a_later_fill(
    tier: RedisTier, valkey: Redis
) -> None:
    await tier.put([(new_key(1), new_entry(1))], NOW)
    other = RedisTier(valkey, tier_settings(), lookup_s=5.0)
    await valkey.delete(NAMESPACES)
    assert await held(tier, 4) == [1]
    assert await held(other, 4) == []
    await tier.put([(new_key(2), new_entry(2))], NOW + LIST_AGAIN_MS)
    assert await held(other, 4) == [1, 2]


@pytest.mark.parametrize("at", [0, 30, 100, -1])
async def test_a_damaged_entry_is_a_miss_and_is_removed(tier: RedisTier, valkey: Redis, at: int) -> None:
    await tier.put([(new_key(1), new_entry(1)), (new_key(2), new_entry(2))], NOW)
    kept: Any = await valkey.get(stored(new_key(1)))
    value = bytearray(kept)
    value[at] ^= 1
    await valkey.set(stored(new_key(1)), bytes(value))
    assert await tier.get([new_key(1), new_key(2)], NOW) == [None, new_entry(2)]
    assert await valkey.exists(stored(new_key(1))) == 0
    stats = tier.stats()
    assert (stats.damaged, stats.misses, stats.hits) == (1, 1, 1)


async def test_what_the_server_refuses_makes_the_tier_away_and_no_error(
    tier: RedisTier, valkey: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    await valkey.set(INDEX, "not a hash")
    for call in (tier.get([new_key(1)], NOW), tier.put([(new_key(1), new_entry(1))], NOW)):
        with pytest.raises(TierAway):
            await call
    assert tier.stats().away == 2
    assert caplog.messages == ["cache refused by Redis"] * 2


async def test_a_second_gateway_sees_the_entries_and_learns_the_bytes_by_sweeping(
    tier: RedisTier, valkey: Redis
) -> None:
    other = RedisTier(valkey, tier_settings(quota=4 * ROOM), lookup_s=5.0)
    await tier.put([(new_key(n), new_entry(n)) for n in range(3)], NOW)
    assert await one(other, new_key(1)) == new_entry(1)
    assert other.stats().entries == 0
    await other.sweep(NOW, lambda key, entry: False, 100)
    assert other.stats().entries == 3
    assert other.stats().held_bytes == tier.stats().held_bytes


async def test_a_scan_leaves_what_is_used_where_the_policy_resists_it(valkey: Redis) -> None:
    tier = RedisTier(valkey, tier_settings(quota=40 * ROOM, policy=PolicyName.SCAN_RESISTANT), lookup_s=5.0)
    hot = [new_key(n) for n in range(20)]
    await tier.put([(key, new_entry(n)) for n, key in enumerate(hot)], NOW)
    await tier.get(hot, NOW + 1)
    for n in range(100, 260, 8):
        await tier.put([(new_key(n + i), new_entry(n + i)) for i in range(8)], NOW + n)
    kept = sum(entry is not None for entry in await tier.get(hot, NOW + 300))
    assert kept >= 18


@pytest.mark.parametrize("damage", ["another type", "no number"])
async def test_a_damaged_namespace_keeps_no_other_from_being_outdated_or_swept(
    tier: RedisTier, valkey: Redis, damage: str
) -> None:
    bad, good = new_key(1), Key(b"g" * 16, new_key(2).digest)
    await tier.put([(bad, new_entry(1)), (good, new_entry(2))], NOW)
    if damage == "another type":
        await valkey.set(INDEX, "not a hash")
    else:
        await valkey.hset(INDEX, "b", "x")
    with pytest.raises(TierFault):
        await tier.outdate({bad: NOW + 1, good: NOW + 1}, NOW + 1)
    assert await one(tier, good, NOW + 1) is None
    await tier.put([(good, new_entry(2))], NOW + 1)
    for _ in range(3):
        with suppress(TierFault):
            await tier.sweep(NOW + 2, lambda key, entry: key == good, 100)
    assert await one(tier, good, NOW + 2) is None


async def test_a_server_at_its_limit_that_evicts_nothing_refuses_fills_and_answers_look_ups(
    valkey_server: ValkeyServer,
) -> None:
    client = connect(valkey_server.url, timeout_s=5.0)
    tier = RedisTier(client, tier_settings(capacity=100 << 20), lookup_s=5.0)
    try:
        async with carrying(client):
            await client.config_set("maxmemory-policy", "noeviction")
            await tier.put([(new_key(n), new_entry(n)) for n in range(4)], NOW)
            await client.config_set("maxmemory", (await client.info("memory"))["used_memory"])
            await tier.put([(new_key(n), new_entry(n)) for n in range(10, 14)], NOW)
            assert tier.stats().refusals == 4
            for n in range(4):
                assert await one(tier, new_key(n)) == new_entry(n)
            assert await tier.sweep(NOW, lambda key, entry: key == new_key(0), 100) == 1
            await client.config_set("maxmemory", 0)
            await tier.put([(new_key(20), new_entry(20))], NOW)
            assert await held(tier, 20) == [1, 2, 3, 20]
            assert tier.stats().away == 0
    finally:
        await client.aclose()


@pytest.fixture
async def lost_server(valkey_server: ValkeyServer) -> AsyncIterator[tuple[ValkeyServer, RedisTier]]:
    client = connect(valkey_server.url, timeout_s=5.0)
    async with carrying(client):
        yield valkey_server, RedisTier(client, tier_settings())
    await client.aclose()


async def test_a_server_that_is_gone_is_away_in_every_call_and_is_there_again_afterwards(
    lost_server: tuple[ValkeyServer, RedisTier],
) -> None:
    server, tier = lost_server
    await tier.put([(new_key(1), new_entry(1))], NOW)
    server.kill()
    for call in (
        tier.get([new_key(1)], NOW),
        tier.put([(new_key(1), new_entry(1))], NOW),
        tier.peek([new_key(1)], NOW),
        tier.sweep(NOW, lambda key, entry: False, 10),
    ):
        with pytest.raises(TierAway):
            await call
    assert tier.stats().away == 4
    server.start()
    await embedded.wait_ready(server.socket, 10.0)
    await tier.put([(new_key(2), new_entry(2))], NOW)
    assert await tier.sweep(NOW, lambda key, entry: key == new_key(2), 10) == 1


async def test_a_look_up_does_not_wait_longer_than_its_deadline(
    lost_server: tuple[ValkeyServer, RedisTier], valkey_server: ValkeyServer
) -> None:
    _, tier = lost_server
    await tier.put([(new_key(1), new_entry(1))], NOW)
    loop = asyncio.get_running_loop()
    os.kill(valkey_server.pid, signal.SIGSTOP)
    try:
        start = loop.time()
        with pytest.raises(TierAway):
            await tier.get([new_key(1)], NOW)
        assert loop.time() - start < 2.0
    finally:
        os.kill(valkey_server.pid, signal.SIGCONT)


async def test_who_was_told_that_an_answer_is_there_waits_for_it_beyond_a_look_ups_deadline(
    lost_server: tuple[ValkeyServer, RedisTier], valkey_server: ValkeyServer
) -> None:
    _, tier = lost_server
    await tier.put([(new_key(1), new_entry(1))], NOW)
    os.kill(valkey_server.pid, signal.SIGSTOP)
    try:
        again = asyncio.ensure_future(tier.peek([new_key(1)], NOW))
        with pytest.raises(TierAway):
            await tier.get([new_key(1)], NOW)
        assert not again.done()
    finally:
        os.kill(valkey_server.pid, signal.SIGCONT)
    assert await again == [new_entry(1)]


@pytest.mark.parametrize("policy", ["allkeys-lfu", "volatile-lru", "allkeys-random"])
async def test_a_cache_server_at_maxmemory_evicts_and_the_records_on_the_other_survive(
    valkey_server: ValkeyServer, valkey: Redis, policy: str
) -> None:
    """Guarantee: records are on a server that never evicts, the cache on one that may evict anything."""
    records = redis_store(valkey)
    tasks = new_tasks(20)
    await records.add(*tasks)
    cache = connect(valkey_server.url, timeout_s=5.0)
    tier = RedisTier(cache, tier_settings(capacity=400 << 20, quota=200 << 20), lookup_s=5.0)
    try:
        async with carrying(cache):
            await cache.config_set("maxmemory-policy", policy)
            await cache.config_set("maxmemory", 12 << 20)
            for n in range(0, 400, 20):
                batch = [(new_key(i, "ab"[i % 2]), new_entry(i)) for i in range(n, n + 20)]
                await tier.put(batch, NOW + n)
            evicted = (await cache.info("stats"))["evicted_keys"]
            assert evicted > 100
            for number in range(400):
                key = new_key(number, "ab"[number % 2])
                assert await one(tier, key, NOW + 500) in (None, new_entry(number))
            assert tier.stats().hits > 20
            # Once it evicts nothing more, nothing is counted that is not there.
            await cache.config_set("maxmemory", 0)
            for _ in range(10):
                await tier.sweep(NOW + 500, lambda key, entry: False, 1_000)
            for namespace in "ab":
                index = prefix(new_key(0, namespace).namespace) + "i"
                fields: Any = await cache.hgetall(index)
                said = int(fields.pop(b"b", 0))
                for digest in fields:
                    assert (
                        await cache.exists(prefix(new_key(0, namespace).namespace).encode() + b"e:" + digest)
                        == 1
                    )
                assert said == sum(int(struct.unpack_from("<d", value)[0]) for value in fields.values())
            assert [(await records.read(task.id)).id for task in tasks] == [task.id for task in tasks]
            assert await records.counts() == (20, 0)
    finally:
        await cache.aclose()


async def test_what_is_large_is_packed_and_unpacked_in_threads_so_that_nobody_waits_for_it(
    valkey: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    main, seen = threading.current_thread(), list[tuple[str, bool]]()

    def noting(name: str) -> Callable[..., Any]:
        call = getattr(stored_forms, name)

        def noted(*given: Any) -> Any:
            seen.append((name, threading.current_thread() is main))
            return call(*given)

        return noted

    for name in ("arguments_of", "entry_of"):
        monkeypatch.setattr(packing, name, noting(name))
    tier = RedisTier(valkey, tier_settings(), lookup_s=5.0)
    # It is small where it is stored.
    large, little = new_entry(1, body=b"much of the same " * 20_000), new_entry(2)
    for key, entry in ((new_key(1), large), (new_key(2), little)):
        await tier.put([(key, entry)], NOW)
        assert await one(tier, key) == entry
    assert seen == [
        ("arguments_of", False),
        ("entry_of", False),
        ("arguments_of", True),
        ("entry_of", True),
    ]
    await tier.close()


async def test_when_too_much_that_is_large_waits_the_tier_is_away(
    valkey: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packing, "WAITING_CALLS", 2)
    tier = RedisTier(valkey, tier_settings(), lookup_s=5.0)
    entries = [(new_key(n), new_entry(n, body_bytes=300_000)) for n in range(3)]
    ended = await asyncio.gather(*(tier.put([each], NOW) for each in entries), return_exceptions=True)
    assert [type(end) for end in ended] == [type(None), type(None), TierAway]
    assert await tier.get([key for key, _ in entries], NOW) == [entries[0][1], entries[1][1], None]
    assert tier.stats().away == 1
    await tier.close()
