"""What carries the chunks of a computation to the gateways that follow it."""

from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol

from cache.ports import Key

BEGINNING: Final = b""
"""The cursor of a reader that has read nothing."""


class Numbered(NamedTuple):
    """A chunk and its place in its computation. A place that is not higher than the last one's means that the
    leader began anew there.
    """

    place: int
    body: bytes


class Relay(Protocol):
    """Chunks of flights that are followed, bounded and kept for a short time only. Raises FlightsAway.

    Delivery is in order. What was trimmed is missing at the beginning, which the places show.
    """

    async def send(self, key: Key, fence: int, chunks: Sequence[Numbered]) -> bool:
        """Add chunks; False when the flight is no longer the caller's, or has landed."""
        ...

    async def read(self, key: Key, fence: int, cursor: bytes, *, wait: bool) -> tuple[list[Numbered], bytes]:
        """Return the chunks behind a cursor, and the cursor behind them. `wait`: until there are some."""
        ...
