"""The tiers and the flights that schedulers share with gateways, in bulk. Nothing raises for a server that is away."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from random import Random
from typing import Final, NamedTuple

from cache.advice import SampledTrace
from cache.answer import read_answer
from cache.entry import Damaged
from cache.flights import Sharing
from cache.freshness import fresh_until_ms
from cache.ports import Entry, Following, Key, Landing, Leading
from cache.tiers import LayeredCache, Look
from forebay.cache.v1.stored_answer_pb2 import StoredAnswer
from forebay.tasks.v1.envelope_pb2 import CacheQuestion
from observability.caching import CacheTroubles
from scheduler.ports.clock import Clock
from services.answer_budget import AnswerBudget

AT_ONCE: Final = 128
"""Keys of one look-up at most."""
AT_FIRST: Final = 8
"""Keys of the first look-up of many, while it is not known how large their answers are."""
MOST_READ_BYTES: Final = 8 << 20
"""Bytes of answers that one look-up is meant to bring: what is in memory at a time, and what keeps a server busy."""


class Fill(NamedTuple):
    """An answer that is to be kept."""

    key: Key
    stored: StoredAnswer
    question: CacheQuestion
    began_ms: int
    """When its computation began, so that a purge in the meantime still reaches it."""


class Answers:
    """What is known of answers. Made by `opening.open_answers`, which runs what it needs."""

    def __init__(
        self,
        layers: LayeredCache | None,
        sharing: Sharing,
        clock: Clock,
        ttl_ms: int,
        largest: int,
        chance: Random,
        trace: SampledTrace | None = None,
        budget: AnswerBudget | None = None,
    ) -> None:
        """No `layers` where nothing is shared: then answers are given to those who wait for them, and not kept.

        In `trace` uses are noted for advice, as gateways note theirs: an answer that a look finds, and one that is
        kept, which was missed. Who follows a run is no use of the tiers. `budget` is what tasks may be ended with;
        without it the ordinary one.
        """
        self.budget: Final = budget if budget is not None else AnswerBudget(clock.monotonic)
        self.sharing: Final = sharing
        self.largest: Final = largest
        """Bytes of the largest answer that is kept."""
        self.layers: Final = layers
        """The tiers; None where nothing is shared."""
        self.tier: Final = layers.tiers()[-1].name if layers is not None else ""
        """Where answers are found."""
        self.troubles: CacheTroubles | None = None
        """What is wrong with what is shared."""
        self._looked: Callable[[Sequence[Look]], None] = _unheard
        self._clock = clock
        self._ttl_ms = ttl_ms
        self._chance = chance
        self._trace = trace

    def observe(self, looked: Callable[[Sequence[Look]], None]) -> None:
        """Tell this of every look from now on."""
        self._looked = looked

    async def find(
        self, keys: Sequence[Key], created_from_ms: int = 0, *, noted: bool = True
    ) -> AsyncIterator[Mapping[Key, StoredAnswer]]:
        """Yield those answers that are there, a part at a time: what is yielded should be let go of before the next.

        Those whose computation began before `created_from_ms` are left out. Parts are as large as the answers of
        those before them allow, so that many large ones are not in memory together. Not `noted`: it is no use of the
        tiers that advice should know of.
        """
        if self.layers is None:
            return
        left, count = list(keys), AT_FIRST
        largest = 1
        while left:
            # A tier that gives as much as it does at once leaves the others for the next part.
            now_ms = self._clock.now_ms()
            looked = await self.layers.look_all_below(left[:count], now_ms)
            found = looked.found
            self._looked(looked.looks)
            if noted and self._trace is not None:
                for key, entry in found.items():
                    self._trace.used(key, entry, now_ms)
            left = [*looked.unseen, *left[count:]]
            largest = max(largest, *(entry.size for entry in found.values())) if found else largest
            count = max(1, min(AT_ONCE, 2 * count, MOST_READ_BYTES // largest))
            yield {
                key: stored
                for key, entry in found.items()
                if entry.created_ms >= created_from_ms and (stored := _read(entry)) is not None
            }

    def dead(self, fill: Fill) -> bool:
        """Tell whether a purge since its computation began says that an answer must not be given to who asks now."""
        return self.layers is not None and self.layers.dead(fill.key, _entry(fill))

    async def keep(self, fills: Sequence[Fill]) -> bool:
        """Keep answers; return when others can find them, and False when they cannot: nothing is shared, or the tier
        is away.
        """
        if self.layers is None:
            return False
        if not fills:
            return True
        now_ms = self._clock.now_ms()
        entries = [
            (
                fill.key,
                replace(
                    _entry(fill),
                    body=fill.stored.SerializeToString(),
                    fresh_until_ms=fresh_until_ms(now_ms, self._ttl_ms, self._chance),
                    cost_ms=float(max(0, now_ms - fill.began_ms)),
                ),
            )
            for fill in fills
        ]
        if self._trace is not None:
            for key, entry in entries:
                self._trace.used(key, entry, now_ms)
        try:
            return await self.layers.put_all(entries, now_ms)
        finally:
            for fill in fills:
                if fill.question.refresh:
                    self.layers.replacing.replaced(fill.key, fill.began_ms)

    async def begin(self, wanted: Sequence[tuple[Key, int]]) -> Sequence[Leading | Following | None]:
        """Lead or follow, each by key and level; None for all when this process is on its own."""
        turns = await self.sharing.begin_all(wanted)
        return turns if turns is not None else [None] * len(wanted)

    async def land(self, ends: Sequence[tuple[Key, int, Landing]]) -> None:
        """End flights. What others cannot be told of ends with its lease."""
        if ends:
            await self.sharing.land_all(ends)


def _unheard(looks: Sequence[Look]) -> None:
    """Tell nobody."""


def _entry(fill: Fill) -> Entry:
    """Return what is known of an answer, without its body and its end."""
    return Entry(
        body=b"",
        model=fill.stored.model,
        identity=fill.question.identity,
        labels=tuple(fill.question.labels),
        created_ms=fill.began_ms,
        fresh_until_ms=0,
        cost_ms=0.0,
        stream=bool(fill.stored.chunks),
    )


def _read(entry: Entry) -> StoredAnswer | None:
    """Return an entry's answer; None for what this version cannot read: what comes next replaces it."""
    try:
        return read_answer(entry.body)
    except Damaged:
        return None
