"""An answer that was computed anew takes the place of all that is older, in every tier of every gateway (REFRESH)."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress

from cache.ports import Entry, Invalidation, Key, TierAway, TierFault
from cache.tiers.below import FrontTier, Lower
from cache.tiers.outdated import Outdated


class Replacing:
    """Lets go of what is outdated in the tiers of one process."""

    def __init__(self, front: FrontTier, lower: Sequence[Lower]) -> None:
        self._front, self._lower = front, lower
        self._some = asyncio.Event()
        self.outdated = Outdated()
        """What was computed anew lately, here and elsewhere."""

    def covers(self, key: Key, entry: Entry) -> bool:
        """Tell whether something was computed in place of an entry, which must not be given any more."""
        return self.outdated.covers(key, entry)

    def replaced(self, key: Key, created_ms: int) -> None:
        """Take in that an answer, which was created then, was computed in place of what is older: nothing of that comes
        back here, and everybody is told soon.
        """
        one = Invalidation(key, created_ms)
        self.outdated.note(one)
        self.outdated.tell(one)
        self._some.set()

    async def untold(self, most: int) -> list[Invalidation]:
        """Wait until something is to be told, and return those that have waited longest. Cancelling stops the wait."""
        while not (those := self.outdated.untold(most)):
            self._some.clear()
            await self._some.wait()
        return those

    async def outdate(self, those: Sequence[Invalidation], now_ms: int) -> None:
        """Let go of what is outdated in the tiers that only this process reads. Raises nothing for one that is away:
        it is not given while `covers` remembers.
        """
        for one in those:
            self.outdated.note(one)
            for lower in self._lower:
                lower.queue.overtake(one.key, one.before_ms - 1)
        before = _latest(those)
        await self._front.outdate(before, now_ms)
        for lower in self._lower:
            if not lower.shared:
                with suppress(TierAway):
                    await lower.guarded.call(now_ms, lambda tier: tier.outdate(before, now_ms))

    async def outdate_shared(self, those: Sequence[Invalidation], now_ms: int) -> bool:
        """Let go of what is outdated in the tiers that others read, too; False when one of them is away. What a tier
        cannot do for a fault, which is counted, is done as far as it will be.
        """
        before, reached = _latest(those), True
        for lower in self._lower:
            if lower.shared:
                try:
                    await lower.guarded.call(now_ms, lambda tier: tier.outdate(before, now_ms))
                except TierFault:
                    continue
                except TierAway:
                    reached = False
        return reached


def _latest(those: Sequence[Invalidation]) -> dict[Key, int]:
    """Return the latest time of each key: two gateways may tell of theirs in the other order."""
    before: dict[Key, int] = {}
    for key, before_ms in those:
        before[key] = max(before_ms, before.get(key, before_ms))
    return before
