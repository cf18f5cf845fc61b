"""One call's own way to the answer, which computes for all who wait for the same if it falls to it."""

import time
from collections.abc import Iterable
from contextlib import aclosing
from typing import Final

from cache.answer import Recording
from cache.flights import Disbanded, Lead, OnItsOwn
from cache.key import CacheMode
from cache.ports import Entry
from forebay.cache.v1.stored_answer_pb2 import StoredChunk
from forebay.runner.v1.runner_service_pb2 import Answer
from scheduler.errors import ForebayError, ShuttingDown
from services.gateway.caching.answers import chunks_of, content_of, may_be_kept, stored_of
from services.gateway.caching.asking import Asking
from services.gateway.caching.blame import handed_over
from services.gateway.caching.landed import Landed
from services.gateway.caching.result_cache import ResultCache
from services.gateway.caching.statistics import CacheStatistics
from services.gateway.direct import DirectCall
from services.gateway.direct.admission import Room
from services.gateway.direct.calls import LONGEST_MS
from services.gateway.direct.port import Calls
from services.gateway.direct.wanted import copied
from services.input_faults import is_inputs_own
from services.status import grpc_code, internal, to_status


class Computation:
    """The `Call` of a flight. The computation may outlive the request: it works on a copy of its call."""

    def __init__(
        self,
        cache: ResultCache,
        calls: Calls,
        asking: Asking,
        wanted: DirectCall,
        statistics: CacheStatistics,
        ends_s: float,
    ) -> None:
        """`ends_s` is when its client stops waiting, by the cache's monotonic clock."""
        self._cache = cache
        self._calls = calls
        self._asking = asking
        self.reads: Final = wanted.cache.reads
        """Whether it takes what is kept already."""
        self.replaces: Entry | None = None
        """What it is to take the place of, where something newer of another gateway is as good."""
        self.room: Room | None = None
        """What its request takes of this gateway while it is not given to a runner."""
        self.anew = wanted.cache is CacheMode.REFRESH
        """Whether its client wants what is kept to be replaced, wherever it is."""
        least_ms = cache.least_call_work_ms
        self.shares: Final = not (
            least_ms and wanted.cache is CacheMode.DEFAULT and calls.work_ms(asking.known) < least_ms
        )
        """Whether other gateways have part in it: what costs less than to ask them stays in the memory."""
        self._statistics = statistics
        self.ends_s: Final = ends_s
        self.wanted = wanted
        """Once it is its turn a copy; who executed it is known when `answer` is."""
        self.answer: Answer | None = None
        """What a runner answered to it, if it was its turn."""
        self.begun = False
        """Whether it was its turn, which the direct way counts."""
        self._began_ms = 0
        """When that was."""
        self.looked_s = 0.0
        """How long the answer was looked for before."""
        self.shared = False
        """Whether it is given what another call computed meanwhile, and not what it found in the tiers."""
        self.leader = ""
        """The traceparent of the call that computed what this one was given; empty where that is not known."""

    @property
    def left_s(self) -> float:
        """How long its client still waits."""
        return self.ends_s - self._cache.clock.monotonic()

    @property
    def trace(self) -> bytes:
        """The traceparent of the call, for those who share what it computes."""
        return self.wanted.traceparent.encode()

    def followed(self, trace: bytes) -> None:
        """Take in which call computed what this one is given."""
        # It came over the wire.
        self.shared, self.leader = True, trace.decode(errors="replace")

    def accepts(self, began_ms: int) -> bool:
        """Tell whether it may be given what another gateway began to compute then."""
        return not self._cache.purged_since(self._asking.key, self._asking.known.name, began_ms)

    async def find(self) -> Landed | None:
        """Return the answer if the tiers have it; where it is to be computed anew, only one that is newer than what it
        replaces.
        """
        if not self._cache.deep or not self.shares:
            # Where there is only the memory nobody waited since it was looked into.
            return None
        if not self.reads:
            return await self._cache.newer(self._asking.key, self.replaces) if self.replaces else None
        return await self._cache.look_again(self._asking.key)

    async def compute(self, lead: Lead) -> Landed:
        """Have a runner answer. Raises what `handed_over` says, and what the direct way raises."""
        self._check_model()
        wanted, clock = copied(self.wanted), self._cache.clock
        self.wanted, self.begun = wanted, True
        self._began_ms = clock.now_ms()
        wanted.timeout_ms = max(1, int(self.left_s * 1000))
        # For as long as anybody waits: it is cancelled when nobody does any more.
        wanted.runs_ms = LONGEST_MS
        wanted.priority = lead.level
        lead.when_raised(lambda level: self._calls.raise_level(wanted, level))
        recording = Recording() if self._asking.generates else None
        if self.room is not None:
            self.room.lend()
        try:
            answer = await self._executed(wanted, recording, lead)
        except ForebayError as error:
            if (instead := handed_over(error)) is not None:
                raise instead from error
            if is_inputs_own(grpc_code(error)):
                self._cache.negative.note(self._asking.key, self.status_of(error), clock.now_ms())
            raise
        finally:
            if self.room is not None:
                self.room.take_back()
        self.answer = answer
        asking = self._asking
        if not asking.answered_by(wanted):
            lead.set_apart()
            self._statistics.miss(asking.known, self.looked_s)
        stored = stored_of(
            answer,
            model=asking.known.name,
            version=wanted.served_version,
            sampled=asking.sampled,
            recording=recording,
        )
        return Landed(stored)

    async def keep(self, answer: Landed) -> None:
        """Put the answer into the tiers, the memory first and at once, if it is one that may be kept."""
        asking, executed = self._asking, self.answer
        began_s = time.perf_counter()
        if executed is not None and may_be_kept(executed):
            await self._cache.keep(
                asking.key,
                answer.stored,
                asking.known.identity,
                self._began_ms,
                near=not self.shares,
                anew=self.anew,
            )
        self._statistics.miss(asking.known, self.looked_s + time.perf_counter() - began_s)

    def status_of(self, failure: Exception) -> bytes:
        """Return a failure as a serialised google.rpc.Status."""
        status = to_status(failure) if isinstance(failure, ForebayError) else internal("")
        serialised: bytes = status.SerializeToString()
        return serialised

    def chunks_of(self, answer: Landed) -> Iterable[bytes]:
        """Return the chunks of an answer, as `compute` published them."""
        return chunks_of(answer.stored)

    def content_of(self, chunk: bytes) -> bytes:
        """Return the part of a chunk that is the same whoever computes it."""
        return content_of(chunk)

    def _check_model(self) -> None:
        """Raise Disbanded, with OnItsOwn as its cause, where a runner would be asked something else than the key was
        made for: the model that answers to its name is another one by now.
        """
        wanted = self.wanted
        try:
            known = self._calls.model(wanted.model, wanted.version, wanted.pool)
        except ForebayError:
            known = None
        if known is None or not self._asking.stands(known):
            raise Disbanded("the model changed") from OnItsOwn("the model changed")

    async def _executed(self, wanted: DirectCall, recording: Recording | None, lead: Lead) -> Answer:
        """Return what a runner answers; a generation's chunks are recorded and published on the way."""
        if recording is None:
            return await self._calls.call(wanted)
        clock, asking = self._cache.clock, self._asking
        began_s = clock.monotonic()
        async with aclosing(self._calls.stream(wanted)) as answers:
            async for answer in answers:
                if not answer.HasField("chunk"):
                    return answer
                if not asking.answered_by(wanted):
                    lead.set_apart()
                after_ms = (clock.monotonic() - began_s) * 1000
                recording.add(answer.chunk, after_ms)
                chunk = StoredChunk(new=answer.chunk, after_ms=int(after_ms))
                lead.publish(chunk.SerializeToString())
        raise ShuttingDown("the generation ended without its outcome", 0.5)
