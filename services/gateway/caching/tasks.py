"""What the result cache knows of tasks that are submitted: those whose answer is there end as they are accepted, the
others take their question along, for the scheduler to ask again when they could start. Called by `submit.py`.

A call of a thousand tasks is one look-up. The cache fails no task: where it cannot help, a task is accepted as if it
were not there; only one that wants a cached answer or none is refused.
"""

import time
from collections.abc import Collection, Mapping, Sequence
from typing import Final

from cache.answer import read_answer
from cache.entry import Damaged
from cache.ports import Entry, Key
from cache.tiers import Look, Met
from forebay.tasks.v1 import task_pb2
from forebay.tasks.v1.envelope_pb2 import CacheQuestion
from observability import names, tracing
from scheduler.errors import AnswerNotCached, ForebayError
from services.answer_budget import AnswerBudget
from services.cached_tasks import KnownEnd, end_of
from services.gateway.caching.asking import Models
from services.gateway.caching.journey import MEMORY, CacheCounter
from services.gateway.caching.result_cache import ResultCache
from services.gateway.caching.tally import Tally, count_hits
from services.gateway.caching.task_questions import TaskAsker, mode_of
from services.gateway.caching.worth import Worth
from services.gateway.direct.port import Calls
from services.gateway.task_looks import TaskLooks

_AT_ONCE: Final = 128
"""Keys of one look-up. How many bytes one brings at most is the tier's to say."""
_MOST_LOOKS: Final = 16
"""Look-ups of one call; what is left then is left to the scheduler."""
_MOST_BYTES: Final = 16 << 20
"""Bytes of answers with which one call ends tasks, counted for each task: when it has written them, the rest is left to
the scheduler."""


class CachedTasks:
    """Looks tasks up in the cache that the direct way fills, too."""

    def __init__(
        self, calls: Calls, cache: ResultCache, worth: Worth, budget: AnswerBudget, counter: CacheCounter
    ) -> None:
        """`calls` knows which models are there, `budget` what each tenant's tasks may be ended with, and `counter`
        counts what comes of tasks here.
        """
        self._calls = calls
        self._cache = cache
        self._worth = worth
        self._budget = budget
        self._counter = counter
        self._models = Models()

    async def look_up(
        self, tenant: str, specs: Sequence[task_pb2.TaskSpec], refused: Collection[int] = ()
    ) -> TaskLooks:
        """See `TaskCache`."""
        with tracing.span(names.SPAN_CACHE) as span:
            tally = Tally()
            looks = await self._looks(tenant, specs, refused, tally)
            tally.count(self._counter)
            if tracing.enabled():
                tally.tell(span, looks, len(specs) - len(refused))
        return looks

    def recorded(
        self, tenant: str, specs: Sequence[task_pb2.TaskSpec], looks: TaskLooks, ended: Collection[int]
    ) -> None:
        """See `TaskCache`."""
        count_hits(self._counter, specs, ended)
        unused = sum(end.size for place, end in looks.ends.items() if place not in ended)
        if unused:
            self._budget.give_back(tenant, unused)

    async def _looks(
        self, tenant: str, specs: Sequence[task_pb2.TaskSpec], left_out: Collection[int], tally: Tally
    ) -> TaskLooks:
        """Return what is known of tasks."""
        questions: dict[int, CacheQuestion] = {}
        refused: dict[int, ForebayError] = {}
        wanted: dict[Key, list[int]] = {}
        asker = TaskAsker(self._calls, self._cache, self._worth, self._models, tenant)
        for place, spec in enumerate(specs):
            mode = mode_of(spec)
            if mode is None or place in left_out:
                continue
            question, why = asker.question(spec, mode)
            if question is not None:
                questions[place] = question
                if mode.reads and not _waits(spec):
                    wanted.setdefault(Key(question.namespace, question.digest), []).append(place)
                continue
            if why:
                tally.uncached[why] += 1
            if not mode.computes:
                refused[place] = AnswerNotCached(spec.model, why)
        ends, left = await self._ends(tenant, wanted, tally)
        for places in wanted.values():
            for place in places:
                if place in ends:
                    del questions[place]
                elif place in left:
                    continue
                elif questions[place].only:
                    del questions[place]
                    refused[place] = AnswerNotCached(specs[place].model)
                    tally.absent(specs[place].model)
                else:
                    questions[place].looked_up = True
        return TaskLooks(ends, questions, refused)

    async def _ends(
        self, tenant: str, wanted: Mapping[Key, Sequence[int]], tally: Tally
    ) -> tuple[dict[int, KnownEnd], set[int]]:
        """Return how those tasks end whose answer is there, and which ones are left to the scheduler: they were not
        looked up, or there is no room for what the call would write, or the tenant has written enough lately.
        """
        cache, now_ms = self._cache, self._cache.clock.now_ms()
        ends: dict[int, KnownEnd] = {}
        left: set[int] = set()
        room = _MOST_BYTES if self._budget.has_some(tenant) else 0

        def take(key: Key, entry: Entry, tier: str) -> None:
            nonlocal room
            if room <= 0:
                left.update(wanted[key])
                return
            try:
                end = end_of(read_answer(entry.body))
            except Damaged:
                return
            # Each task has a record of its own.
            for place in wanted[key]:
                if room > 0 and self._budget.spend(tenant, end.size):
                    ends[place] = end
                    room -= end.size
                    tally.hit(tier, 1)
                else:
                    room = 0
                    left.add(place)

        missing: list[Key] = []
        kept: list[tuple[Key, Entry]] = []
        began_s = time.perf_counter()
        for key in wanted:
            entry = cache.layers.find(key, now_ms)
            if entry is None:
                missing.append(key)
            else:
                kept.append((key, entry))
        tally.looked(_looks_into_memory(len(kept), len(missing), time.perf_counter() - began_s))
        for key, entry in kept:
            take(key, entry, MEMORY)
        for _ in range(_MOST_LOOKS):
            if not missing or room <= 0:
                break
            looked = await cache.layers.look_all_below(missing[:_AT_ONCE], now_ms)
            missing = [*looked.unseen, *missing[_AT_ONCE:]]
            tally.looked(looked.looks)
            for key, entry in looked.found.items():
                take(key, entry, looked.tiers[key])
        left.update(place for key in missing for place in wanted[key])
        return ends, left


def _waits(spec: task_pb2.TaskSpec) -> bool:
    """Whether a task is not to start at once: it is asked again when it may."""
    return bool(spec.depends_on) or spec.HasField("not_before")


def _looks_into_memory(hits: int, misses: int, took_s: float) -> list[Look]:
    """Return what the memory said, which is asked for one key after another: each took its part of the time."""
    each_s = took_s / max(1, hits + misses)
    return [Look(MEMORY, met, each_s, count) for met, count in ((Met.HIT, hits), (Met.MISS, misses)) if count]
