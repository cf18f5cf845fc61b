"""The tiers that the suite runs against, and entries to put into them."""

from collections.abc import Awaitable, Callable
from random import Random
from typing import Any

from cache.eviction import PolicyName
from cache.ports import Entry, Key, Tier
from cache.tiers import Found, LayeredCache, TierSettings

NOW = 1_800_000_000_000
HOUR = 3_600_000
BODY_BYTES = 50_000
"""So large that what a tier adds to an entry hardly counts."""
ROOM = 53_000
"""What one entry takes in any tier, at most."""

NewTier = Callable[..., Awaitable[Tier]]
"""Makes an empty tier; takes what `tier_settings` takes."""


def tier_settings(
    *,
    capacity: int = 100 * ROOM,
    quota: int | None = None,
    entry_bytes: int | None = None,
    ttl_ms: int = 24 * HOUR,
    policy: PolicyName = PolicyName.LRU,
) -> TierSettings:
    """Settings of a tier that has room for a hundred entries."""
    namespace_bytes = quota or capacity
    return TierSettings(capacity, namespace_bytes, entry_bytes or namespace_bytes, ttl_ms, policy)


def new_key(number: int = 0, namespace: str = "a") -> Key:
    """A key; the same number in another namespace is another key."""
    return Key(namespace.encode().ljust(16, b"\0"), number.to_bytes(32, "big"))


def new_entry(seed: int = 0, body_bytes: int = BODY_BYTES, **fields: Any) -> Entry:
    """An entry whose body cannot be compressed."""
    given: dict[str, Any] = {
        "body": Random(seed).randbytes(body_bytes),
        "model": "smollm2",
        "identity": b"i" * 32,
        "labels": (b"label--1",),
        "created_ms": NOW,
        "fresh_until_ms": NOW + HOUR,
        "cost_ms": 12.5,
        "stream": False,
    }
    return Entry(**{**given, **fields})


async def one(tier: Tier, key: Key, now_ms: int = NOW) -> Entry | None:
    """Look for one key."""
    [entry] = await tier.get([key], now_ms)
    return entry


async def look_up(layers: LayeredCache, key: Key, now_ms: int = NOW) -> Found:
    """Look for one key as a call does: into the memory, and below it when that has nothing."""
    entry = layers.find(key, now_ms)
    if entry is not None:
        return Found(entry, (), layers.tiers()[0].name)
    return await layers.get_below(key, now_ms)


async def held(tier: Tier, count: int, namespace: str = "a", now_ms: int = NOW) -> list[int]:
    """The numbers of the keys that a tier has, found without using them."""
    # What a sweep is asked about is what is there.
    seen: list[int] = []

    def note(key: Key, entry: Entry) -> bool:
        if key.namespace == new_key(0, namespace).namespace:
            seen.append(int.from_bytes(key.digest, "big"))
        return False

    for _ in range(4):
        await tier.sweep(now_ms, note, 10 * count + 10)
    return sorted(set(seen))
