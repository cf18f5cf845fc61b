"""Gateways whose answers lie in one tier alone, and the calls that wait for an answer: shared by tests of the cache."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cache.adapters.disk import DiskTier
from cache.adapters.redis import RedisTier
from cache.flights.local import LocalFlight
from services.gateway.caching import CacheSettings
from tests.integration.cached_gateway import ON

TIERS = ("memory", "redis", "disk")


def alone(tier: str, redis_url: str, folder: Path, patch: pytest.MonkeyPatch) -> CacheSettings:
    """Return settings with which answers are kept in this tier and in no other one. It may take its time to answer:
    the machine may have much else to do.
    """
    for make in (DiskTier.open, RedisTier.__init__):
        assert make.__kwdefaults__ is not None
        patch.setitem(make.__kwdefaults__, "lookup_s", 5.0)
    if tier == "memory":
        return ON
    # No entry fits into the memory, so each is looked for below it, however often it is asked for.
    below = replace(ON, memory_bytes=1, redis_timeout_s=5.0)
    if tier == "redis":
        return replace(below, redis_url=redis_url)
    return replace(below, disk_folder=folder / "disk")


class Seats:
    """Counts who waits for an answer that is being computed, at all gateways of this process."""

    def __init__(self) -> None:
        self.taken = 0
        self._wanted: list[tuple[int, asyncio.Event]] = []

    def sit(self) -> None:
        self.taken += 1
        for count, event in self._wanted:
            if self.taken >= count:
                event.set()

    async def until(self, count: int) -> None:
        """Wait until so many calls have begun to wait."""
        event = asyncio.Event()
        self._wanted.append((count, event))
        if self.taken < count:
            async with asyncio.timeout(15):
                await event.wait()


@contextmanager
def seats_counted() -> Iterator[Seats]:
    """Count, while the block lasts, each call that leads or follows."""
    seats = Seats()
    before = LocalFlight.sit

    def sit(flight: LocalFlight[Any], seat: Any) -> None:
        before(flight, seat)
        seats.sit()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LocalFlight, "sit", sit)
        yield seats
