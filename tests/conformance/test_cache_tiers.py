"""What every tier of the cache does: in memory, on a real server, and on disk."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from random import Random
from typing import Any

import pytest

from cache.adapters.disk import DiskTier
from cache.adapters.memory import MemoryTier
from cache.adapters.redis import RedisTier, carrying
from cache.eviction import PolicyName
from cache.ports import Entry, Key, Tier
from scheduler.adapters.redis import connect
from tests.conformance.cache_tiers import (
    BODY_BYTES,
    HOUR,
    NOW,
    ROOM,
    NewTier,
    held,
    new_entry,
    new_key,
    one,
    tier_settings,
)


@pytest.fixture(params=["memory", "redis", "disk"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str | Path:
    """Where the tier is: a server's address, a folder, or nowhere but in memory."""
    match request.param:
        case "redis":
            return str(request.getfixturevalue("valkey_url"))
        case "disk":
            return tmp_path
        case _:
            return ""


@pytest.fixture
async def new_tier(place: str | Path) -> AsyncIterator[NewTier]:
    made: list[Tier] = []
    client = None
    stack = AsyncExitStack()
    if isinstance(place, str) and place:
        client = connect(place, timeout_s=5.0)
        stack.push_async_callback(client.aclose)
        await client.flushall()
        await stack.enter_async_context(carrying(client))

    async def make(**settings: Any) -> Tier:
        chosen = tier_settings(**settings)
        tier: Tier
        if client is not None:
            tier = RedisTier(client, chosen, lookup_s=5.0)
        elif isinstance(place, Path):
            tier = await DiskTier.open(place / str(len(made)), chosen, Random(1), NOW, lookup_s=5.0)
        else:
            tier = MemoryTier(chosen, Random(1))
        made.append(tier)
        return tier

    yield make
    for tier in made:
        await tier.close()
        await tier.close()
    await stack.aclose()


@pytest.fixture
async def tier(new_tier: NewTier) -> Tier:
    return await new_tier()


@pytest.mark.parametrize(
    "entry",
    [
        new_entry(),
        new_entry(body_bytes=0, model="", identity=b"", labels=()),
        new_entry(body_bytes=2_000_000, stream=True, labels=(b"12345678", b"abcdefgh")),
        new_entry(body=b"as if compressed " * 10_000, cost_ms=0.0, model="modèle"),
    ],
    ids=["usual", "empty", "large", "compressible"],
)
async def test_an_entry_is_given_as_it_was_put(tier: Tier, entry: Entry) -> None:
    await tier.put([(new_key(1), entry)], NOW)
    assert await one(tier, new_key(1)) == entry


async def test_a_key_is_found_only_in_its_own_namespace(tier: Tier) -> None:
    await tier.put([(new_key(1, "a"), new_entry())], NOW)
    assert await one(tier, new_key(1, "b")) is None
    assert await one(tier, new_key(2, "a")) is None


async def test_entries_come_in_the_order_of_the_keys_asked_for(tier: Tier) -> None:
    entries = {new_key(n, "ab"[n % 2]): new_entry(n, 100) for n in range(20)}
    await tier.put(list(entries.items()), NOW)
    keys = [new_key(99), *entries, new_key(4, "a"), new_key(98, "c"), new_key(4, "a")]
    assert await tier.get(keys, NOW) == [entries.get(key) for key in keys]


async def test_a_later_entry_takes_the_place_of_an_earlier_one(tier: Tier) -> None:
    for seed, size in ((1, BODY_BYTES), (2, 600_000), (3, 100)):
        await tier.put([(new_key(1), new_entry(seed, size))], NOW)
        assert await one(tier, new_key(1)) == new_entry(seed, size)
    assert tier.stats().entries == 1
    assert tier.stats().held_bytes < ROOM


@pytest.mark.parametrize(
    "late",
    [
        new_entry(1),
        new_entry(1, 2 * BODY_BYTES),
        new_entry(1, fresh_until_ms=NOW),
    ],
    ids=["usual", "too large", "stale"],
)
async def test_an_entry_that_was_created_later_stays_when_an_earlier_one_comes(
    new_tier: NewTier, late: Entry
) -> None:
    tier = await new_tier(entry_bytes=ROOM)
    newer, other = new_entry(2, created_ms=NOW + 1), new_entry(3)
    await tier.put([(new_key(1), newer)], NOW + 2)
    before = tier.stats(by_namespace=True)
    await tier.put([(new_key(1), late)], NOW + 3)
    assert tier.stats(by_namespace=True) == before
    await tier.put([(new_key(1), late), (new_key(2), other)], NOW + 4)
    assert await tier.get([new_key(1), new_key(2)], NOW + 5) == [newer, other]


