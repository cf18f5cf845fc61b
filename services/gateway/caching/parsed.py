"""Large kept answers that are told just now: all who are told one at a time share what was read of it."""

from collections.abc import Callable
from typing import Final
from weakref import WeakValueDictionary

from cache.ports import Entry, Key
from services.gateway.caching.landed import Landed

LARGE_BYTES: Final = 64 << 10
"""Smaller ones are read each time: that takes less than to look for them here."""


class Parsed:
    """Of one gateway. It keeps nothing: what was read goes with the last who is told it."""

    def __init__(self, read: Callable[[Entry, str], Landed | None]) -> None:
        """`read` reads an entry, which was found in a tier."""
        self._read = read
        self._told: WeakValueDictionary[Key, Landed] = WeakValueDictionary()

    def of(self, key: Key, entry: Entry, tier: str) -> Landed | None:
        """Return what is read of an entry; None for what cannot be."""
        if len(entry.body) < LARGE_BYTES:
            return self._read(entry, tier)
        landed = self._told.get(key)
        if landed is None or landed.tier != tier or not _same(landed.entry, entry):
            landed = self._read(entry, tier)
            if landed is not None:
                self._told[key] = landed
        return landed


def _same(one: Entry | None, other: Entry) -> bool:
    """Tell whether two are one entry. A tier that is no memory makes a new one of it each time."""
    return one is other or (one is not None and one.created_ms == other.created_ms and one == other)
