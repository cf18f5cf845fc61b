"""Keeps which models are wanted: one hash, model to number and word."""

from typing import Final

from redis.asyncio import Redis

from scheduler.adapters.redis.scripts import load_bare_script, run_commands, run_script
from scheduler.ports.wanted_models import WantedModel

WANTED: Final = "fb:wanted_models"
"""The hash. Its field with the empty name is the last number."""


class RedisWantedModels:
    """WantedModels on Redis. Does not own the client."""

    def __init__(self, client: Redis) -> None:
        self._client = client
        self._want = load_bare_script("want_model")
        self._forget = load_bare_script("forget_model")

    async def want(self, model: str, *, loaded: bool) -> int:
        """Keep a word; see WantedModels."""
        [number] = await run_script(self._client, self._want, [(WANTED, [model, int(loaded)])])
        return int(number)

    async def forget(self, model: str, number: int) -> None:
        """Forget a word; see WantedModels."""
        await run_script(self._client, self._forget, [(WANTED, [model, number])])

    async def wanted(self) -> list[WantedModel]:
        """Return the last words; see WantedModels."""
        [flat] = await run_commands(self._client, [("HGETALL", WANTED)])
        found = []
        for i in range(0, len(flat), 2):
            if flat[i]:
                number, loaded = flat[i + 1].split(b";")
                found.append(WantedModel(int(number), flat[i].decode(), loaded == b"1"))
        return sorted(found)