async def test_an_entry_that_was_created_later_keeps_nothing_away_once_its_time_is_over(tier: Tier) -> None:
    await tier.put([(new_key(1), new_entry(2, created_ms=NOW + 1, fresh_until_ms=NOW + 100))], NOW + 2)
    if tier.name == "redis":
        # A server goes by its own clock.
        await tier.sweep(NOW + 101, lambda key, entry: False, 10)
    await tier.put([(new_key(1), new_entry(1))], NOW + 101)
    assert await one(tier, new_key(1), NOW + 102) == new_entry(1)


async def test_what_is_outdated_goes_and_nothing_else(tier: Tier) -> None:
    entries = {new_key(n, "ab"[n % 2]): new_entry(n, created_ms=NOW + n) for n in range(4)}
    await tier.put(list(entries.items()), NOW + 4)
    before = {key: NOW + n + n % 2 for n, key in enumerate(entries)}
    await tier.outdate({**before, new_key(9): NOW + 9}, NOW + 5)
    await tier.outdate({}, NOW + 5)
    keys = list(entries)
    assert await tier.get(keys, NOW + 5) == [entries[keys[0]], None, entries[keys[2]], None]
    stats = tier.stats()
    assert (stats.entries, stats.refusals, stats.expired, stats.purged) == (2, 0, 0, 0)


async def test_hits_that_could_not_be_given_are_misses(tier: Tier) -> None:
    await tier.put([(new_key(n), new_entry(n)) for n in range(3)], NOW)
    await tier.get([new_key(n) for n in range(4)], NOW)
    tier.discount(2)
    assert (tier.stats().hits, tier.stats().misses) == (1, 3)


async def test_an_entry_is_not_given_when_it_is_not_fresh_any_more(tier: Tier) -> None:
    await tier.put([(new_key(1), new_entry(fresh_until_ms=NOW + 5_000))], NOW)
    assert await one(tier, new_key(1), NOW + 4_999) is not None
    assert await one(tier, new_key(1), NOW + 5_000) is None


async def test_an_entry_is_not_given_when_the_tiers_own_time_for_it_is_over(new_tier: NewTier) -> None:
    tier = await new_tier(ttl_ms=60_000)
    await tier.put([(new_key(1), new_entry())], NOW)
    assert await one(tier, new_key(1), NOW + 59_999) is not None
    assert await one(tier, new_key(1), NOW + 60_000) is None


async def test_an_entry_that_is_stale_when_it_comes_is_not_taken(tier: Tier) -> None:
    await tier.put([(new_key(1), new_entry())], NOW)
    await tier.put([(new_key(2), new_entry(fresh_until_ms=NOW))], NOW)
    assert await held(tier, 3) == [1]
    assert tier.stats().refusals == 1


async def test_a_full_namespace_loses_its_own_entries_and_nobody_elses(new_tier: NewTier) -> None:
    tier = await new_tier(quota=4 * ROOM)
    await tier.put([(new_key(n, "b"), new_entry(n)) for n in range(4)], NOW)
    for n in range(20):
        await tier.put([(new_key(n, "a"), new_entry(n))], NOW + n)
    assert await held(tier, 20, "b", NOW + 20) == [0, 1, 2, 3]
    assert await held(tier, 20, "a", NOW + 20) == [16, 17, 18, 19]
    stats = tier.stats(by_namespace=True)
    assert stats.evictions == 16
    assert {tag[:1]: seen.entries for tag, seen in stats.namespaces.items()} == {b"a": 4, b"b": 4}
    assert all(3 * ROOM < seen.held_bytes <= 4 * ROOM for seen in stats.namespaces.values())


