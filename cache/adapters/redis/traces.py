"""Parts of traces that all gateways share.

fb:c:trace    a stream of the latest parts, gone a day after the last one
"""

from collections.abc import Sequence
from typing import Final

from redis.asyncio import Redis
from redis.exceptions import RedisError

from cache.advice.log import MOST_PARTS, TracesAway
from scheduler.adapters.redis.scripts import run_commands
from scheduler.errors import RecordsUnavailable

TRACE: Final = "fb:c:trace"
_DAY_MS: Final = 86_400_000
_FAULTS: Final = (RecordsUnavailable, RedisError)


class RedisTraces:
    """TraceLog on Redis. Does not own the client."""

    def __init__(self, client: Redis) -> None:
        self._client = client

    async def add(self, part: bytes) -> None:
        """Add a part; see TraceLog."""
        try:
            await run_commands(
                self._client,
                [("XADD", TRACE, "MAXLEN", MOST_PARTS, "*", "p", part), ("PEXPIRE", TRACE, _DAY_MS)],
            )
        except _FAULTS as error:
            raise TracesAway(f"the trace of keys cannot be written ({type(error).__name__})") from error

    async def read(self) -> Sequence[bytes]:
        """Return the parts; see TraceLog."""
        try:
            [found] = await run_commands(self._client, [("XRANGE", TRACE, "-", "+")])
        except _FAULTS as error:
            raise TracesAway(f"the trace of keys cannot be read ({type(error).__name__})") from error
        return [fields[1] for _, fields in found]
