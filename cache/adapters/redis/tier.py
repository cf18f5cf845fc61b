"""The tier in Redis or Valkey: hot, and shared by all gateways.

The namespace's quota is kept by scripts; the server's own `maxmemory-policy` may evict anything at any time beside
them (`allkeys-lfu`, `volatile-ttl`, …): what it took is noticed and its bytes are given back. Which entry goes in a
full namespace is chosen from a sample, as the server itself does it. What the tier holds is known as last seen: by
this process's own fills, and by its sweeps of what others fill.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import takewhile
from typing import Final

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from cache.adapters.redis.brought import Brought
from cache.adapters.redis.gathering import trips_of
from cache.adapters.redis.names import NAMESPACES, prefix
from cache.adapters.redis.packing import Packing
from cache.adapters.redis.scripts import load_script
from cache.adapters.redis.seen import Seen
from cache.adapters.redis.stored import by_namespace, entry_of, outdating
from cache.adapters.redis.sweeping import Round
from cache.adapters.threads import TooManyCalls
from cache.entry import Damaged
from cache.ports import Entry, Key, PartitionStats, TierAway, TierFault, TierStats
from cache.tiers.counts import Counts
from cache.tiers.settings import TierSettings
from scheduler.adapters.redis.connection import Argument
from scheduler.adapters.redis.scripts import Script
from scheduler.errors import RecordsUnavailable

logger = logging.getLogger(__name__)

LOOKUP_S: Final = 0.05
"""How long a look-up may take by default; other calls have the client's deadline."""
MOST_REPLY_BYTES: Final = 4 << 20
"""When a look-up has read so much it reads no further: neither the server nor who else asks it waits for more."""
_LOOKED_AT_ONCE: Final = 256
_DAMAGE: Final = ("WRONGTYPE", "user_script:")
"""How a refusal begins that is of one namespace: a key of another type, or one that a script cannot read."""


