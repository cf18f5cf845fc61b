"""Gives what a gateway noted of its keys to all gateways, beside its calls."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from cache.advice import SampledTrace, TraceLog, share_trace
from scheduler.ports.clock import Clock


@asynccontextmanager
async def shared_trace(trace: SampledTrace, log: TraceLog, clock: Clock, who: bytes) -> AsyncIterator[None]:
    """Share what is noted while the block lasts; `who` names this gateway."""
    async with asyncio.TaskGroup() as group:
        sharing = group.create_task(share_trace(trace, log, clock, who))
        try:
            yield
        finally:
            sharing.cancel()
