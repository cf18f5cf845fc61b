"""Who is there, by cards with an expiry, and who has which duty."""

from collections.abc import Sequence

from redis.asyncio import Redis

from scheduler.adapters.redis.scripts import load_bare_script, run_commands, run_script


class RedisMembership:
    """Membership on Redis. Does not own the client."""

    def __init__(self, client: Redis) -> None:
        self._client = client
        self._announce = load_bare_script("announce_member")
        self._members = load_bare_script("read_members")
        self._hold = load_bare_script("hold_duty")

    async def announce(self, role: str, member: str, card: bytes, ttl_ms: int) -> None:
        """Show a card; see Membership."""
        await run_script(self._client, self._announce, [(_role(role), [member, card, ttl_ms])])

    async def withdraw(self, role: str, member: str) -> None:
        """Take a card away; see Membership."""
        await run_commands(self._client, [("HDEL", _role(role), member)])

    async def members(self, role: str) -> Sequence[tuple[str, bytes]]:
        """Read the cards that are there; see Membership."""
        [flat] = await run_script(self._client, self._members, [(_role(role), [])])
        return sorted([(flat[i].decode(), flat[i + 1]) for i in range(0, len(flat), 2)])

    async def hold(self, duty: str, member: str, ttl_ms: int) -> bool:
        """Take or keep a duty; see Membership."""
        [held] = await run_script(self._client, self._hold, [(f"fb:{{duty}}:{duty}", [member, ttl_ms])])
        return bool(held)


def _role(role: str) -> str:
    return f"fb:{{members}}:{role}"