class RedisTier:
    """Entries in a server. The client is its caller's, who closes it after the tier."""

    name: str = "redis"

    def __init__(self, client: Redis, settings: TierSettings, *, lookup_s: float = LOOKUP_S) -> None:
        self._client = client
        self._trips = trips_of(client)
        self._settings = settings
        self._lookup_s = lookup_s
        self._counts = Counts()
        self.discount = self._counts.discount
        """See `Tier`."""
        self._seen = Seen(settings)
        self._round = Round()
        self._brought = Brought()
        self._packing = Packing(settings)

    async def get(self, keys: Sequence[Key], now_ms: int) -> list[Entry | None]:
        """See `Tier`. Raises TierAway after `lookup_s`. Fewer than asked for when they have `MOST_REPLY_BYTES`."""
        looked = await self._look(keys, now_ms, noted=True)
        hits = sum(entry is not None for entry in looked)
        self._counts.hits += hits
        self._counts.misses += len(looked) - hits
        return looked

    async def peek(self, keys: Sequence[Key], now_ms: int) -> list[Entry | None]:
        """See `Tier`, and `get`. It has the client's deadline. A server that evicts by use counts it all the same."""
        return await self._look(keys, now_ms, noted=False)

    async def put(self, entries: Sequence[tuple[Key, Entry]], now_ms: int) -> None:
        """See `Tier`."""
        with self._answering():
            packed = await self._packing.packed(dict(entries), now_ms)
        arguments: dict[bytes, list[Argument]] = {}
        for key, taken in packed.items():
            if taken:
                arguments.setdefault(key.namespace, []).extend(taken)
        refused = [key for key, taken in packed.items() if not taken]
        self._counts.refusals += len(refused)
        await self._remove(refused)
        if not arguments:
            return
        calls: list[tuple[str, list[Argument]]] = [
            (prefix(tag), [now_ms, self._settings.policy.value, self._seen.room_bytes(tag), *each])
            for tag, each in arguments.items()
        ]
        with self._answering():
            replies = await self._trips.run(_PUT, calls, carries=sum(entry.size for _, entry in entries))
            # A server at maxmemory took nothing, and would not take this either.
            filled = [tag for tag, reply in zip(arguments, replies, strict=True) if reply[2]]
            if unlisted := self._seen.unlisted(filled, now_ms):
                await self._trips.ask([("SADD", NAMESPACES, *unlisted)])
                self._seen.listed(unlisted, now_ms)
        for tag, (held, count, taken_count, refusals, evicted, gone) in zip(arguments, replies, strict=True):
            self._seen.note(tag, PartitionStats(count, int(held)))
            self._counts.fills += taken_count
            self._counts.refusals += refusals
            self._counts.evictions += evicted
            self._counts.expired += gone

    async def outdate(self, before: Mapping[Key, int], now_ms: int) -> None:
        """See `Tier`."""
        arguments: dict[bytes, list[Argument]] = {}
        for key, before_ms in before.items():
            arguments.setdefault(key.namespace, []).extend(outdating(key, before_ms))
        if not arguments:
            return
        calls: list[tuple[str, list[Argument]]] = [
            (prefix(tag), [now_ms, self._settings.policy.value, 0, *each]) for tag, each in arguments.items()
        ]
        with self._answering():
            for tag, (held, count, *_) in zip(arguments, await self._trips.run(_PUT, calls), strict=True):
                self._seen.note(tag, PartitionStats(count, int(held)))

    async def sweep(self, now_ms: int, dead: Callable[[Key, Entry], bool], budget: int) -> int:
        """See `Tier`. Facts are read and not bodies, but where the server evicted the index."""
        removed = 0
        left = budget
        while left > 0:
            with self._answering():
                tag = await self._round.namespace(self._client, self._seen.namespaces)
                if tag is None:
                    break
                call = (prefix(tag), [now_ms, self._round.cursor, min(left, _LOOKED_AT_ONCE)])
                try:
                    [[cursor, held, count, looked, gone, *rest]] = await self._trips.run(_SWEEP, [call])
                except ResponseError:
                    # Perhaps of this namespace: the next sweep goes on with another.
                    self._round.reached(0)
                    raise
            self._round.reached(cursor)
            await self._note(tag, PartitionStats(count, int(held)))
            self._counts.expired += gone
            purged = await self._purged(tag, dict(zip(rest[::2], rest[1::2], strict=True)), dead)
            self._counts.purged += len(purged)
            removed += gone + await self._remove(purged)
            left -= max(1, looked)
        return removed

    def stats(self, by_namespace: bool = False) -> TierStats:
        """See `Tier`. Entries and bytes are as last seen."""
        seen = self._seen
        return self._counts.stats(
            seen.entries, seen.held_bytes, dict(seen.namespaces) if by_namespace else {}
        )

    async def close(self) -> None:
        """Let go of the threads. The client is its caller's."""
        self._packing.close()

    async def _look(self, keys: Sequence[Key], now_ms: int, *, noted: bool) -> list[Entry | None]:
        grouped = by_namespace(keys)
        enough = MOST_REPLY_BYTES // max(1, len(grouped))
        calls: list[tuple[str, list[Argument]]] = [
            (prefix(tag), [now_ms, enough, int(noted), *(key.digest for key in group)])
            for tag, group in grouped.items()
        ]
        brings = self._brought.expected(grouped)
        with self._answering():
            # Who looks again was told that something is there: it is worth the server's whole deadline.
            within_s = self._lookup_s if noted else None
            replies = await self._trips.run(_GET, calls, brings=brings, within_s=within_s)
        for tag, reply in zip(grouped, replies, strict=True):
            self._brought.note(tag, sum(len(stored) for stored in reply if stored is not None))
        stored = {
            key: value
            for group, reply in zip(grouped.values(), replies, strict=True)
            for key, value in zip(group, reply, strict=False)
        }
        looked = list(takewhile(stored.__contains__, keys))
        with self._answering():
            found = await self._packing.unpacked(stored, looked, now_ms)
        if damaged := [key for key, entry in found.items() if isinstance(entry, Damaged)]:
            self._counts.damaged += len(damaged)
            await self._remove(damaged)
        return [None if isinstance(entry := found[key], Damaged) else entry for key in looked]

    async def _remove(self, keys: Sequence[Key]) -> int:
        """Remove entries and return how many there were."""
        if not keys:
            return 0
        calls = [(prefix(tag), [key.digest for key in group]) for tag, group in by_namespace(keys).items()]
        with self._answering():
            return sum(await self._trips.run(_REMOVE, calls))

    async def _purged(
        self, tag: bytes, facts: dict[bytes, bytes], dead: Callable[[Key, Entry], bool]
    ) -> list[Key]:
        """Return which of the entries that a sweep met are dead or cannot be read."""
        purged: list[Key] = []
        for digest, packed in facts.items():
            key = Key(tag, digest)
            stored: bytes | None = packed
            if not packed:
                with self._answering():
                    [stored] = await self._trips.ask([("GET", f"{prefix(tag)}e:".encode() + digest)])
            entry = entry_of(key, stored, 0)
            if isinstance(entry, Damaged) or (entry is not None and dead(key, entry)):
                purged.append(key)
        return purged

    async def _note(self, tag: bytes, seen: PartitionStats) -> None:
        """Keep what a sweep saw of a namespace; one that has nothing is forgotten, also by the server."""
        self._seen.note(tag, seen)
        if not seen.entries:
            with self._answering():
                await self._trips.ask([("SREM", NAMESPACES, tag)])

    @contextmanager
    def _answering(self) -> Iterator[None]:
        try:
            yield
        except ResponseError as refusal:
            self._counts.away += 1
            logger.warning("cache refused by Redis", extra={"cause": str(refusal)})
            # Otherwise a right that is missing, or a command that the server does not have.
            kind = TierFault if str(refusal).startswith(_DAMAGE) else TierAway
            raise kind(f"Redis refuses the cache: {refusal}") from refusal
        except (RecordsUnavailable, TooManyCalls) as error:
            self._counts.away += 1
            raise TierAway(f"Redis does not answer the cache ({type(error).__name__})") from error


def _load(name: str) -> Script:
    return load_script(name, "index")


_GET, _PUT, _REMOVE, _SWEEP = (_load(name) for name in ("get", "put", "remove", "sweep"))
