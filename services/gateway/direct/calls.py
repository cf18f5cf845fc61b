"""What doors use: a call is let in, given to a runner, and waited for. A request comes here from the doors and goes on
in `connection.py`, to the runner's `Execute`; what runners tell of it comes back through `hearing.py`.

Nothing is awaited for a call but its outcome; only what a runner may have died of waits for its turn first.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from itertools import count
from typing import Final, TypeVar

from forebay.runner.v1.runner_service_pb2 import Answer, ReadStatisticsResponse
from scheduler.errors import DeadlinePassed, ForebayError, ShuttingDown
from scheduler.ports.clock import Clock
from scheduler.ports.membership import Membership
from services.gateway.direct.admission import Admission, Room, check_in_time
from services.gateway.direct.choosing import Chooser
from services.gateway.direct.connection import Connection
from services.gateway.direct.fleet import Fleet
from services.gateway.direct.group import Group
from services.gateway.direct.hearing import Hearing
from services.gateway.direct.outcomes import not_ready
from services.gateway.direct.pending import Pending, Streaming
from services.gateway.direct.port import CacheCounts
from services.gateway.direct.suspects import Suspects
from services.gateway.direct.table import CallObserver, CallTable
from services.gateway.direct.wanted import DEFAULT_POOL, DirectCall, KnownModel

LONGEST_MS: Final = 86_400_000
"""Whatever a client says, no call is waited for longer than a day."""
_P = TypeVar("_P", bound=Pending)


class DirectCalls:
    """What doors use. All errors are of the tree in `scheduler/errors.py`, ready for `services/status.py`.

    InvalidInput; ModelNotFound; ModelNotReady while its runners load; Overloaded and QuotaExceeded when it is not let
    in; SequenceUnknown; DeadlinePassed; RunnerGone when a runner went that may have begun it, and RunnerCrashed for
    what two runners died of; ServerUnavailable, RecordsUnavailable and ShuttingDown; and Relayed for what the runner
    itself answered.
    """

    def __init__(
        self,
        membership: Membership,
        clock: Clock,
        connect: Callable[[Connection], asyncio.Task[None]],
        chooser: Chooser,
        admission: Admission,
        observer: CallObserver,
        default_timeout_s: float,
    ) -> None:
        """`connect` starts a connection's `run` in a task."""
        self._chooser = chooser
        self.under_way: Final = admission
        """How much is let in."""
        self._monotonic = monotonic = clock.monotonic
        self._suspects = suspects = Suspects(monotonic)
        self._table = table = CallTable(
            *(chooser, admission, suspects, observer, monotonic), self._other_version
        )
        hearing = Hearing(
            table, chooser, suspects, observer, monotonic, lambda connection: self.fleet.lost(connection)
        )
        self.fleet: Final = Fleet(membership, clock, hearing, hearing.stranded, connect)
        self._default_ms = int(default_timeout_s * 1000)
        self._numbers = count(1)
        self.closing: Final = asyncio.Event()
        """Set when nothing more is taken."""

    @property
    def open(self) -> bool:
        """Whether calls are taken, and it is known who is there."""
        return self.fleet.known.is_set() and not self.closing.is_set()

    def __len__(self) -> int:
        """Return how many calls are under way."""
        return len(self._table)

    def model(self, name: str, version: int = 0, pool: str = DEFAULT_POOL) -> KnownModel:
        """Return what is known of a model, NAME or NAME@VERSION; whether it can be called now is `ready`.

        Raises ModelNotFound when no runner announces it, ServerUnavailable while nobody knows who is there.
        """
        return self.fleet.model(name, version, pool)

    def models(self, pool: str = DEFAULT_POOL) -> Sequence[KnownModel]:
        """Return every version of every model that runners of a pool announce, by name and version."""
        every = {id(known): known for known in self.fleet.lineup.models.values() if known.pool == pool}
        return sorted(every.values(), key=lambda known: (known.name, known.version))

    def by_prefix(self, model: str) -> bool:
        """Whether the policy has runners of a model chosen by how prompts begin."""
        return self._chooser.by_prefix(model)

    async def call(self, wanted: DirectCall) -> Answer:
        """Return the answer, which is no error and no chunk. Cancelling it stops the work."""
        if self._suspects or self.under_way.limited:
            await self._ready(wanted)
        pending = self._begin(wanted, Pending)
        try:
            return await pending.future
        except asyncio.CancelledError:
            self._table.leave(pending)
            raise

    async def stream(self, wanted: DirectCall) -> AsyncGenerator[Answer, None]:
        """Yield chunks as they come, and the whole outcome, which is no chunk, as the last one. Sets `Call.stream`.

        Whoever does not read it to its end must close it (`aclosing`), which stops the work.
        """
        if self._suspects or self.under_way.limited:
            await self._ready(wanted)
        pending = self._begin(wanted, Streaming)
        try:
            while True:
                await pending.more()
                while pending.chunks:
                    yield pending.chunks.popleft()
                if pending.future.done():
                    yield pending.future.result()
                    return
        finally:
            self._table.leave(pending)

    def raise_level(self, wanted: DirectCall, level: int) -> None:
        """Make a call that is under way more urgent, here and at its runner; one that runs goes on as it was."""
        self._table.raise_level(wanted, level)

    def room(self, wanted: DirectCall) -> Room:
        """Let in a call for which nothing is given to a runner, until `Room.end`. Raises Overloaded, ShuttingDown."""
        return Room(self.under_way, wanted)

    def work_ms(self, known: KnownModel) -> float:
        """Return what a call of a model costs of a runner's time, as measured lately, in milliseconds; 1 until then."""
        return self.fleet.group(known).work_ms

    async def statistics(self, known: KnownModel) -> Sequence[ReadStatisticsResponse]:
        """Return what each runner of a model has counted; those that do not answer are left out."""
        connections = self.fleet.group(known).connections
        counted = await asyncio.gather(*(connection.statistics() for connection in connections))
        return [one for one in counted if one is not None]

    def cache_counts(self, known: KnownModel) -> CacheCounts:
        """Return nothing: no cache is this far down."""
        return CacheCounts()

    async def run(self) -> None:
        """Follow who is there, for ever."""
        await self.fleet.run()

    def refuse(self) -> None:
        """Take nothing more; what is under way goes on."""
        self.under_way.close()
        self.closing.set()

    def close(self) -> None:
        """End what is under way, and take nothing more."""
        self.under_way.close()
        self.closing.set()
        for pending in self._table.all():
            self._table.fail(pending, ShuttingDown("this gateway is going away", 0.5))

    async def _ready(self, wanted: DirectCall) -> None:
        """Wait until it is known what waits, where there are limits, and until a suspect has its turn."""
        if self.under_way.limited:
            await self.under_way.ready()
        if not self._suspects:
            return
        began_s = self._monotonic()
        try:
            known = self.fleet.model(wanted.model, wanted.version, wanted.pool)
        except ForebayError:
            return  # found out again, and told, when it is to be let in
        timeout_s = self._timeout_s(wanted)
        try:
            await self._suspects.turn(wanted, (known.pool, known.name, known.version), timeout_s)
        except ForebayError as error:
            self._table.refused(wanted, known.name, error, began_s)
            raise
        if wanted.trial is not None:
            waited_s = self._monotonic() - began_s
            wanted.timeout_ms = max(1, int((timeout_s - waited_s) * 1000))

    def _begin(self, wanted: DirectCall, kind: type[_P]) -> _P:
        """Let a call in and give it to a runner."""
        now_s = self._monotonic()
        entered = False
        known = pending = None
        try:
            known = self.fleet.model(wanted.model, wanted.version, wanted.pool)
            if not known.ready:
                raise not_ready(known)
            if wanted.timeout_ms < 0:
                raise DeadlinePassed("the call came after its deadline")
            decision = self.under_way.enter(wanted)
            entered = True
            timeout_s = self._timeout_s(wanted)
            group = self.fleet.group(known)
            runs_s = max(timeout_s, min(wanted.runs_ms, LONGEST_MS) / 1000.0)
            pending = kind(next(self._numbers), wanted, group, now_s, now_s + runs_s)
            pending.decision = decision
            chosen = self._chooser.choose(pending, now_s)
            check_in_time(wanted, chosen.load_ms + chosen.untold * group.work_ms, timeout_s)
        except ForebayError as error:
            if entered:
                self.under_way.leave(wanted)
            if pending is not None:
                self._table.wait_no_more(pending)
            # Names that nobody serves are the client's invention: they are no label.
            self._table.refused(wanted, wanted.model if known is not None else "", error, now_s)
            raise
        self._table.add(pending, chosen, runs_s)
        return pending

    def _other_version(self, pending: Pending) -> Group | None:
        """Return the runners of the highest other version that is READY, for a call that named none: its own goes."""
        wanted = pending.wanted
        if wanted.version or "@" in wanted.model or wanted.sequence_key:
            return None
        pool, name, version = pending.group.key
        try:
            known = self.fleet.model(name, pool=pool)
            others = [one for one in known.versions if one != version]
            return self.fleet.group(self.fleet.model(name, others[-1], pool)) if others else None
        except ForebayError:
            return None

    def _timeout_s(self, wanted: DirectCall) -> float:
        return min(wanted.timeout_ms or self._default_ms, LONGEST_MS) / 1000.0
