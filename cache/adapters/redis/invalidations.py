"""Invalidations that all gateways share.

    fb:c:invalidations    a stream of the latest, many in each part, gone a day after the last one

A part is published as news. Who misses the message finds it within half a second, for everybody goes on where he
stopped reading.
"""

from collections.abc import Sequence
from struct import Struct
from typing import Final

from redis.asyncio import Redis
from redis.exceptions import RedisError

from cache.adapters.redis.news import CHANNEL, POLL_S, News, until_set
from cache.ports import DIGEST_BYTES, NAMESPACE_BYTES, Invalidation, InvalidationsAway, Key
from scheduler.adapters.redis.scripts import run_commands
from scheduler.errors import RecordsUnavailable

INVALIDATIONS: Final = "fb:c:invalidations"
MOST_PARTS: Final = 256
"""Parts that are remembered; with as many in each as are told at once, 7 MB."""
_READ_AT_ONCE: Final = 64
_DAY_MS: Final = 86_400_000
_ONE: Final = Struct(f"<{NAMESPACE_BYTES}s{DIGEST_BYTES}sq")
_FAULTS: Final = (RecordsUnavailable, RedisError)


class RedisInvalidations:
    """Invalidations on Redis, as one process sees them. Does not own the client."""

    def __init__(self, client: Redis, news: News) -> None:
        self._client, self._news = client, news
        self._read = b"0"
        """The part that was read last."""

    async def tell(self, outdated: Sequence[Invalidation]) -> None:
        """Tell; see Invalidations."""
        part = b"".join(_ONE.pack(*each.key, each.before_ms) for each in outdated)
        try:
            await run_commands(
                self._client,
                [
                    ("XADD", INVALIDATIONS, "MAXLEN", MOST_PARTS, "*", "i", part),
                    ("PEXPIRE", INVALIDATIONS, _DAY_MS),
                    ("PUBLISH", CHANNEL, INVALIDATIONS),
                ],
            )
        except _FAULTS as error:
            raise InvalidationsAway(f"gateways cannot be told ({type(error).__name__})") from error

    async def heard(self) -> list[Invalidation]:
        """Wait and hear; see Invalidations."""
        command = ("XRANGE", INVALIDATIONS, b"(" + self._read, "+", "COUNT", _READ_AT_ONCE)
        with self._news.of(INVALIDATIONS) as event:
            while True:
                try:
                    [parts] = await run_commands(self._client, [command])
                except _FAULTS as error:
                    raise InvalidationsAway(f"gateways cannot be heard ({type(error).__name__})") from error
                if parts:
                    self._read = parts[-1][0]
                    return [each for _, fields in parts for each in _unpacked(fields[1])]
                await until_set(event, POLL_S)


def _unpacked(part: bytes) -> list[Invalidation]:
    """Return what is in a part. What is no whole one at its end is left out."""
    whole = len(part) - len(part) % _ONE.size
    return [
        Invalidation(Key(namespace, digest), before_ms)
        for namespace, digest, before_ms in _ONE.iter_unpack(part[:whole])
    ]
