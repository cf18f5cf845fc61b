"""What a computation knows of those who wait for it, and what it tells them on the way."""

from collections.abc import Callable

from cache.flights.chunks import ChunkBuffer
from cache.flights.rules import higher


class Lead:
    """Handed to the one who computes. For one event loop."""

    def __init__(self, level: int, buffer: ChunkBuffer, apart: Callable[[ChunkBuffer], None]) -> None:
        """`apart` is called with what the caller alone is to be given."""
        self.level = level
        """The highest level of all who wait, here and at other gateways."""
        self.buffer = buffer
        self.apart = False
        """Whether what is computed is its caller's alone."""
        self._set_apart = apart
        self._raised: Callable[[int], None] | None = None

    def publish(self, chunk: bytes) -> None:
        """Give a chunk to those who follow the stream. Never waits."""
        self.buffer.append(chunk)

    def set_apart(self) -> None:
        """Take in that what is computed is not what the others asked for: nobody but the caller is given it, and what
        was published so far is void. Idempotent.
        """
        if not self.apart:
            self.apart = True
            self.buffer = ChunkBuffer()
            self._set_apart(self.buffer)

    def when_raised(self, tell: Callable[[int], None]) -> None:
        """Have `tell` called with the new level whenever somebody of a higher one begins to wait."""
        self._raised = tell

    def wanted_at(self, level: int) -> None:
        """Take in that somebody of this level waits."""
        wanted = higher(self.level, level)
        if wanted != self.level:
            self.level = wanted
            if self._raised is not None:
                self._raised(wanted)
