"""Holds submit calls to the limits of the policy: knows what waits by looking four times a second, and what this
gateway let in since. Called by `submit.py` before anything is drafted, sealed or recorded, and by `update.py`.

What counts as waiting is everything that was accepted and neither runs nor has ended: queued tasks, and those that wait
for their time, their parents or their next attempt; a limit that `not_before` gets around would be none.

Nothing is refused silently. Tasks that schedules make, when their time comes, never pass here: the scheduler records
them, they count with the next look, and they leave less room for calls. RunSchedule and ReplayTasks are calls like any
other: they are refused with the limit that they met, and a dead letter whose replay is refused stays where it is.

A task that is moved to another level comes into that one: limits of that level hold for it, or it could be filled by
going round. Those for all levels count it already.

A task whose idempotency key is known exists, so a call that repeats it is answered and never refused: keys of tasks
that are over a limit are looked up first. They count for nothing.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final, Protocol

from forebay.tasks.v1 import task_pb2
from scheduler.admission import Decision, Limiter, Refusal, Taken, Waiting, Wanted
from scheduler.errors import ForebayError, QuotaExceeded, QuotaViolation, RecordsUnavailable
from scheduler.policies.expected import UNKNOWN
from scheduler.policies.policy import Policy
from scheduler.ports.clock import Clock
from scheduler.ports.keys import KeyStore
from scheduler.ports.lines import Line, LineStore
from scheduler.ports.records import Admission, Admitted
from scheduler.states import Level
from services.gateway import convert
from services.gateway.drafting import partition_of_key

LOOK_S: Final = 0.25
"""Pause between two looks."""
LOOKING: Final = 0.05
"""Part of the time that looking may take: with very many tenants and models the pause becomes longer."""

_LOG: Final = logging.getLogger(__name__)


class Costs(Protocol):
    """Knows what tasks are expected to cost."""

    def __call__(self, model: str, tenant: str) -> float:
        """Return the expected work of a task of a model and a tenant, in milliseconds of one runner."""
        ...

    async def refresh(self) -> None:
        """Learn what is new. Raises RecordsUnavailable."""
        ...


class Admittance:
    """What became of one call. `close` it, whatever happens."""

    def __init__(
        self,
        limiter: Limiter,
        decision: Decision,
        refused: Mapping[int, ForebayError],
        levels: Sequence[int],
    ) -> None:
        self.refused: Final = refused
        """By place in the call."""
        self._limiter = limiter
        self._decision = decision
        self._levels = levels

    def close(
        self, outcomes: Sequence[Admission | ForebayError | None] | None, ended: Collection[int] = ()
    ) -> None:
        """Count what was recorded; with None nobody knows, and everything that was let in may have been. Those at the
        places that `ended` as they were recorded wait for nothing, and have come in all the same: the record store
        holds them, so what a rate allows is spent.
        """
        if outcomes is None:
            self.settle(None)
            return
        came = [isinstance(one, Admission) and one.verdict is Admitted.CREATED for one in outcomes]
        for place in ended:
            came[place] = False
        self.settle(came, ended)

    def settle(self, came: Sequence[bool] | None, ended: Collection[int] = ()) -> None:
        """Count what came in, by place in the call: as `close` does."""
        taken = self._decision.taken.levels
        if came is None:
            self._limiter.settle(self._decision, taken)
            return
        numbers = Counter(level for level, did in zip(self._levels, came, strict=True) if did)
        recorded = {
            level: Waiting(number, number * _mean_ms(taken.get(level))) for level, number in numbers.items()
        }
        self._limiter.settle(self._decision, recorded, Counter(self._levels[place] for place in ended))


class Quotas:
    """Knows what may come in. Without limits it does nothing: `active` says so."""

    def __init__(self, lines: LineStore, keys: KeyStore, clock: Clock, expected: Costs) -> None:
        self._lines = lines
        self._keys = keys
        self._clock = clock
        self._expected = expected
        self._limiter = Limiter()
        self._some = asyncio.Event()
        self._looking = asyncio.Lock()
        self._seen = False
        self._away = False
        self._by_work = False

    @property
    def active(self) -> bool:
        """Whether there is any limit."""
        return self._limiter.active

    def follow(self, policy: Policy) -> None:
        """Go by the limits of this policy from now on."""
        self._limiter.follow(policy.limits)
        self._by_work = any(limit.queued_work_s for limit in policy.limits)
        if policy.limits:
            self._some.set()
        else:
            self._some.clear()
            self._seen = False

    async def admit(self, tenant: str, specs: Sequence[task_pb2.TaskSpec]) -> Admittance:
        """Decide about a call, task by task. Raises RecordsUnavailable when nobody knows what waits."""
        levels = [_level_of(spec) for spec in specs]
        decision = await self._decide(tenant, levels, [spec.model for spec in specs])
        admittance = Admittance(self._limiter, decision, {}, levels)
        over = [place for place, refusal in enumerate(decision.refusals) if refusal is not None]
        if not over:
            return admittance
        try:
            known = await self._known(tenant, specs, over)
        except BaseException:
            admittance.close([None] * len(specs))
            raise
        refusals = {place: decision.refusals[place] for place in over if place not in known}
        return Admittance(self._limiter, decision, _errors(refusals), levels)

    async def ready(self) -> None:
        """Return once it is known what waits. Raises RecordsUnavailable."""
        if not self._seen:
            await self._first_look()

    def enter(self, tenant: str, level: int, model: str) -> Decision:
        """Let in a call that waits on the line, which counts among what waits until `leave`. Raises QuotaExceeded.

        To be called after `ready`: this one never blocks.
        """
        wanted = (Wanted(level, self._expected(model, tenant)),)
        decision = self._limiter.decide(tenant, wanted, self._clock.monotonic())
        refusals = {place: refusal for place, refusal in enumerate(decision.refusals) if refusal is not None}
        if refusals:
            self._limiter.settle(decision, {})
            raise _errors(refusals)[0]
        return decision

    def leave(self, decision: Decision) -> None:
        """Count a call that waited on the line no more; what it took of a rate stays taken."""
        self._limiter.backlog.settle(decision.taken, Taken(decision.taken.tenant, {}))

    async def admit_moves(self, tenant: str, level: Level, models: Sequence[str]) -> Admittance:
        """Decide about tasks of these models that wait on other levels and are to wait on this one. `settle` what comes
        back, whatever happens. Raises RecordsUnavailable as `admit` does.
        """
        levels = [level] * len(models)
        decision = await self._decide(tenant, levels, models, moved=True)
        return Admittance(self._limiter, decision, _errors(dict(enumerate(decision.refusals))), levels)

    async def run(self) -> None:
        """Look for ever, while there are limits."""
        while True:
            await self._some.wait()
            began_s = self._clock.monotonic()
            try:
                await self.look()
            except RecordsUnavailable as error:
                # Calls go on by what was seen last and what was let in since, until the store refuses them itself.
                if not self._away:
                    _LOG.warning("what waits is not known", extra={"reason": error.reason})
                self._away = True
            else:
                self._away = False
            await self._clock.sleep(max(LOOK_S, (self._clock.monotonic() - began_s) / LOOKING))

    async def look(self) -> None:
        """Count what waits. Raises RecordsUnavailable."""
        async with self._looking:
            if self._by_work:
                await self._expected.refresh()
            backlog = self._limiter.backlog
            backlog.begin_look(self._clock.monotonic())
            backlog.end_look(self._summed(await self._lines.lines()))
            self._seen = self._limiter.active

    async def _decide(
        self, tenant: str, levels: Sequence[Level], models: Sequence[str], *, moved: bool = False
    ) -> Decision:
        if not self._seen:
            await self._first_look()
        works = {model: self._expected(model, tenant) for model in set(models)}
        wanted = [Wanted(level, works[model]) for level, model in zip(levels, models, strict=True)]
        return self._limiter.decide(tenant, wanted, self._clock.monotonic(), moved=moved)

    async def _first_look(self) -> None:
        """Wait for the look under way, or look: nothing is let in on the strength of knowing nothing."""
        async with self._looking:
            pass
        if not self._seen:
            await self.look()

    def _summed(self, lines: Iterable[Line]) -> Iterable[tuple[str, int, int, float]]:
        expected = self._expected
        for line in lines:
            tasks = line.queued + line.waiting
            if tasks > 0:
                yield line.tenant, line.level, tasks, tasks * expected(line.model, line.tenant)

    async def _known(self, tenant: str, specs: Sequence[task_pb2.TaskSpec], over: Sequence[int]) -> set[int]:
        """Return the places of those whose keys are known."""
        keyed = [place for place in over if specs[place].idempotency_key]
        if not keyed:
            return set()
        keys = [specs[place].idempotency_key for place in keyed]
        answers = await self._keys.known(tenant, [(partition_of_key(tenant, key), key) for key in keys])
        return {place for place, known in zip(keyed, answers, strict=True) if known}


def _level_of(spec: task_pb2.TaskSpec) -> Level:
    """Return a task's level. One that is none is refused later, by those who check; here it is like any other."""
    number = spec.priority
    return convert.LEVELS[number] if 0 <= number < len(convert.LEVELS) else Level.NORMAL


def _mean_ms(waiting: Waiting | None) -> float:
    return waiting.work_ms / waiting.tasks if waiting and waiting.tasks else UNKNOWN.work_ms


def _errors(refusals: Mapping[int, Refusal | None]) -> dict[int, ForebayError]:
    """Make errors; tasks that share a refusal share the error, and what is made of it."""
    made: dict[int, ForebayError] = {}
    by_refusal: dict[Refusal, QuotaExceeded] = {}
    for place, refusal in refusals.items():
        if refusal is None:
            continue
        error = by_refusal.get(refusal)
        if error is None:
            violation = QuotaViolation(refusal.subject, refusal.description)
            error = by_refusal[refusal] = QuotaExceeded([violation], refusal.retry_after_s)
        made[place] = error
    return made


@asynccontextmanager
async def quotas_kept(quotas: Quotas) -> AsyncIterator[Quotas]:
    """Look while the block lasts."""
    async with asyncio.TaskGroup() as group:
        running = group.create_task(quotas.run())
        try:
            yield quotas
        finally:
            running.cancel()
