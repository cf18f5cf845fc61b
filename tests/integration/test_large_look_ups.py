"""Looking for many large answers at once, on a real server: no step brings more than it should."""

from random import Random
from typing import Any

import pytest
from redis.asyncio import Redis

from cache.adapters.memory import MemoryTier
from cache.adapters.redis import RedisTier
from cache.adapters.redis.gathering import MUCH_BYTES, Trips
from cache.adapters.redis.question import Replies
from cache.adapters.redis.tier import MOST_REPLY_BYTES
from cache.tiers import Below, LayeredCache
from tests.conformance.cache_tiers import NOW, new_entry, new_key, tier_settings

LARGE = MOST_REPLY_BYTES // 3


async def test_a_look_up_brings_no_more_than_a_bound_and_says_how_far_it_came(valkey: Redis) -> None:
    tier = RedisTier(valkey, tier_settings(capacity=100 * LARGE), lookup_s=5.0)
    keys = [new_key(number) for number in range(10)]
    entry = new_entry(1, LARGE)
    for key in keys[1:]:
        await tier.put([(key, entry)], NOW)
    first = await tier.get(keys, NOW)
    assert first == [None, entry, entry, entry]
    assert (tier.stats().hits, tier.stats().misses) == (3, 1)
    assert await tier.get(keys[4:], NOW) == [entry] * 3


async def test_a_namespace_whose_last_look_up_brought_much_goes_by_lines_apart(
    valkey: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    tier = RedisTier(valkey, tier_settings(capacity=100 * LARGE), lookup_s=5.0)
    expected: list[int] = []
    run = Trips.run

    async def noted(self: Trips, *arguments: Any, brings: int = 0, **others: Any) -> Replies:
        expected.append(brings)
        return await run(self, *arguments, brings=brings, **others)

    large, small, others = new_key(1), new_key(2), new_key(3, "b")
    await tier.put([(large, new_entry(1, LARGE)), (small, new_entry(2)), (others, new_entry(3))], NOW)
    monkeypatch.setattr(Trips, "run", noted)
    for key in (large, others, small, small):
        assert (await tier.get([key], NOW))[0] is not None
    assert [brings >= MUCH_BYTES for brings in expected] == [False, False, True, False]


async def test_of_several_namespaces_each_look_up_brings_something(valkey: Redis) -> None:
    tier = RedisTier(valkey, tier_settings(capacity=100 * LARGE), lookup_s=5.0)
    keys = [new_key(number, namespace) for number in range(3) for namespace in "abc"]
    entry = new_entry(1, LARGE)
    for key in keys:
        await tier.put([(key, entry)], NOW)
    left, trips = keys, 0
    while left:
        found = await tier.get(left, NOW)
        assert found == [entry] * len(found) != []
        assert len(found) * LARGE <= MOST_REPLY_BYTES + 3 * LARGE
        left, trips = left[len(found) :], trips + 1
    assert trips > 1


async def test_all_tiers_together_say_which_keys_nobody_looked_for(valkey: Redis) -> None:
    tier = RedisTier(valkey, tier_settings(capacity=100 * LARGE), lookup_s=5.0)
    layers = LayeredCache(
        MemoryTier(tier_settings(), Random(1)),
        [Below(tier, shared=True)],
        dead=lambda key, entry: False,
        monotonic=lambda: 0.0,
    )
    keys = [new_key(number) for number in range(10)]
    entry = new_entry(1, LARGE)
    for key in keys[1:]:
        await tier.put([(key, entry)], NOW)
    found, unseen, *_ = await layers.look_all_below(keys, NOW)
    assert (found, unseen) == (dict.fromkeys(keys[1:4], entry), keys[4:])
    left = unseen
    while left:
        looked = await layers.look_all_below(left, NOW)
        found, left = {**found, **looked.found}, looked.unseen
    assert found == dict.fromkeys(keys[1:], entry)
    await layers.close()