async def test_a_full_tier_takes_nothing_from_those_who_were_there_before(new_tier: NewTier) -> None:
    tier = await new_tier(capacity=5 * ROOM, quota=4 * ROOM)
    await tier.put([(new_key(n, "a"), new_entry(n)) for n in range(4)], NOW)
    await tier.put([(new_key(1, "b"), new_entry(1))], NOW)
    await tier.put([(new_key(1, "c"), new_entry(1))], NOW)
    await tier.put([(new_key(2, "b"), new_entry(2))], NOW + 1)
    assert await held(tier, 9, "a") == [0, 1, 2, 3]
    assert await held(tier, 9, "b") == [2]
    assert await held(tier, 9, "c") == []
    stats = tier.stats()
    assert (stats.refusals, stats.evictions, stats.entries) == (1, 1, 5)
    assert stats.held_bytes <= 5 * ROOM


async def test_an_entry_above_the_largest_size_is_not_taken_and_its_predecessor_is_not_kept(
    new_tier: NewTier,
) -> None:
    tier = await new_tier(entry_bytes=ROOM)
    await tier.put([(new_key(1), new_entry(1)), (new_key(2), new_entry(2))], NOW)
    await tier.put([(new_key(1), new_entry(1, 2 * BODY_BYTES)), (new_key(3), new_entry(3))], NOW)
    assert await held(tier, 5) == [2, 3]
    assert await one(tier, new_key(1)) is None
    assert tier.stats().refusals == 1


@pytest.mark.parametrize(
    ("policy", "left"),
    [
        (PolicyName.LRU, [0, 2, 3]),
        (PolicyName.LFU, [0, 2, 3]),
        (PolicyName.FIFO, [1, 2, 3]),
        (PolicyName.TTL, [0, 1, 3]),
        (PolicyName.SCAN_RESISTANT, [0, 2, 3]),
    ],
)
async def test_the_policy_says_what_goes_first(
    new_tier: NewTier, policy: PolicyName, left: list[int]
) -> None:
    tier = await new_tier(quota=3 * ROOM, policy=policy)
    for n, minutes in ((0, 40), (1, 30), (2, 10)):
        await tier.put([(new_key(n), new_entry(n, fresh_until_ms=NOW + minutes * 60_000))], NOW + n)
    for later in (10, 11):
        assert await one(tier, new_key(0), NOW + later) is not None
    await tier.put([(new_key(3), new_entry(3, fresh_until_ms=NOW + 20 * 60_000))], NOW + 20)
    assert await held(tier, 9, now_ms=NOW + 20) == left


async def test_by_chance_something_goes(new_tier: NewTier) -> None:
    tier = await new_tier(quota=3 * ROOM, policy=PolicyName.RANDOM)
    for n in range(12):
        await tier.put([(new_key(n), new_entry(n))], NOW + n)
    left = await held(tier, 12, now_ms=NOW + 20)
    assert len(left) == 3
    assert left[-1] == 11


async def test_a_sweep_removes_what_has_expired_and_what_is_dead(new_tier: NewTier) -> None:
    tier = await new_tier(policy=PolicyName.FIFO)
    labels = (b"purge me",)
    entries = [
        (new_key(n, "ab"[n % 2]), new_entry(n, 5_000, labels=labels if n % 3 == 0 else ())) for n in range(30)
    ]
    entries += [(new_key(n), new_entry(n, 5_000, fresh_until_ms=NOW + 100)) for n in range(30, 40)]
    await tier.put(entries, NOW)

    def dead(key: Key, entry: Entry) -> bool:
        assert entry.fresh_until_ms in (NOW + HOUR, NOW + 100)
        assert entry.model == "smollm2"
        assert entry.created_ms == NOW
        return entry.labels == labels

    removed = 0
    for _ in range(40):
        removed += await tier.sweep(NOW + 1_000, dead, 20)
    stats = tier.stats()
    assert (removed, stats.expired, stats.purged) == (20, 10, 10)
    assert stats.entries == 20
    assert await held(tier, 40, "a") + await held(tier, 40, "b") == [
        *(n for n in range(0, 30, 2) if n % 3),
        *(n for n in range(1, 30, 2) if n % 3),
    ]


async def test_a_sweep_of_an_empty_tier_ends(tier: Tier) -> None:
    assert await tier.sweep(NOW, lambda key, entry: True, 1_000) == 0


