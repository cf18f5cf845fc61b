"""Where a sweep over all namespaces stands: which is looked at, and how far."""

from collections.abc import Collection
from typing import Final

from redis.asyncio import Redis

from cache.adapters.redis.names import NAMESPACES
from scheduler.adapters.redis.scripts import run_commands

_NAMESPACES_AT_ONCE: Final = 64


class Round:
    """Goes through the namespaces that are known here or to the server, which may have evicted its list of them: a
    part of each at a time. Then it begins anew.
    """

    def __init__(self) -> None:
        self._to_visit: list[bytes] = []
        self._known: frozenset[bytes] | None = None
        self._next: bytes | int = 0
        self._listed = False
        self.cursor: bytes | int = 0
        """Where to go on in the current namespace."""

    async def namespace(self, client: Redis, known: Collection[bytes]) -> bytes | None:
        """Return the namespace to go on with; None at the end of the round, and then the next call begins anew."""
        if self._known is None:
            self._known = frozenset(known)
            self._to_visit = list(self._known)
        while not self._to_visit:
            if self._listed and int(self._next) == 0:
                self._known, self._listed = None, False
                return None
            command = ("SSCAN", NAMESPACES, self._next, "COUNT", _NAMESPACES_AT_ONCE)
            [[self._next, tags]] = await run_commands(client, [command])
            self._listed = True
            self._to_visit = [tag for tag in tags if tag not in self._known]
        return self._to_visit[-1]

    def reached(self, cursor: bytes | int) -> None:
        """Note how far the current namespace has been looked at; zero: to its end."""
        self.cursor = cursor
        if int(cursor) == 0:
            self._to_visit.pop()
