"""Purge markers that all gateways share.

    fb:c:purges    a hash: selector -> '<before ms>;<keep until ms>'; '#' and a namespace -> how many markers it has;
                   the field with the empty name has the time of the last change

Everybody reads all of it after each change, so it must stay small whoever purges how much: of a namespace that has too
many markers one is made that matches all of it.

A change is published. Who misses the message sees the time of it within half a second, and at once when the connection
that listens was lost or is there again.
"""

import asyncio
from typing import Final

from redis.asyncio import Redis
from redis.exceptions import RedisError

from cache.adapters.redis.news import CHANNEL, POLL_S, News, until_set
from cache.adapters.redis.scripts import load_script
from cache.marker import pack_marker, unpack_marker
from cache.ports import Purge, PurgesAway
from cache.purges import MOST_PER_NAMESPACE
from scheduler.adapters.redis.connection import Argument
from scheduler.adapters.redis.scripts import run_commands, run_script
from scheduler.errors import RecordsUnavailable

MARKERS: Final = "fb:c:purges"
MOST_IN_ALL: Final = 16_384
"""From so many markers on, a namespace may add to a few of its own only; about 1 MB."""
FEW: Final = 16
_COUNT: Final = b"#"
_FAULTS: Final = (RecordsUnavailable, RedisError)


class RedisPurges:
    """Purges on Redis, as one gateway sees them. Does not own the client."""

    def __init__(self, client: Redis, news: News) -> None:
        self._client, self._news = client, news
        self._add = load_script("add_purge")
        self._forget = load_script("forget_purges")
        self._turn = asyncio.Lock()
        self._waiting: list[list[Argument]] = []
        self._asked = self._written = self._failed = 0
        """Numbers of markers: the last that was asked for, that is written, that could not be."""
        self._read: bytes | None = None
        """The time of the last change, as of the last reading."""

    async def add(self, purge: Purge, keep_until_ms: int) -> None:
        """Keep a marker; see Purges. Those who come while some are written go together, in the next round trip."""
        self._waiting.append([pack_marker(purge), purge.before_ms, keep_until_ms, CHANNEL, *_bounds(purge)])
        self._asked += 1
        number = self._asked
        async with self._turn:
            if number <= self._failed:
                raise PurgesAway("purge markers could not be written a moment ago")
            if number > self._written:
                await self._write()

    async def _write(self) -> None:
        """Write all markers that wait. Cancelled, it leaves them to the next one who writes."""
        asked = self._asked
        calls = self._waiting[:]
        try:
            await run_script(self._client, self._add, [(MARKERS, arguments) for arguments in calls])
        except _FAULTS as error:
            self._failed = asked
            raise PurgesAway(f"purge markers cannot be written ({type(error).__name__})") from error
        else:
            self._written = asked
        finally:
            if asked in (self._failed, self._written):
                del self._waiting[: len(calls)]

    async def read(self, now_ms: int) -> list[Purge]:
        """Return the markers; see Purges."""
        try:
            [flat] = await run_commands(self._client, [("HGETALL", MARKERS)])
            found = dict(zip(flat[::2], flat[1::2], strict=True))
            self._read = found.pop(b"", b"0")
            over: list[bytes] = []
            purges = []
            for name, value in found.items():
                if name.startswith(_COUNT):
                    continue
                before_ms, keep_until_ms = map(int, value.split(b";"))
                if keep_until_ms > now_ms:
                    purges.append(unpack_marker(name, before_ms))
                else:
                    over += (name, value, _COUNT + _wide(unpack_marker(name, before_ms))[1:])
            if over:
                await run_script(self._client, self._forget, [(MARKERS, over)])
        except _FAULTS as error:
            raise PurgesAway(f"purge markers cannot be read ({type(error).__name__})") from error
        return purges

    async def changed(self) -> None:
        """Wait for a change; see Purges."""
        with self._news.of(MARKERS) as event:
            while True:
                try:
                    [last] = await run_commands(self._client, [("HGET", MARKERS, "")])
                except _FAULTS as error:
                    raise PurgesAway(f"purge markers cannot be read ({type(error).__name__})") from error
                if (last or b"0") != self._read:
                    return
                await until_set(event, POLL_S)


def _wide(purge: Purge) -> bytes:
    """Return the selector of the marker that matches all of a marker's namespace: a byte, and the namespace."""
    return pack_marker(Purge(purge.before_ms, purge.namespace))


def _bounds(purge: Purge) -> tuple[bytes, int, int, int]:
    return _wide(purge), MOST_PER_NAMESPACE, MOST_IN_ALL, FEW
