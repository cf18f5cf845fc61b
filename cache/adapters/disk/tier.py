"""The tier on disk: cold, large, this gateway's own, and there again after a restart.

An index of what is there is held in memory, 0.45 kB for each entry, and 0.8 where the policy remembers what left: a key
that is not there costs no look at the disk, and the namespace's policy says what goes. After a restart it is read from
the facts of all entries. A database that fails is closed and opened again by a later call; one that is damaged is
thrown away. Both cost entries, and never a request.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Final

from cache.adapters.disk import jobs
from cache.adapters.disk.admission import admit, refuse
from cache.adapters.disk.connection import Connection, Loaded
from cache.adapters.disk.faults import DiskInUse
from cache.entry import Damaged
from cache.eviction import new_policy
from cache.ports import Entry, Key, TierAway, TierStats
from cache.tiers.counts import Counts
from cache.tiers.partition import Partitions
from cache.tiers.settings import TierSettings

logger = logging.getLogger(__name__)

LOOKUP_S: Final = 0.05
"""How long a look-up may take by default."""
OPEN_S: Final = 2.0
"""How long the first opening is waited for by default: reading the index takes about 20 us for each entry."""
ENTRIES: Final = "forebay-entries"
"""The database's own part of the folder: all that is thrown away when it is damaged."""
_WRITE_S: Final = 10.0
_FLUSH_AFTER_BYTES: Final = 4 << 20
_FLUSH_AFTER_MS: Final = 30_000


