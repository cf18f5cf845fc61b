"""Sees whether a broker delivers everything that it says it keeps: one whose files were cut off starts, and delivers
nothing after the place. Called by `forebay up` before it uses the broker's files after a death.
"""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from scheduler.lanes import Lane
from scheduler.ports.log import Kept, LogReader


async def examine(reader: LogReader, lanes: Sequence[Lane]) -> int:
    """Read all topics to their ends; returns the number of messages. Raises LogUnavailable when one cannot be."""
    readings: list[AsyncGenerator[Kept, None]] = [reader.lane(lane) for lane in lanes]
    readings += [reader.parked(pool) for pool in sorted({lane.pool for lane in lanes})]
    readings.append(reader.journal())
    messages = 0
    for reading in readings:
        async with aclosing(reading) as kept:
            async for _ in kept:
                messages += 1
    return messages
