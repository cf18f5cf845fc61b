"""Gets the log ready beside the calls. Used once by `app.py`; what is published waits for it in the log's publisher.

A broker that is away, or has just come back and is slow, is no reason not to start: reading needs no log, and a submit
says by itself, in time, that the log is away.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

from scheduler.errors import LogUnavailable
from scheduler.ports.clock import Clock
from services.log_waiting import until_log_answers

START_S: Final = 5.0
"""Longest wait for the log at the start. Mostly it takes less, and then no first submit waits for anything."""

_LOG: Final = logging.getLogger(__name__)


@asynccontextmanager
async def log_opening(
    make_topics: Callable[[], Awaitable[None]], open_lanes: Callable[[], Awaitable[None]], clock: Clock
) -> AsyncIterator[None]:
    """Make topics, as soon as the log answers, and then open lanes. The block begins when that is done, or after
    START_S; leaving it gives up what is not done then.

    What `make_topics` raises, other than LogUnavailable, ends the block, in an ExceptionGroup: StartupRefused, for one.
    """
    async with asyncio.TaskGroup() as group:
        opening = group.create_task(_open(make_topics, open_lanes, clock))
        try:
            await asyncio.wait((opening,), timeout=START_S)
            yield
        finally:
            opening.cancel()


async def _open(
    make_topics: Callable[[], Awaitable[None]], open_lanes: Callable[[], Awaitable[None]], clock: Clock
) -> None:
    await until_log_answers(make_topics, clock)
    try:
        await open_lanes()
    except LogUnavailable as error:
        # The first payload for each of them tries again.
        _LOG.warning("producers not open yet", extra={"reason": error.reason})
