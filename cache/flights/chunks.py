"""The chunks of one running computation, for any number of readers from its beginning."""

import asyncio
from typing import Final

from cache.flights.relay import Numbered

MOST_BYTES: Final = 1 << 20
MOST_CHUNKS: Final = 16_384


class Outrun(Exception):
    """The wanted chunk is no longer kept: the reader must take it from the whole answer."""


class ChunkBuffer:
    """A bounded window of chunks: the oldest goes when there are too many. For one event loop.

    A writer never waits for a reader. One that needs a chunk that is gone is told so.
    """

    def __init__(
        self, *, first: int = 0, most_bytes: int = MOST_BYTES, most_chunks: int = MOST_CHUNKS
    ) -> None:
        self._bodies: dict[int, bytes] = {}
        self.first = first
        """The place of the oldest chunk that is kept."""
        self.end = first
        """The place of the next chunk."""
        self._bytes = 0
        self._most_bytes, self._most_chunks = most_bytes, most_chunks
        self._news: asyncio.Event | None = None
        self.closed = False
        """Whether nothing more comes."""
        self.whole = False
        """Whether what came is the whole answer."""

    def append(self, body: bytes) -> None:
        """Add a chunk. Never waits."""
        self._bodies[self.end] = body
        self.end += 1
        self._bytes += len(body)
        while self._bytes > self._most_bytes or len(self._bodies) > self._most_chunks:
            self._bytes -= len(self._bodies.pop(self.first))
            self.first += 1
        self._tell()

    def close(self, *, whole: bool) -> None:
        """Say that nothing more comes."""
        self.closed, self.whole = True, whole
        self._tell()

    def read(self, place: int, most: int) -> list[Numbered]:
        """Return so many chunks from a place on, as far as they are there. Raises Outrun when that one is gone."""
        if place < self.first:
            raise Outrun(place)
        return [Numbered(place, self._bodies[place]) for place in range(place, min(self.end, place + most))]

    async def more(self, place: int) -> bool:
        """Wait until there is a chunk at this place, and return True; False when none will ever be."""
        while self.end <= place and not self.closed:
            if self._news is None:
                self._news = asyncio.Event()
            await self._news.wait()
        return self.end > place

    def _tell(self) -> None:
        if self._news is not None:
            self._news.set()
            self._news = None
