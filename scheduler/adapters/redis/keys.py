"""Looks idempotency keys up: one EXISTS for all keys of a partition, and one for each key only where some are there.

Nearly every question is about keys that nobody ever used, from calls that are over a limit; so that answer is cheap.
"""

from collections.abc import Sequence

from redis.asyncio import Redis

from scheduler.adapters.redis.connection import Command
from scheduler.adapters.redis.partitions import PREFIXES, key_digest
from scheduler.adapters.redis.scripts import run_commands


class RedisKeys:
    """KeyStore on Redis. Does not own the client."""

    def __init__(self, client: Redis) -> None:
        self._client = client

    async def known(self, tenant: str, keys: Sequence[tuple[int, str]]) -> list[bool]:
        """Look keys up; see KeyStore."""
        answers = [False] * len(keys)
        names: dict[int, list[tuple[int, str]]] = {}
        for place, (partition, key) in enumerate(keys):
            name = f"{PREFIXES[partition]}k:{key_digest(tenant, key)}"
            names.setdefault(partition, []).append((place, name))
        groups = list(names.values())
        together: list[Command] = [("EXISTS", *(name for _, name in group)) for group in groups]
        counts = await run_commands(self._client, together) if together else []
        some = [pair for group, count in zip(groups, counts, strict=True) if count for pair in group]
        if some:
            each: list[Command] = [("EXISTS", name) for _, name in some]
            for (place, _), there in zip(some, await run_commands(self._client, each), strict=True):
                answers[place] = bool(there)
        return answers