class DiskTier:
    """Entries in a folder that no other process has. Made by `open`."""

    name: str = "disk"

    def __init__(self, folder: Path, settings: TierSettings, random: Random, *, lookup_s: float) -> None:
        self._settings = settings
        self._lookup_s = lookup_s
        self._connection = Connection(
            folder / ENTRIES,
            lambda: Partitions(
                settings.capacity_bytes, settings.namespace_bytes, lambda: new_policy(settings.policy, random)
            ),
        )
        self._counts = Counts()
        self.discount = self._counts.discount
        """See `Tier`."""
        self._changing = asyncio.Lock()
        """Held from the question what is there to the answer that takes its place."""
        self._unflushed_bytes = 0
        self._flushed_ms = 0

    @classmethod
    async def open(
        cls,
        folder: Path,
        settings: TierSettings,
        random: Random,
        now_ms: int,
        *,
        lookup_s: float = LOOKUP_S,
        open_s: float = OPEN_S,
    ) -> "DiskTier":
        """Return the tier with the entries that are in the folder, of which nothing but `ENTRIES` is touched.

        Raises DiskInUse when another process has it; a folder that cannot be used for any other reason makes a tier
        that is away until it can be, and one that takes longer than `open_s` to be read is away until it has been.
        """
        tier = cls(folder, settings, random, lookup_s=lookup_s)
        try:
            await tier._connection.open(now_ms, open_s)
        except TierAway as error:
            logger.warning("cache on disk not open yet", extra={"cause": str(error)})
        except BaseException:
            await tier.close()
            raise
        return tier

    async def get(self, keys: Sequence[Key], now_ms: int) -> list[Entry | None]:
        """See `Tier`. Raises TierAway after `lookup_s`."""
        looked = await self._look(keys, now_ms, lambda index, key: index.use(key, now_ms))
        hits = sum(entry is not None for entry in looked)
        self._counts.hits += hits
        self._counts.misses += len(looked) - hits
        return looked

    async def peek(self, keys: Sequence[Key], now_ms: int) -> list[Entry | None]:
        """See `Tier`. Raises TierAway after `lookup_s`."""
        return await self._look(keys, now_ms, lambda index, key: index.glance(key, now_ms))

    def holds(self, key: Key, now_ms: int) -> bool:
        """Tell whether an entry of a key is there, as the index knows; never waits. True while it is not read: then
        nothing is known to be missing.
        """
        loaded = self._connection.loaded
        return loaded is None or loaded.index.glance(key, now_ms) is not None

    async def put(self, entries: Sequence[tuple[Key, Entry]], now_ms: int) -> None:
        """See `Tier`."""
        removed: list[tuple[Key, int]] = []
        taken: list[tuple[Key, Entry, int]] = []
        async with self._changing:
            with self._answering():
                loaded = await self._ready(now_ms)
                created = await self._created(loaded, [key for key, _ in entries], now_ms)
                for key, entry in dict(entries).items():
                    if created.get(key, entry.created_ms) > entry.created_ms:
                        continue
                    until_ms = min(entry.fresh_until_ms, now_ms + self._settings.ttl_ms)
                    if entry.size <= self._settings.entry_bytes and until_ms > now_ms:
                        taken.append((key, entry, until_ms))
                    else:
                        refuse(loaded.index, self._counts, key, removed)
                packed = await self._connection.run(loaded, lambda _: jobs.pack_all(taken), _WRITE_S)
                writes = admit(loaded.index, self._counts, packed, now_ms, removed)
                # What is admitted goes to the thread before anything else can be asked of the index.
                await self._connection.run(loaded, lambda db: db.put(writes, removed), _WRITE_S, always=True)
        self._unflushed_bytes += sum(facts.size for _, facts, _ in writes)

    async def outdate(self, before: Mapping[Key, int], now_ms: int) -> None:
        """See `Tier`. Reads facts of what is there and no bodies."""
        async with self._changing:
            with self._answering():
                loaded = await self._ready(now_ms)
                created = await self._created(loaded, list(before), now_ms)
                await self._forget(loaded, [key for key, at_ms in created.items() if at_ms < before[key]])

    async def sweep(self, now_ms: int, dead: Callable[[Key, Entry], bool], budget: int) -> int:
        """See `Tier`. Reads facts and no bodies, and flushes what has waited for long."""
        with self._answering():
            loaded = await self._ready(now_ms)
            met = loaded.index.walk(budget)
            expired = [key for key, slot in met if slot.until_ms <= now_ms]
            left = [key for key, slot in met if slot.until_ms > now_ms]
            entries = await self._connection.run(loaded, lambda db: jobs.without_bodies(db, left), _WRITE_S)
            purged = [
                key for key, entry in zip(left, entries, strict=True) if entry is None or dead(key, entry)
            ]
            removed = await self._forget(loaded, [*expired, *purged])
            self._counts.expired += len(expired)
            self._counts.purged += len(purged)
            if self._unflushed_bytes >= _FLUSH_AFTER_BYTES or (
                self._unflushed_bytes and now_ms - self._flushed_ms >= _FLUSH_AFTER_MS
            ):
                self._unflushed_bytes = 0
                self._flushed_ms = now_ms
                await self._connection.run(loaded, lambda db: db.flush(), _WRITE_S)
        return removed

    def stats(self, by_namespace: bool = False) -> TierStats:
        """See `Tier`. Bytes are those of the entries; the files may have about a third more for a while."""
        loaded = self._connection.loaded
        if loaded is None:
            return self._counts.stats(0, 0, {})
        namespaces = loaded.index.by_namespace() if by_namespace else {}
        return self._counts.stats(len(loaded.index), loaded.index.held_bytes, namespaces)

    async def close(self) -> None:
        """Flush and close."""
        await self._connection.close()

    async def _look(
        self, keys: Sequence[Key], now_ms: int, pieces_of: Callable[[Partitions[int], Key], int | None]
    ) -> list[Entry | None]:
        """Return the entries of keys whose numbers of pieces the index tells."""
        with self._answering():
            loaded = await self._ready(now_ms)
            wanted: dict[Key, int] = {}
            for key in keys:
                pieces = pieces_of(loaded.index, key)
                if pieces is not None:
                    wanted[key] = pieces
            found: dict[Key, Entry | Damaged | None] = {}
            if wanted:
                found = await self._connection.run(loaded, lambda db: jobs.read(db, wanted), self._lookup_s)
            if lost := [key for key, entry in found.items() if not isinstance(entry, Entry)]:
                self._counts.damaged += sum(isinstance(found[key], Damaged) for key in lost)
                await self._forget(loaded, lost)
        return [_fresh(found.get(key), now_ms) for key in keys]

    async def _ready(self, now_ms: int) -> Loaded:
        try:
            return await self._connection.open(now_ms, self._lookup_s)
        except DiskInUse as error:
            raise TierAway("another process has the folder of the cache") from error

    async def _created(self, loaded: Loaded, keys: Sequence[Key], now_ms: int) -> dict[Key, int]:
        """Return when those entries were created that are held of keys; -1 where that cannot be read any more."""
        held = [key for key in dict.fromkeys(keys) if loaded.index.glance(key, now_ms) is not None]
        if not held:
            return {}
        found = await self._connection.run(loaded, lambda db: jobs.without_bodies(db, held), _WRITE_S)
        return {
            key: -1 if entry is None else entry.created_ms for key, entry in zip(held, found, strict=True)
        }

    async def _forget(self, loaded: Loaded, keys: Sequence[Key]) -> int:
        """Remove entries from the index and the database; return how many there were."""
        slots = {key: slot for key in keys if (slot := loaded.index.remove(key)) is not None}
        if slots:
            # Deletions are flushed in time too: a crash would bring back what they delete.
            self._unflushed_bytes += len(slots)
            removed = [(key, slot.value) for key, slot in slots.items()]
            await self._connection.run(loaded, lambda db: db.put([], removed), _WRITE_S, always=True)
        return len(slots)

    @contextmanager
    def _answering(self) -> Iterator[None]:
        try:
            yield
        except TierAway:
            self._counts.away += 1
            raise


def _fresh(entry: Entry | Damaged | None, now_ms: int) -> Entry | None:
    return entry if isinstance(entry, Entry) and entry.fresh_until_ms > now_ms else None
