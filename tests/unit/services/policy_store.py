"""A store of one policy for the tests of those who follow and change it: it can be away, and be changed in between."""

import asyncio

from scheduler.errors import RecordsUnavailable
from scheduler.policies.policy import Policy
from scheduler.ports.policies import StoredPolicy
from services.policy_on_wire import stored


class OnePolicy:
    """PolicyStore in memory."""

    def __init__(self) -> None:
        self.standing = StoredPolicy(0, b"", 0)
        self.away = False
        self.answers = asyncio.Event()
        """Cleared while what a look has found is on its way."""
        self.answers.set()
        self.meanwhile: list[Policy] = []
        """What somebody else stores, one each time, between a look and a replacement."""

    async def policy(self) -> StoredPolicy:
        if self.away:
            raise RecordsUnavailable("the record store is away")
        found = self.standing
        await self.answers.wait()
        return found

    async def replace(self, body: bytes, version: int) -> StoredPolicy | None:
        if self.away:
            raise RecordsUnavailable("the record store is away")
        if self.meanwhile:
            self.put(stored(self.meanwhile.pop(0)))
        if version != self.standing.version:
            return None
        self.put(body)
        return self.standing

    def put(self, body: bytes) -> None:
        self.standing = StoredPolicy(self.standing.version + 1, body, self.standing.time_ms + 1000)
