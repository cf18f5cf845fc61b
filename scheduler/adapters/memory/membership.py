"""Cards and duties that expire, in memory."""

from collections.abc import Sequence

from scheduler.ports.clock import Clock


class MemoryMembership:
    """Membership in memory, for processes that are one."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._cards: dict[tuple[str, str], tuple[bytes, int]] = {}
        self._duties: dict[str, tuple[str, int]] = {}

    async def announce(self, role: str, member: str, card: bytes, ttl_ms: int) -> None:
        """Show a card; see Membership."""
        self._cards[role, member] = card, self._clock.now_ms() + ttl_ms

    async def withdraw(self, role: str, member: str) -> None:
        """Take a card away; see Membership."""
        self._cards.pop((role, member), None)

    async def members(self, role: str) -> Sequence[tuple[str, bytes]]:
        """Read the cards that are there; see Membership."""
        now = self._clock.now_ms()
        self._cards = {place: shown for place, shown in self._cards.items() if shown[1] > now}
        return sorted([(member, card) for (kind, member), (card, _) in self._cards.items() if kind == role])

    async def hold(self, duty: str, member: str, ttl_ms: int) -> bool:
        """Take or keep a duty; see Membership."""
        now = self._clock.now_ms()
        holder, until_ms = self._duties.get(duty, (member, 0))
        if holder != member and until_ms > now:
            return False
        self._duties[duty] = member, now + ttl_ms
        return True
