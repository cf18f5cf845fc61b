"""Gateways and schedulers read one section of settings: what both have is the same."""

import pytest

from scheduler.errors import StartupRefused
from scheduler.service.caching import TaskCacheSettings
from services.gateway.caching import CacheSettings


def test_a_tier_of_a_scheduler_is_that_of_a_gateway() -> None:
    assert TaskCacheSettings().redis() == CacheSettings().redis()
    ours = TaskCacheSettings(redis_ttl_s=60.0, redis_policy="lfu", memory_ttl_s=7.0, disk_ttl_s=9_000.0)
    theirs = CacheSettings(redis_ttl_s=60.0, redis_policy="lfu", memory_ttl_s=7.0, disk_ttl_s=9_000.0)
    assert ours.redis() == theirs.redis()
    assert (ours.redis().ttl_ms, ours.longest_ttl_ms, theirs.longest_ttl_ms) == (60_000, 9_000_000, 9_000_000)


@pytest.mark.parametrize(
    ("fields_given", "said"),
    [
        ({"policy": "newest"}, "policy is 'newest'; it must be one of lru"),
        ({"redis_policy": "newest"}, "redis_policy is 'newest'; it must be one of lru"),
        ({"redis_url": "redis://:secret@/0"}, "it names no host"),
    ],
)
def test_a_scheduler_refuses_what_cannot_be_meant_in_words_without_passwords(
    fields_given: dict[str, str], said: str
) -> None:
    with pytest.raises(ValueError) as refusal:
        TaskCacheSettings(**fields_given)  # type: ignore[arg-type]
    assert said in str(refusal.value)
    assert "secret" not in str(refusal.value)


def test_a_scheduler_does_not_fill_the_record_store_with_answers() -> None:
    settings = TaskCacheSettings(enabled=True, redis_url="redis://localhost:6379/1")
    with pytest.raises(StartupRefused, match="is the server of the records"):
        settings.check("redis://127.0.0.1:6379/0")
    settings.check("redis://127.0.0.1:6380/0")
    TaskCacheSettings(redis_url="redis://localhost:6379/1").check("redis://127.0.0.1:6379/0")
