"""Asks the server what time it is."""

from redis.asyncio import Redis

from scheduler.adapters.redis.scripts import run_commands


class RedisStoreTime:
    """StoreTime on Redis. Does not own the client."""

    def __init__(self, client: Redis) -> None:
        self._client = client

    async def now_ms(self) -> int:
        """Return the server's time; see StoreTime."""
        [(seconds, micros)] = await run_commands(self._client, [("TIME",)])
        return int(seconds) * 1000 + int(micros) // 1000
