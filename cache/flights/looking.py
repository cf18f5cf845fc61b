"""One look into the slower tiers for all who want the same key at one moment, in one process.

Without it a key that many ask for at once would be looked up once for each of them before their flight begins.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from cache.ports import Key

T = TypeVar("T")


class SharedLooks(Generic[T]):
    """The look-ups under way. For one event loop."""

    def __init__(self) -> None:
        self._under_way: dict[Key, asyncio.Future[T | None]] = {}

    async def look(self, key: Key, look: Callable[[Key], Awaitable[T]]) -> T:
        """Return what `look` finds, called by the first who asks; when that one is cancelled, or its look-up raises
        something, the next one looks.
        """
        while (other := self._under_way.get(key)) is not None:
            # Whoever is cancelled while it waits leaves the others what they wait for.
            found = await asyncio.shield(other)
            if found is not None:
                return found
        own: asyncio.Future[T | None] = asyncio.get_running_loop().create_future()
        self._under_way[key] = own
        try:
            looked = await look(key)
            own.set_result(looked)
            return looked
        finally:
            del self._under_way[key]
            if not own.done():
                own.set_result(None)
