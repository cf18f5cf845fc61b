"""Bodies of requests: read as far as there is room for them, whatever their headers say, and no longer than allowed."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Final

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from scheduler.errors import Overloaded
from services.gateway.kserve_http.compression import Inflation, coding_of
from services.gateway.kserve_http.refusals import BadBody, TooLarge, TooSlow

MAX_BODY_BYTES: Final = 64 << 20
"""Of one request, when nothing is compressed any more."""
_RETRY_AFTER_S: Final = 0.25


class Room:
    """Counts bytes of bodies that are in memory, over all requests."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self.bytes = 0

    @contextmanager
    def place(self) -> Iterator["Place"]:
        """Give a body a place, which is its own until the block ends."""
        place = Place(self)
        try:
            yield place
        finally:
            self.bytes -= place.bytes

    def grow(self, place: "Place", size_bytes: int) -> None:
        """Make a place larger. Raises Overloaded; one body is always let in, however large it is."""
        if self.bytes > place.bytes and self.bytes + size_bytes > self._max_bytes:
            raise Overloaded(f"{self.bytes} bytes of requests are held already", _RETRY_AFTER_S)
        self.bytes += size_bytes
        place.bytes += size_bytes


class Place:
    """What one body takes."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self.bytes = 0

    def grow(self, size_bytes: int) -> None:
        """Take more. Raises Overloaded."""
        self._room.grow(self, size_bytes)


async def read_body(request: web.Request, place: Place, within_s: float) -> bytes:
    """Return the body, no longer compressed. Raises BadBody, TooLarge, TooSlow, UnknownEncoding, Overloaded."""
    coding = coding_of(request.headers.get("Content-Encoding", ""))
    if (request.content_length or 0) > MAX_BODY_BYTES:
        raise _too_large()
    if not request.body_exists:
        return b""
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(within_s):
            async for piece in _pieces(request, coding):
                size += len(piece)
                if size > MAX_BODY_BYTES:
                    raise _too_large()
                place.grow(len(piece))
                parts.append(piece)
    except TimeoutError:
        raise TooSlow(f"the body did not come within {within_s:g} s")
    except (web.RequestPayloadError, HttpProcessingError):
        raise BadBody("the body is not what its headers say")
    return parts[0] if len(parts) == 1 else b"".join(parts)


async def _pieces(request: web.Request, coding: str) -> AsyncIterator[bytes]:
    if not coding:
        async for data in request.content.iter_any():
            yield data
        return
    inflation = Inflation(coding)
    empty = True
    async for data in request.content.iter_any():
        empty = empty and not data
        for piece in inflation.feed(data):
            yield piece
            # Others come first: a large body is some milliseconds of work for each MiB.
            await asyncio.sleep(0)
    if not empty:
        inflation.end()


def _too_large() -> TooLarge:
    return TooLarge(f"a body may have {MAX_BODY_BYTES} bytes, what it is when decompressed included")
