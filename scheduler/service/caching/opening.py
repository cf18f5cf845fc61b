"""Connects a scheduler with what gateways know of answers, and keeps its purge markers while a block lasts."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Coroutine, Iterable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from random import Random
from typing import Any, Final

from cache.adapters.memory import MemoryFlights, MemoryTier
from cache.adapters.redis import (
    News,
    RedisFlights,
    RedisInvalidations,
    RedisPurges,
    RedisRelay,
    RedisTier,
    RedisTraces,
    carrying,
)
from cache.advice import SampledTrace, share_trace
from cache.advice.log import WHO_BYTES
from cache.flights import Sharing
from cache.ports import PurgesAway
from cache.purge_board import PurgeBoard
from cache.tiers import Below, LayeredCache, sweep_behind, tell_outdated
from cache.troubles import Troubles
from scheduler.adapters.redis import connect
from scheduler.ports.clock import Clock
from scheduler.service.caching.answers import Answers
from scheduler.service.caching.settings import TaskCacheSettings

MEMORY_BYTES: Final = 1
"""A scheduler keeps no answers in its memory: one that it finds ends all who ask for it at once."""
MOST_NOTED: Final = 16_384
"""Sampled uses that wait to be shared, the latest: about 4 MB. They are shared each half minute, for advice is given by
gateways."""


@asynccontextmanager
async def open_answers(settings: TaskCacheSettings, clock: Clock, chance: Random) -> AsyncIterator[Answers]:
    """Run what a scheduler needs of the cache while the block lasts; a server that is away is tried again.

    Without a server nothing is kept: there is nobody to share it with, and nobody who could purge it.
    """
    who = secrets.token_hex(8)
    if not settings.redis_url:
        alone = MemoryFlights(clock)
        sharing = Sharing(alone, alone, clock, who)
        yield Answers(
            None,
            sharing,
            clock,
            settings.longest_ttl_ms,
            settings.entry_bytes,
            chance,
            budget=settings.budget(clock),
        )
        return
    async with AsyncExitStack() as stack:
        client = connect(settings.redis_url, timeout_s=settings.redis_timeout_s)
        stack.push_async_callback(client.aclose)
        await stack.enter_async_context(carrying(client))
        news = News(client)
        board = PurgeBoard(RedisPurges(client, news), clock, longest_ttl_ms=settings.longest_ttl_ms)
        layers = LayeredCache(
            MemoryTier(
                settings.tier(MEMORY_BYTES, MEMORY_BYTES, settings.redis_ttl_s, settings.redis_policy), chance
            ),
            [
                Below(
                    RedisTier(client, settings.redis()),
                    shared=True,
                    usable=lambda: board.current,
                )
            ],
            dead=board.dead,
            monotonic=clock.monotonic,
        )
        stack.push_async_callback(layers.close)
        with suppress(PurgesAway):
            await board.refresh()
        trace = SampledTrace(settings.trace_rate, MOST_NOTED) if settings.trace_rate else None
        beside = [tell_outdated(layers, RedisInvalidations(client, news), clock)]
        if trace is not None:
            beside.append(share_trace(trace, RedisTraces(client), clock, secrets.token_bytes(WHO_BYTES)))
        await stack.enter_async_context(_running(layers, board, news, clock, beside))
        sharing = Sharing(RedisFlights(client, news), RedisRelay(client, news), clock, who)
        answers = Answers(
            *(layers, sharing, clock, settings.longest_ttl_ms, settings.entry_bytes, chance, trace),
            budget=settings.budget(clock),
        )
        answers.troubles = Troubles(
            board, (layers.faults, sharing.faults), [tier.name for tier in layers.tiers()[1:]]
        )
        yield answers


@asynccontextmanager
async def _running(
    layers: LayeredCache,
    board: PurgeBoard,
    news: News,
    clock: Clock,
    beside: Iterable[Coroutine[Any, Any, None]],
) -> AsyncIterator[None]:
    """Hear of ends and purges, write behind and sweep while the block lasts, and what else there is."""
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(layers.run()),
            group.create_task(board.follow()),
            group.create_task(news.run()),
            # Without it what others once held would be taken to be there for ever, and leave no room.
            group.create_task(sweep_behind(layers, lambda: board.heard, clock)),
            *map(group.create_task, beside),
        ]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
