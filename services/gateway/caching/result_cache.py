"""The result cache of one gateway: tiers, keys, flights, and what guards them."""

import logging
from collections import OrderedDict
from collections.abc import Callable
from random import Random
from typing import Final

from cache.answer import read_answer
from cache.entry import Damaged
from cache.flights import SingleFlight
from cache.freshness import BETA, Refreshes, fresh_until_ms, refresh_early
from cache.key import Keys, Verdict, judge
from cache.key.question import Question
from cache.negative import NegativeAnswers
from cache.ports import Entry, Key
from cache.replay import Pace
from cache.tiers import LayeredCache
from forebay.cache.v1.stored_answer_pb2 import StoredAnswer
from scheduler.ports.clock import Clock
from services.gateway.caching.landed import Landed, Looked
from services.gateway.caching.parsed import Parsed
from services.gateway.caching.settings import CacheSettings

_LOG: Final = logging.getLogger(__name__)
_LOOKING: Final = "looking for an answer"
_MOST_PARTED: Final = 4_096
_SURELY_FRESH: Final = 37 * BETA
"""An entry that is fresh for more than so many times its cost is never drawn: chance has 53 bits, and the logarithm of
the smallest number above 0 that it makes is -36.7."""


class ResultCache:
    """What the calls of one gateway share. Made by `opening.result_cache`, which runs what it needs."""

    def __init__(
        self,
        layers: LayeredCache,
        keys: Keys,
        flights: SingleFlight[Landed],
        clock: Clock,
        settings: CacheSettings,
        chance: Random,
        purges: Callable[[], int],
    ) -> None:
        """`purges` grows with each purge that this gateway hears of."""
        self.layers: Final = layers
        self.deep: Final = len(layers.tiers()) > 1
        """Whether there is any tier below the memory."""
        self.flights: Final = flights
        self.clock: Final = clock
        self.pace: Final = Pace(settings.replay)
        self.least_call_work_ms: Final = settings.least_call_work_ms
        self.negative: Final = NegativeAnswers()
        self.refreshes: Final = Refreshes(settings.most_refreshes, settings.most_refreshes_of_namespace)
        self.key: Final = keys.key
        self.labels: Final = keys.labels
        self._settings = settings
        self._chance = chance
        self._purges = purges
        self._parsed = Parsed(_landed)
        self._parted: OrderedDict[Key, int] = OrderedDict()
        """Flights that were parted for a purge, with what `purges` said then: who comes after that joins the next."""

    def judge(self, question: Question) -> Verdict:
        """Tell whether an answer may be cached."""
        return judge(question, cache_sampled=self._settings.cache_sampled)

    def entry(self, key: Key) -> Entry | None:
        """Look into the memory alone, and do not read the answer; never waits. Raises nothing for a fault."""
        try:
            return self.layers.find(key, self.clock.now_ms())
        except Exception as fault:
            self.layers.faults.note(_LOOKING, fault)
            return None

    def used_again(self, key: Key, entry: Entry) -> bool:
        """Tell whether the memory still has this very entry, and count its use then. Otherwise nothing is counted: who
        asks looks again.
        """
        try:
            now_ms = self.clock.now_ms()
            return self.layers.stands(key, entry, now_ms) and self.layers.find(key, now_ms) is entry
        except Exception as fault:
            self.layers.faults.note(_LOOKING, fault)
            return False

    def find(self, key: Key) -> Landed | None:
        """Look into the memory alone; never waits."""
        entry = self.entry(key)
        return None if entry is None else self._parsed.of(key, entry, "memory")

    async def get(self, key: Key) -> Looked:
        """Look into every tier but the memory, where `find` has just looked. Raises nothing for a tier that is away, or
        a fault.
        """
        try:
            found = await self.layers.get_below(key, self.clock.now_ms())
        except Exception as fault:
            self.layers.faults.note(_LOOKING, fault)
            return Looked(None)
        landed = None if found.entry is None else self._parsed.of(key, found.entry, found.tier)
        return Looked(landed, found.looks)

    async def look_again(self, key: Key) -> Landed | None:
        """Look into every tier once more, which no tier counts: the caller has looked before, and the answer may have
        been kept since. Raises nothing for a tier that is away, or a fault.
        """
        try:
            found = await self.layers.look_again(key, self.clock.now_ms())
        except Exception as fault:
            self.layers.faults.note(_LOOKING, fault)
            return None
        return None if found.entry is None else _landed(found.entry, found.tier)

    async def newer(self, key: Key, than: Entry) -> Landed | None:
        """Look below the memory, which no tier counts, for an answer that was computed later than the one that this
        gateway has, and let the memory have it in its place. Raises nothing for a tier that is away, or a fault.
        """
        try:
            now_ms = self.clock.now_ms()
            found = await self.layers.peek_below(key, now_ms)
            if found.entry is None or found.entry.created_ms <= than.created_ms:
                return None
            self.layers.copy_near(key, found.entry, now_ms)
        except Exception as fault:
            self.layers.faults.note(_LOOKING, fault)
            return None
        return _landed(found.entry, found.tier)

    def purged_since(self, key: Key, model: str, began_ms: int) -> bool:
        """Tell whether the answer that a model began to compute then was purged meanwhile."""
        return self.layers.dead(key, _beginning(model, began_ms))

    def part_purged(self, flight: Key, key: Key, model: str) -> None:
        """See to it that who asks for a key now does not join those of a flight that began before a purge of its
        answer: that one's answer is as old as what was purged.
        """
        began_ms = self.flights.began_ms(flight)
        if began_ms is None or not self.purged_since(key, model, began_ms):
            return
        purges = self._purges()
        # A purge reaches a little into the future: a flight that began since is not to be parted again for it.
        if self._parted.get(flight) != purges:
            self._parted[flight] = purges
            if len(self._parted) > _MOST_PARTED:
                self._parted.popitem(last=False)
            self.flights.part(flight)

    async def keep(
        self,
        key: Key,
        stored: StoredAnswer,
        identity: bytes,
        began_ms: int,
        *,
        near: bool = False,
        anew: bool = False,
    ) -> None:
        """Keep an answer whose computation began at that time, unless it was purged since; return when other gateways
        can find it, or could if their tier answered. `near`: in the memory alone. `anew`: somebody wants it in place of
        what other gateways have, too. Raises nothing for a fault.
        """
        now_ms = self.clock.now_ms()
        entry = Entry(
            body=stored.SerializeToString(),
            model=stored.model,
            identity=identity,
            labels=(),
            created_ms=began_ms,
            fresh_until_ms=fresh_until_ms(now_ms, self._settings.ttl_ms, self._chance),
            cost_ms=float(max(0, now_ms - began_ms)),
            stream=bool(stored.chunks),
        )
        self.negative.forget(key)
        if self.layers.dead(key, entry):
            # It would take the place of one that was computed after the purge.
            return
        try:
            if near:
                self.layers.put_near(key, entry, now_ms)
            else:
                await self.layers.put_through(key, entry, now_ms)
        except Exception as fault:
            self.layers.faults.note("keeping an answer", fault)
        finally:
            if anew:
                self.layers.replacing.replaced(key, began_ms)

    def due(self, entry: Entry) -> bool:
        """Draw whether an entry that is used now should be computed anew before its end."""
        now_ms = self.clock.now_ms()
        if entry.fresh_until_ms - now_ms > entry.cost_ms * _SURELY_FRESH:
            return False
        return refresh_early(now_ms, entry.fresh_until_ms, entry.cost_ms, self._chance)


def _landed(entry: Entry, tier: str) -> Landed | None:
    """Read an entry; None for what this version cannot read: what comes next replaces it."""
    try:
        return Landed(read_answer(entry.body), entry, tier)
    except Damaged:
        _LOG.warning("cached answer not readable", extra={"model": entry.model, "tier": tier})
        return None


def _beginning(model: str, began_ms: int) -> Entry:
    """Return what purges look at of an answer whose computation has only begun."""
    return Entry(
        body=b"",
        model=model,
        identity=b"",
        labels=(),
        created_ms=began_ms,
        fresh_until_ms=0,
        cost_ms=0.0,
        stream=False,
    )
