"""What goes on beside the calls while a gateway has a cache."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from cache.adapters.redis import News
from cache.ports import Invalidations
from cache.purge_board import PurgeBoard
from cache.tiers import LayeredCache, hear_outdated, sweep_behind, tell_outdated
from scheduler.ports.clock import Clock

DRAIN_S: Final = 1.0
"""Longest wait at the end for what is to be written into the tiers below."""


@asynccontextmanager
async def upkeep(
    layers: LayeredCache, board: PurgeBoard, invalidations: Invalidations, news: News | None, clock: Clock
) -> AsyncIterator[None]:
    """Write behind, follow the purge markers and what is computed anew elsewhere, and sweep while the block lasts; then
    write what waits.
    """
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(layers.run()),
            group.create_task(board.follow()),
            group.create_task(tell_outdated(layers, invalidations, clock)),
            group.create_task(hear_outdated(layers, invalidations, clock)),
            group.create_task(sweep_behind(layers, lambda: board.heard, clock)),
        ]
        if news is not None:
            tasks.append(group.create_task(news.run()))
        try:
            yield
        finally:
            await layers.drained(DRAIN_S)
            for task in tasks:
                task.cancel()
