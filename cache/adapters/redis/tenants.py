"""The tags of tenants whom any gateway knows.

fb:c:tenants    a set of their tags
"""

from collections.abc import Collection
from typing import Final

from redis.asyncio import Redis
from redis.exceptions import RedisError

from cache.ports import PurgesAway
from scheduler.adapters.redis.connection import Command
from scheduler.adapters.redis.scripts import run_commands
from scheduler.errors import RecordsUnavailable

TENANTS: Final = "fb:c:tenants"
_FAULTS: Final = (RecordsUnavailable, RedisError)


class RedisTenants:
    """TenantTags on Redis. Does not own the client."""

    def __init__(self, client: Redis) -> None:
        self._client = client

    async def read(self) -> frozenset[bytes]:
        """Return those that are known; see TenantTags."""
        [tags] = await self._run(("SMEMBERS", TENANTS))
        return frozenset(tags)

    async def change(self, added: Collection[bytes], gone: Collection[bytes]) -> None:
        """Add some and take some out; see TenantTags."""
        changes: list[Command] = []
        if added:
            changes.append(("SADD", TENANTS, *added))
        if gone:
            changes.append(("SREM", TENANTS, *gone))
        if changes:
            await self._run(*changes)

    async def _run(self, *commands: Command) -> list[list[bytes]]:
        try:
            return await run_commands(self._client, commands)
        except _FAULTS as error:
            raise PurgesAway(f"the list of tenants does not answer ({type(error).__name__})") from error
