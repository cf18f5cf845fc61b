"""The tiers, one above another: the process's memory, and below it those that are slower and larger.

    look-up   memory -> redis -> disk, until one has it; what proves useful is copied up (`promotion`), and down into
              a tier that others do not read, unless it has it
    fill      memory at once, the others behind the request (`write_behind`); a flight that lands waits for those that
              other gateways read
    REFRESH   what is older than an answer that was computed in its place is let go of everywhere (`replacing`)
    away      a tier that does not answer is left alone and tried again (`breaker`); the others go on

A purge marker is asked about every entry before it is given, so it does not matter in which tier a dead one still lies.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from cache.faults import Faults
from cache.ports import Entry, Key, Tier, TierAway
from cache.tiers.below import Below, FrontTier, Lower
from cache.tiers.looks import Found, FoundMany, Look, Met
from cache.tiers.replacing import Replacing
from cache.tiers.write_behind import WriteBehind

Ask = Callable[[Tier], Awaitable[list[Entry | None]]]

Dead = Callable[[Key, Entry], bool]
"""Whether a purge marker matches an entry."""


class LayeredCache:
    """All tiers as one. `run` must be running for anything to be written below."""

    def __init__(
        self,
        front: FrontTier,
        below: Sequence[Below],
        *,
        dead: Dead,
        monotonic: Callable[[], float],
    ) -> None:
        self._front = front
        self.faults = Faults(monotonic)
        """What tiers raised beside TierAway."""
        self._lower = [Lower(each, self.faults) for each in below]
        self.dead = dead
        """Whether a purge marker matches an entry: it must not be given to who asks from then on."""
        self._monotonic = monotonic
        self.replacing = Replacing(front, self._lower)
        """What is older than an answer that was computed in its place."""

    def find(self, key: Key, now_ms: int) -> Entry | None:
        """Look into the memory alone; never waits."""
        entry = self._front.find(key, now_ms)
        if entry is not None and self.dead(key, entry):
            self._front.discount(1)
            self._front.drop(key)
            return None
        return entry

    def stands(self, key: Key, entry: Entry, now_ms: int) -> bool:
        """Tell whether the memory has this very entry, and `find` returns it; counts nothing, never waits."""
        return self._front.glance(key, now_ms) is entry and not self.dead(key, entry)

    async def get_below(self, key: Key, now_ms: int) -> Found:
        """Look into every tier but the memory, where `find` has just looked. Raises nothing for a tier that is away."""
        found = await self._go_down(key, now_ms, lambda tier: tier.get([key], now_ms))
        for lower, look in zip(self._lower, found.looks, strict=False):
            if look.met is Met.PURGED:
                lower.guarded.tier.discount(1)
        return found

    async def look_again(self, key: Key, now_ms: int) -> Found:
        """Look into every tier once more, for somebody who has done so before: no tier counts it. What is found is used
        as by `get_below`; `looks` are those below the memory. Raises nothing for a tier that is away.
        """
        entry = self._front.glance(key, now_ms)
        if entry is not None and not self.dead(key, entry):
            return Found(entry, (), self._front.name)
        return await self._go_down(key, now_ms, lambda tier: tier.peek([key], now_ms))

    async def peek_below(self, key: Key, now_ms: int) -> Found:
        """Look into every tier but the memory, as `look_again`."""
        return await self._go_down(key, now_ms, lambda tier: tier.peek([key], now_ms))

    async def look_all_below(self, keys: Sequence[Key], now_ms: int) -> FoundMany:
        """Look for many into every tier but the memory, one call for each tier; return what is there, and for which
        nobody looked, because a tier gave as much as it gives at once: never for all. What is found is used as by
        `get_below`. Raises nothing for a tier that is away.
        """
        found: dict[Key, Entry] = {}
        unseen: list[Key] = []
        looks: list[Look] = []
        tiers: dict[Key, str] = {}
        missing = list(keys)
        for depth, lower in enumerate(self._lower):
            if not missing:
                break
            asked, began_s = missing, self._monotonic()
            try:
                entries = await self._ask(lower, asked, now_ms)
            except TierAway:
                looks.append(Look(lower.name, Met.AWAY, self._monotonic() - began_s, len(asked)))
                continue
            took_s = self._monotonic() - began_s
            met = dict.fromkeys((Met.HIT, Met.MISS, Met.PURGED), 0)
            # A tier that gives as much as it does at once says nothing of the rest.
            unseen += asked[len(entries) :]
            for key, entry in zip(asked, entries, strict=False):
                if entry is None:
                    met[Met.MISS] += 1
                elif self._over(key, entry):
                    met[Met.PURGED] += 1
                else:
                    met[Met.HIT] += 1
                    found[key], tiers[key] = entry, lower.name
                    self._used(depth, key, entry, now_ms)
            lower.guarded.tier.discount(met[Met.PURGED])
            looks += [Look(lower.name, word, took_s, count) for word, count in met.items() if count]
            missing = [key for key in asked[: len(entries)] if key not in found]
        return FoundMany(found, unseen, looks, tiers)

    async def put_all(self, entries: Sequence[tuple[Key, Entry]], now_ms: int) -> bool:
        """Keep entries, and return when the tiers that other gateways read have been given them, in one call for each;
        False when one of them was away, so that not everybody can find them. Cancelling leaves them written behind or
        not at all. What is older than an answer that was computed in its place is not kept.
        """
        entries = [(key, entry) for key, entry in entries if not self.replacing.covers(key, entry)]
        for key, entry in entries:
            self._front.keep(key, entry, now_ms)
            for lower in self._lower:
                if lower.shared:
                    # An older one that waits must not be written over this one.
                    lower.queue.overtake(key, entry.created_ms)
                else:
                    lower.queue.offer(key, entry, now_ms)
        reached = True
        for lower in self._lower:
            if lower.shared:
                try:
                    await lower.guarded.call(now_ms, lambda tier: tier.put(entries, now_ms))
                except TierAway:
                    reached = False
        return reached

    async def put_through(self, key: Key, entry: Entry, now_ms: int) -> bool:
        """Keep one entry; see `put_all`."""
        return await self.put_all([(key, entry)], now_ms)

    def put_near(self, key: Key, entry: Entry, now_ms: int) -> None:
        """Keep one entry, computed here, in the memory alone; unless it is older than one computed in its place."""
        self.copy_near(key, entry, now_ms)

    def copy_near(self, key: Key, entry: Entry, now_ms: int) -> None:
        """Let the memory have what a lower tier gave, as `put_near`."""
        if not self.replacing.covers(key, entry):
            self._front.keep(key, entry, now_ms)

    async def sweep(self, now_ms: int, budget: int) -> int:
        """Take one step of background removal in every tier that answers; return how many entries were removed."""
        removed = await self._front.sweep(now_ms, self.dead, budget)
        for lower in self._lower:
            removed += await _unless_away(
                lower.guarded.call(now_ms, lambda tier: tier.sweep(now_ms, self.dead, budget))
            )
        return removed

    async def run(self) -> None:
        """Write behind until cancelled."""
        async with asyncio.TaskGroup() as group:
            for lower in self._lower:
                group.create_task(lower.queue.run(), name=f"cache:{lower.name}")

    async def drained(self, timeout_s: float) -> bool:
        """Wait until nothing waits to be written; False when something still does after `timeout_s`."""
        try:
            async with asyncio.timeout(timeout_s):
                for lower in self._lower:
                    await lower.queue.drained()
        except TimeoutError:
            return False
        return True

    async def close(self) -> None:
        """Close every tier; `run` must have ended."""
        for tier in self.tiers():
            await tier.close()

    def tiers(self) -> list[Tier]:
        """Return the tiers from the top."""
        return [self._front, *(lower.guarded.tier for lower in self._lower)]

    def away(self) -> list[str]:
        """Return the names of the tiers that are left alone at present."""
        return [lower.name for lower in self._lower if lower.guarded.away]

    def queues(self) -> dict[str, WriteBehind]:
        """Return what waits to be written, by tier."""
        return {lower.name: lower.queue for lower in self._lower}

    async def _go_down(self, key: Key, now_ms: int, ask: Ask) -> Found:
        """Ask the tiers below the memory from the top for one key."""
        looks = []
        for depth, lower in enumerate(self._lower):
            entry, look = await self._look_into(lower, key, now_ms, ask)
            looks.append(look)
            if entry is not None:
                self._used(depth, key, entry, now_ms)
                return Found(entry, tuple(looks), lower.name)
        return Found(None, tuple(looks))

    async def _look_into(self, lower: Lower, key: Key, now_ms: int, ask: Ask) -> tuple[Entry | None, Look]:
        start = self._monotonic()
        try:
            [entry] = await lower.guarded.call(now_ms, ask)
            met = Met.MISS if entry is None else Met.HIT
        except TierAway:
            entry, met = None, Met.AWAY
        if entry is not None and self._over(key, entry):
            entry, met = None, Met.PURGED
        return entry, Look(lower.name, met, self._monotonic() - start)

    def _over(self, key: Key, entry: Entry) -> bool:
        """Tell whether what a lower tier gave is not to be used."""
        return self.dead(key, entry) or self.replacing.covers(key, entry)

    def _used(self, depth: int, key: Key, entry: Entry, now_ms: int) -> None:
        """Copy an entry that the lower tier at `depth` gave up when it is in use, and down where it is missing."""
        if self._lower[depth].promotion.used(key):
            self._front.keep(key, entry, now_ms)
            for lower in self._lower[:depth]:
                lower.queue.offer(key, entry, now_ms)
        for lower in self._lower[depth + 1 :]:
            if lower.lacks(key, now_ms):
                lower.queue.offer(key, entry, now_ms)

    async def _ask(self, lower: Lower, keys: Sequence[Key], now_ms: int) -> list[Entry | None]:
        return await lower.guarded.call(now_ms, lambda tier: tier.get(keys, now_ms))


async def _unless_away(count: Awaitable[int]) -> int:
    """Return a tier's count, and zero when it is away: the breaker has noted that already."""
    try:
        return await count
    except TierAway:
        return 0
