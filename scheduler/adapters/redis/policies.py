"""Keeps the policy that stands: one hash for all pools."""

from typing import Final

from redis.asyncio import Redis

from scheduler.adapters.redis.scripts import load_bare_script, run_commands, run_script
from scheduler.ports.policies import StoredPolicy

POLICY: Final = "fb:policy"
"""The hash of the policy: version, body, time."""


class RedisPolicies:
    """PolicyStore on Redis. Does not own the client."""

    def __init__(self, client: Redis) -> None:
        self._client = client
        self._replace = load_bare_script("replace_policy")

    async def policy(self) -> StoredPolicy:
        """Return the policy that stands; see PolicyStore."""
        [(version, body, time)] = await run_commands(
            self._client, [("HMGET", POLICY, "version", "body", "time")]
        )
        return StoredPolicy(int(version or 0), body or b"", int(time or 0))

    async def replace(self, body: bytes, version: int) -> StoredPolicy | None:
        """Store a policy if this version stands; see PolicyStore."""
        [stored] = await run_script(self._client, self._replace, [(POLICY, [version, body])])
        return StoredPolicy(stored[0], body, stored[1]) if stored else None
