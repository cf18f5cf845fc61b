"""Sends the chunks of a flight that is led here to the gateways that follow it."""

from typing import Final, TypeVar

from cache.flights.local import LocalFlight
from cache.flights.sharing import Sharing

T = TypeVar("T")

MOST_AT_ONCE: Final = 256
"""Chunks in one message. While one message is under way the next gathers, so the rate adapts by itself."""


async def send_chunks(flight: LocalFlight[T], fence: int, sharing: Sharing) -> None:
    """Return when the last chunk was sent, or it is no use to send more: then followers wait for the answer."""
    while True:
        buffer, changed = flight.buffer, flight.renewed_buffer
        place = buffer.first
        while await buffer.more(place):
            place = max(place, buffer.first)
            chunks = buffer.read(place, MOST_AT_ONCE)
            if not await sharing.send(flight.key, fence, chunks):
                return
            place = chunks[-1].place + 1
        if buffer.whole:
            return
        if flight.buffer is buffer:
            await changed.wait()
