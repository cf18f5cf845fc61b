"""Puts a gateway's result cache together from its settings, and runs it while a block lasts."""

import hashlib
import logging
import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Final

from cache.adapters.memory import (
    MemoryFlights,
    MemoryInvalidations,
    MemoryPurges,
    MemoryTenants,
    MemoryTier,
    MemoryTraces,
)
from cache.adapters.redis import (
    News,
    RedisFlights,
    RedisInvalidations,
    RedisPurges,
    RedisRelay,
    RedisTenants,
    RedisTier,
    RedisTraces,
    carrying,
)
from cache.advice import SampledTrace, TraceLog
from cache.advice.log import WHO_BYTES
from cache.flights import ALONE, Relay, Sharing, single_flight
from cache.key.digest import SHORTEST_SECRET_BYTES
from cache.ports import Flights, Invalidations, Purges, PurgesAway, TierAway
from cache.purge_board import PurgeBoard, PurgeCopy
from cache.tenants import TenantTags
from cache.tiers import Below
from cache.troubles import Troubles
from scheduler.adapters.redis import connect
from scheduler.errors import StartupRefused
from scheduler.ports.clock import Clock
from services.gateway.caching.control import CacheControl, NamedKeys
from services.gateway.caching.landed import Landed
from services.gateway.caching.result_cache import ResultCache
from services.gateway.caching.settings import CacheSettings
from services.gateway.caching.trace_sharing import shared_trace
from services.gateway.caching.upkeep import upkeep
from services.gateway.caching.uses import NotedCache

if TYPE_CHECKING:
    from cache.adapters.disk import DiskPurgeCopy, DiskTenants, DiskTier

_LOG: Final = logging.getLogger(__name__)
_PURPOSE: Final = b"forebay result cache 1\0"


@dataclass(frozen=True, slots=True)
class OpenedCache:
    """A gateway's cache that runs."""

    cache: ResultCache
    """What calls use."""
    control: CacheControl
    """What its operators use."""
    troubles: Troubles
    """What is wrong with it."""


@asynccontextmanager
async def open_cache(
    settings: CacheSettings, secret: str, clock: Clock, chance: Random
) -> AsyncIterator[OpenedCache]:
    """Run the cache while the block lasts; a server that is away costs its tier, and is tried again.

    `secret` is that of the gateways, the same for all. Raises StartupRefused when another process has the folder, and
    for a secret that could be guessed where others may see keys that are made with it.
    """
    keys = NamedKeys(_secret(settings, secret), settings.shared)
    async with AsyncExitStack() as stack:
        flights: Flights
        relay: Relay
        purges: Purges
        invalidations: Invalidations
        traces: TraceLog
        copy: PurgeCopy | None = None
        below = []
        tenants: list[TenantTags] = [MemoryTenants()]
        news = None
        if settings.redis_url:
            client = connect(settings.redis_url, timeout_s=settings.redis_timeout_s)
            stack.push_async_callback(client.aclose)
            await stack.enter_async_context(carrying(client))
            news = News(client)
            flights, relay = RedisFlights(client, news), RedisRelay(client, news)
            purges = RedisPurges(client, news)
            invalidations = RedisInvalidations(client, news)
            traces = RedisTraces(client)
            tenants.append(RedisTenants(client))
            below.append(
                Below(RedisTier(client, settings.redis()), shared=True, usable=lambda: board.current)
            )
        else:
            flights = relay = MemoryFlights(clock)
            purges = MemoryPurges().view()
            invalidations = MemoryInvalidations()
            traces = MemoryTraces()
        if settings.disk_folder is not None:
            disk, kept, known = await _disk(settings, clock, chance, stack)
            if await _trusted(disk, kept, clock):
                copy = kept
                below.append(Below(disk, shared=False, holds=disk.holds))
                tenants.append(known)
        board = PurgeBoard(purges, clock, longest_ttl_ms=settings.longest_ttl_ms, copy=copy)
        await board.recall()
        trace = SampledTrace(settings.trace_rate) if settings.trace_rate else None
        who = secrets.token_bytes(WHO_BYTES)
        layers = NotedCache(
            MemoryTier(settings.memory(), chance),
            below,
            dead=board.dead,
            monotonic=clock.monotonic,
            trace=trace,
        )
        stack.push_async_callback(layers.close)
        with suppress(PurgesAway):
            await board.refresh()
        await stack.enter_async_context(upkeep(layers, board, invalidations, news, clock))
        if trace is not None:
            await stack.enter_async_context(shared_trace(trace, traces, clock, who))
        sharing = Sharing(flights, relay, clock, secrets.token_hex(8))
        if not settings.redis_url:
            # What a process begins and lands for itself alone costs more than to look into its memory once more.
            sharing.away_until_s = ALONE
        flying = await stack.enter_async_context(single_flight(sharing, Landed))
        yield OpenedCache(
            ResultCache(layers, keys, flying, clock, settings, chance, lambda: board.markers.changes),
            CacheControl(settings, layers, keys, board, traces, who, clock, tenants),
            Troubles(board, (layers.faults, sharing.faults), [tier.name for tier in layers.tiers()]),
        )


def _secret(settings: CacheSettings, secret: str) -> bytes:
    """Return what keys are made with. Raises StartupRefused."""
    given = secret.encode()
    if len(given) >= SHORTEST_SECRET_BYTES:
        return hashlib.sha256(_PURPOSE + given).digest()
    places = {"redis_url": settings.redis_url, "disk_folder": settings.disk_folder}
    if used := [name for name, place in places.items() if place]:
        raise StartupRefused(
            f"setting gateway.secret has {len(given)} bytes; with cache.{used[0]} at least {SHORTEST_SECRET_BYTES} are "
            "needed, or whoever sees the keys of what is kept could tell what was asked: set "
            "FOREBAY_GATEWAY_SECRET to a random text, the same for all gateways of a system"
        )
    # What is in this process's memory alone nobody else has to find.
    return secrets.token_bytes(2 * SHORTEST_SECRET_BYTES)


async def _disk(
    settings: CacheSettings, clock: Clock, chance: Random, stack: AsyncExitStack
) -> tuple["DiskTier", "DiskPurgeCopy", "DiskTenants"]:
    """Open the tier on disk, to be closed with the stack; returns it, and where purge markers and tenants are kept
    beside it.
    Raises StartupRefused.
    """
    # RocksDB takes a while to be brought in: only now, and only where it is wanted.
    from cache.adapters.disk import DiskInUse, DiskPurgeCopy, DiskTenants, DiskTier

    folder = settings.disk_folder
    assert folder is not None, "asked for with a folder only"
    try:
        disk = await DiskTier.open(folder, settings.disk(), chance, clock.now_ms())
    except DiskInUse as error:
        raise StartupRefused(f"setting cache.disk_folder: {folder} is another process's: {error}")
    stack.push_async_callback(disk.close)
    return disk, DiskPurgeCopy(folder, clock.now_ms), DiskTenants(folder)


async def _trusted(disk: "DiskTier", kept: "DiskPurgeCopy", clock: Clock) -> bool:
    """Tell whether the tier may be used. Where nobody knows what was purged of it, because its own markers are damaged,
    it is emptied first; others are not made to forget what they have.
    """
    if await kept.intact():
        return True
    try:
        await disk.sweep(clock.now_ms(), lambda key, entry: True, disk.stats().entries)
        emptied = not disk.stats().entries
    except TierAway:
        emptied = False
    if emptied:
        await kept.write([])
    _LOG.warning("purge markers on disk lost", extra={"entries": "removed" if emptied else "not used"})
    return emptied
