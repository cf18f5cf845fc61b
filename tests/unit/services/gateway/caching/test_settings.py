"""Section `cache`."""

import pytest

from cache.eviction import PolicyName
from scheduler.errors import StartupRefused
from services.gateway.caching import CacheSettings
from services.settings import load


def loaded(**variables: str) -> CacheSettings:
    environ = {f"FOREBAY_CACHE_{name.upper()}": value for name, value in variables.items()}
    return load(CacheSettings, section="cache", file=None, environ=environ)


def test_there_is_no_cache_unless_it_is_asked_for() -> None:
    assert not loaded().enabled
    assert loaded(enabled="true").enabled


def test_tenants_share_a_namespace_by_pairs() -> None:
    assert loaded(namespaces="a=x,b=x,c=d=y").shared == {"a": "x", "b": "x", "c=d": "y"}


def test_every_tier_gets_its_size_and_what_all_have_in_common() -> None:
    settings = loaded(
        memory_bytes="1000", disk_bytes="5000", disk_namespace_bytes="4000", ttl_s="2", policy="lru"
    )
    assert (settings.memory().capacity_bytes, settings.memory().namespace_bytes) == (1000, 1000)
    assert (settings.disk().capacity_bytes, settings.disk().namespace_bytes) == (5000, 4000)
    assert {tier.ttl_ms for tier in (settings.memory(), settings.redis(), settings.disk())} == {2000}
    assert settings.memory().policy is PolicyName.LRU


def test_every_tier_may_have_a_time_and_a_policy_of_its_own() -> None:
    settings = loaded(ttl_s="600", memory_ttl_s="60", disk_ttl_s="86400", policy="lru", disk_policy="ttl")
    tiers = [settings.memory(), settings.redis(), settings.disk()]
    assert [tier.ttl_ms for tier in tiers] == [60_000, 600_000, 86_400_000]
    assert [tier.policy for tier in tiers] == [PolicyName.LRU, PolicyName.LRU, PolicyName.TTL]
    settings = loaded(memory_policy="fifo", redis_policy="lfu")
    assert [tier.policy for tier in (settings.memory(), settings.redis(), settings.disk())] == [
        PolicyName.FIFO,
        PolicyName.LFU,
        PolicyName.SCAN_RESISTANT,
    ]


def test_an_answer_is_fresh_for_as_long_as_the_tier_in_use_says_that_keeps_it_longest() -> None:
    times = {"ttl_s": "600", "memory_ttl_s": "60", "disk_ttl_s": "86400"}
    redis = "redis://localhost:6380/0"
    assert loaded(**times).ttl_ms == 60_000
    assert loaded(**times, redis_url=redis).ttl_ms == 600_000
    assert loaded(**times, redis_url=redis, disk_folder="there").ttl_ms == 86_400_000
    # What other gateways and schedulers have must not outlive a purge here.
    assert loaded(**times).longest_ttl_ms == 86_400_000


@pytest.mark.parametrize(
    ("variables", "fault"),
    [
        ({"namespaces": "acme"}, "'acme' is not tenant=namespace"),
        ({"policy": "best"}, "policy is 'best'; it must be one of lru"),
        ({"disk_policy": "best"}, "disk_policy is 'best'; it must be one of lru"),
        ({"redis_policy": "best"}, "redis_policy is 'best'; it must be one of lru"),
        ({"memory_ttl_s": "0.0001"}, "memory: ttl_ms is 0; it must be at least 1"),
        ({"disk_ttl_s": "-1"}, "must be between 0.0"),
        ({"replay": "slowly"}, "replay is 'slowly'; it must be one of AT_ONCE"),
        ({"ttl_s": "0"}, "must be between 1.0"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_name(variables: dict[str, str], fault: str) -> None:
    with pytest.raises(StartupRefused, match=fault):
        loaded(**variables)
