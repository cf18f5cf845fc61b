"""Keeps a gateway's purge markers the same as everybody's, and on the disk where its entries are."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final, Protocol

from cache.faults import Faults
from cache.ports import Entry, Key, Purge, Purges, PurgesAway
from cache.purge_pace import PurgePace
from cache.purges import Markers
from scheduler.ports.clock import Clock

RETRY_S: Final = 0.25
"""How soon markers that could not be read are read again, and a copy that could not be written is tried again."""
GATHER_S: Final = 0.05
"""How long purges are gathered before all markers are read again, so that many cost few readings."""


class PurgeCopy(Protocol):
    """A gateway's own copy of the markers, beside entries that outlive it. Raises nothing."""

    async def read(self) -> list[Purge]:
        """Return the markers; where they cannot be read one that kills everything, for nobody knows what they were."""
        ...

    async def write(self, purges: Sequence[Purge]) -> bool:
        """Put these in place of what was kept; they survive the process once this returns True. False when they cannot
        be written now, which is logged.
        """
        ...


class PurgeBoard:
    """Keeps a gateway's markers the same as everybody's."""

    def __init__(
        self,
        purges: Purges,
        clock: Clock,
        *,
        longest_ttl_ms: int,
        skew_ms: int = 500,
        copy: PurgeCopy | None = None,
    ) -> None:
        """`longest_ttl_ms`: of any tier. `skew_ms`: by how much the clocks of two gateways may differ. `copy`: where
        the markers are kept beside, for entries that outlive this process.
        """
        self.markers = Markers()
        self.current = False
        """Whether all markers were read since the shared ones were last out of reach. A tier that gateways share is
        not used while they were not: what it holds may be dead.
        """
        self.heard = False
        """Whether all markers were read since this process began."""
        self._purges, self._clock = purges, clock
        self._started_ms = clock.now_ms()
        self._longest_ttl_ms, self._skew_ms = longest_ttl_ms, skew_ms
        self._copy = copy
        self._pace = PurgePace(clock)
        self.faults = Faults(clock.monotonic)
        """What the shared markers raised beside PurgesAway."""
        self._copied = -1
        """How much was known when the copy was written last."""

    async def recall(self) -> None:
        """Take in what the copy holds: what was purged before this process began."""
        if self._copy is not None:
            for purge in await self._copy.read():
                self.markers.add(purge)

    def dead(self, key: Key, entry: Entry) -> bool:
        """Return whether an entry must not be given."""
        if self.markers.dead(key, entry):
            return True
        # Before the markers were read once, what is older than this process may have been purged.
        return not self.heard and entry.created_ms < self._started_ms

    async def purge(
        self,
        *,
        namespace: bytes | None = None,
        model: str | None = None,
        label: bytes | None = None,
        digest: bytes | None = None,
    ) -> Purge:
        """Let everything that matches and exists now be dead, here at once and everywhere else soon.

        Raises PurgesAway when the others could not be told, or the copy could not be written: then it holds here, and
        both are tried again by `follow` until they are done.
        """
        # Another gateway's clock may be ahead of ours, and its entries would seem to be newer than they are.
        before_ms = self._clock.now_ms() + self._skew_ms
        purge = Purge(before_ms, namespace, model, label, digest)
        self.markers.add(purge)
        # One who purges without end must cost the others no more than that.
        await self._pace.turn()
        kept = await self.kept()
        with self._told():
            await self._purges.add(purge, before_ms + self._longest_ttl_ms)
        if not kept:
            raise PurgesAway(
                "the purge markers could not be written beside the entries that outlive this process"
            )
        return purge

    async def refresh(self) -> None:
        """Read all markers, and tell of those that only this gateway has. Raises PurgesAway."""
        now_ms = self._clock.now_ms()
        self.markers.forget(now_ms - self._longest_ttl_ms)
        # Also while the others are out of reach.
        await self.kept()
        with self._told():
            shared = await self._purges.read(now_ms)
        for purge in shared:
            self.markers.add(purge)
        await self.kept()
        for purge in self.markers.missing_from(shared):
            with self._told():
                await self._purges.add(purge, purge.before_ms + self._longest_ttl_ms)
        self.current = self.heard = True

    async def kept(self) -> bool:
        """Write the copy, if there is one that lacks something; False when it still does."""
        changes = self.markers.changes
        if self._copy is None or self._copied >= changes:
            return True
        if await self._copy.write(list(self.markers)):
            self._copied = max(self._copied, changes)
        else:
            # It logs that itself.
            self.faults.counts["purge copy"] += 1
        return self._copied >= changes

    @property
    def unwritten(self) -> bool:
        """Whether the copy lacks something that is known here; not where there is none."""
        return self._copy is not None and self._copied < self.markers.changes

    async def follow(self) -> None:
        """Keep up with the markers until cancelled."""
        while True:
            try:
                await self.refresh()
                if await self.kept():
                    with self._told():
                        await self._purges.changed()
                    await self._clock.sleep(GATHER_S)
                else:
                    await self._clock.sleep(RETRY_S)
            except PurgesAway:
                self.current = False
                await self._clock.sleep(RETRY_S)

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Let a fault of the shared markers be PurgesAway: they are tried again."""
        try:
            yield
        except PurgesAway:
            raise
        except Exception as fault:
            self.faults.note("purge markers", fault)
            raise PurgesAway(f"the purge markers have a fault ({type(fault).__name__})") from fault
