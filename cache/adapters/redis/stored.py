"""Entries on their way to the server's scripts and back."""

from collections.abc import Sequence
from dataclasses import replace

from cache.entry import Damaged, TooLarge, pack, unpack
from cache.ports import Entry, Key
from cache.tiers.settings import TierSettings
from scheduler.adapters.redis.connection import Argument


def arguments_of(key: Key, entry: Entry, settings: TierSettings, now_ms: int) -> list[Argument]:
    """Return what `put.lua` takes of an entry, which says no time to live for one that is not to be kept; nothing where
    it cannot even be told when it was created.
    """
    life_ms = min(entry.fresh_until_ms - now_ms, settings.ttl_ms)
    try:
        facts = pack(key, replace(entry, body=b""))
    except TooLarge:
        return []
    if entry.size <= settings.entry_bytes and life_ms > 0:
        try:
            return [key.digest, life_ms, facts, pack(key, entry)]
        except TooLarge:
            pass
    return [key.digest, 0, facts, b""]


def outdating(key: Key, before_ms: int) -> list[Argument]:
    """Return what `put.lua` takes to remove what was created before a time."""
    facts = Entry(b"", "", b"", (), before_ms - 1, 0, 0.0, False)
    return [key.digest, 0, pack(key, facts), b""]


def entry_of(key: Key, stored: bytes | None, now_ms: int) -> Entry | Damaged | None:
    """Return what a stored form says; None where there is none, or its time is over."""
    if stored is None:
        return None
    try:
        entry = unpack(key, stored)
    except Damaged as damage:
        return damage
    return entry if entry.fresh_until_ms > now_ms else None


def by_namespace(keys: Sequence[Key]) -> dict[bytes, list[Key]]:
    """Return keys by namespace, each once."""
    groups: dict[bytes, dict[Key, None]] = {}
    for key in keys:
        groups.setdefault(key.namespace, {})[key] = None
    return {tag: list(group) for tag, group in groups.items()}
