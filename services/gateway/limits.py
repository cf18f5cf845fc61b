"""How much a gateway takes in at once. What is over is refused at once, before any work is done for it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from scheduler.errors import Overloaded, ShuttingDown

_RETRY_AFTER_S: Final = 0.25


class InFlight:
    """Counts calls and bytes that are being accepted."""

    def __init__(self, max_calls: int, max_bytes: int) -> None:
        self._max_calls = max_calls
        self._max_bytes = max_bytes
        self._calls = 0
        self._bytes = 0
        self._closed = False

    @contextmanager
    def taken(self, size_bytes: int) -> Iterator[None]:
        """Take room for one call while the block runs. Raises Overloaded, or ShuttingDown after `close`.

        One call is always let in, however large it is.
        """
        if self._closed:
            raise ShuttingDown("this gateway is going away", 0.5)
        if self._calls >= self._max_calls:
            raise Overloaded(f"{self._calls} submit calls are being accepted already", _RETRY_AFTER_S)
        if self._calls and self._bytes + size_bytes > self._max_bytes:
            raise Overloaded(f"{self._bytes} bytes of tasks are being accepted already", _RETRY_AFTER_S)
        self._calls += 1
        self._bytes += size_bytes
        try:
            yield
        finally:
            self._calls -= 1
            self._bytes -= size_bytes

    def close(self) -> None:
        """Refuse everything from now on."""
        self._closed = True
