"""Follows a flight that another gateway leads: its end, and its chunks when somebody here wants them."""

import asyncio
from typing import TypeVar

from cache.flights.chunks import ChunkBuffer
from cache.flights.local import LocalFlight
from cache.flights.relay import BEGINNING
from cache.flights.sharing import Sharing
from cache.ports import NOBODY, Following, Landing, Leading

T = TypeVar("T")


async def follow(
    flight: LocalFlight[T], turn: Following, sharing: Sharing, group: asyncio.TaskGroup
) -> Landing | Leading | Following | None:
    """Wait until the flight has landed, and return how; or the new turn when the next began meanwhile; or None when
    it ended unseen, after which it must be begun again.
    """
    ended = group.create_task(sharing.ended(flight.key, turn.fence))
    chunks = group.create_task(_copy_chunks(flight, turn.fence, sharing))
    try:
        while True:
            rose = group.create_task(flight.level_rose.wait())
            try:
                await asyncio.wait({ended, rose}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                rose.cancel()
            if ended.done():
                return ended.result()
            flight.level_rose.clear()
            flight.told_level = flight.seats.level
            flight.beginning = True
            try:
                again = await sharing.begin(flight.key, flight.told_level)
            finally:
                flight.beginning = False
            if not flight.seats or not isinstance(again, Following) or again.fence != turn.fence:
                return again
    finally:
        ended.cancel()
        chunks.cancel()
        await asyncio.wait({ended, chunks})
        flight.told_level = NOBODY
        flight.level_rose.clear()


async def _copy_chunks(flight: LocalFlight[T], fence: int, sharing: Sharing) -> None:
    """Put the leader's chunks where those who wait here read them, once somebody does."""
    await flight.stream_wanted.wait()
    cursor = BEGINNING
    buffer: ChunkBuffer | None = None
    while (found := await sharing.read(flight.key, fence, cursor)) is not None:
        chunks, cursor = found
        for place, body in chunks:
            if buffer is None or place != buffer.end:
                # The leader began anew, or what is missing was trimmed: then readers wait for the whole answer.
                buffer = ChunkBuffer(first=place)
                flight.begin_chunks(buffer)
            buffer.append(body)