async def test_what_is_asked_and_kept_is_counted(tier: Tier) -> None:
    await tier.put([(new_key(n), new_entry(n)) for n in range(3)], NOW)
    await tier.get([new_key(0), new_key(1), new_key(7)], NOW)
    await one(tier, new_key(0))
    await one(tier, new_key(2), NOW + HOUR)
    stats = tier.stats()
    assert (stats.hits, stats.misses, stats.fills, stats.entries) == (3, 2, 3, 3)
    assert (stats.damaged, stats.away, stats.refusals, stats.evictions) == (0, 0, 0, 0)
    assert 3 * BODY_BYTES < stats.held_bytes <= 3 * ROOM
    assert not stats.namespaces


async def test_who_peeks_is_told_the_same_and_nothing_is_counted(tier: Tier) -> None:
    await tier.put([(new_key(n), new_entry(n)) for n in range(3)], NOW)
    before = tier.stats(by_namespace=True)
    keys = [new_key(2), new_key(7), new_key(0, "b"), new_key(1), new_key(2)]
    assert await tier.peek(keys, NOW) == [new_entry(2), None, None, new_entry(1), new_entry(2)]
    assert await tier.peek([new_key(0)], NOW + HOUR) == [None]
    assert tier.stats(by_namespace=True) == before


@pytest.mark.parametrize("policy", [PolicyName.LRU, PolicyName.LFU, PolicyName.SCAN_RESISTANT])
async def test_who_peeks_saves_nothing_from_going(new_tier: NewTier, policy: PolicyName) -> None:
    tier = await new_tier(quota=3 * ROOM, policy=policy)
    for n in range(3):
        await tier.put([(new_key(n), new_entry(n))], NOW + n)
    for later in (10, 11):
        assert await tier.peek([new_key(0)], NOW + later) == [new_entry(0)]
    await tier.put([(new_key(3), new_entry(3))], NOW + 20)
    assert await held(tier, 9, now_ms=NOW + 20) == [1, 2, 3]


async def test_a_cancelled_call_leaves_the_tier_usable(tier: Tier) -> None:
    await tier.put([(new_key(1), new_entry(1))], NOW)
    calls = [
        asyncio.ensure_future(tier.put([(new_key(2), new_entry(2))], NOW)),
        asyncio.ensure_future(tier.get([new_key(1)], NOW)),
    ]
    await asyncio.sleep(0)
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)
    assert await one(tier, new_key(1)) == new_entry(1)
    assert await one(tier, new_key(2)) in (None, new_entry(2))
    await tier.put([(new_key(2), new_entry(3))], NOW)
    assert await one(tier, new_key(2)) == new_entry(3)
    assert tier.stats().entries == 2


async def purge(tier: Tier, gone: Key, now_ms: int) -> None:
    """Have a sweep remove one key."""
    for _ in range(40):
        await tier.sweep(now_ms, lambda key, entry: key == gone, 10)


@pytest.mark.parametrize("policy", list(PolicyName), ids=lambda policy: policy.value)
async def test_whatever_is_done_a_tier_gives_what_was_put_last_and_stays_within_its_bounds(
    new_tier: NewTier, policy: PolicyName
) -> None:
    tier = await new_tier(capacity=400_000, quota=150_000, entry_bytes=90_000, policy=policy)
    random = Random(8)
    last: dict[Key, Entry | None] = {}
    for step in range(150):
        now_ms = NOW + step
        key = new_key(random.randrange(25), random.choice("abcd"))
        match random.randrange(6):
            case 0 | 1 | 2:
                size = random.choice((0, 900, 20_000, 60_000, 100_000))
                entry = new_entry(step, size, fresh_until_ms=now_ms + random.choice((20, HOUR)))
                await tier.put([(key, entry)], now_ms)
                last[key] = entry if size < 90_000 else None
            case 3:
                await purge(tier, key, now_ms)
                last[key] = None
            case 4:
                await tier.sweep(now_ms, lambda key, entry: False, 10)
            case _:
                found = await one(tier, key, now_ms)
                assert found is None or (found == last.get(key) and found.fresh_until_ms > now_ms)
        stats = tier.stats(by_namespace=True)
        assert stats.held_bytes <= 400_000
        assert all(each.held_bytes <= 150_000 for each in stats.namespaces.values())
    assert tier.stats().evictions > 0
    assert tier.stats().hits > 0
    for _ in range(10):
        await tier.sweep(NOW + 200, lambda key, entry: True, 100)
    stats = tier.stats()
    assert (stats.entries, stats.held_bytes) == (0, 0)
