"""Parts of traces for gateways that live in one process."""

from collections import deque
from collections.abc import Sequence

from cache.advice.log import MOST_PARTS


class MemoryTraces:
    """TraceLog in memory."""

    def __init__(self) -> None:
        self._parts: deque[bytes] = deque(maxlen=MOST_PARTS)

    async def add(self, part: bytes) -> None:
        """Add a part; see TraceLog."""
        self._parts.append(part)

    async def read(self) -> Sequence[bytes]:
        """Return the parts; see TraceLog."""
        return list(self._parts)
