"""Calls that their runners may have died of: a request that kills must not kill one runner after the other.

Of a runner that dies, everything is a suspect that it had been sent, and what was stopped shortly before, because what
cannot be stopped ends a runner too. Nothing of that is sent again from here, but clients ask again. What comes again is
known by its tenant, its model and its content, and is let in once more: on trial, one suspect of a model at a time, so
that the next death says of exactly one that it is to blame. A turn ends with the first output, or after two seconds;
of a runner that had several then each is a suspect once more, and to blame the next time. What comes back from a trial
with an answer is no suspect any more; what is to blame is refused for a while. Durable tasks have a like law
(`inference/agent/post_mortem.py`).

It costs nothing while no runner dies: requests are looked at for as long as there are suspects only.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from hashlib import blake2b
from typing import Final, NamedTuple

from forebay.runner.v1.runner_service_pb2 import Call
from scheduler.errors import DeadlinePassed, RunnerCrashed
from services.gateway.direct.connection import Connection
from services.gateway.direct.lineup import Key
from services.gateway.direct.pending import Pending
from services.gateway.direct.wanted import DirectCall, Trial

SUSPECTED_S: Final = 60.0
"""How long a call is a suspect that does not come back."""
REFUSED_S: Final = 600.0
"""How long a call is refused that two runners died of."""
MOST: Final = 4096
"""Suspects of a model that are remembered, some 200 bytes each; the oldest is forgotten first."""
MOST_BYTES: Final = 8 << 20
"""Most bytes of requests that are read after a death, and most that are kept of what was stopped."""
STOPPED_S: Final = 15.0
"""How long after it was stopped a call may still be what its runner dies of: longer than a runner takes to give up an
engine that does not let go."""
TURN_S: Final = 2.0
"""Longest time for which a suspect keeps others waiting: what kills does so at once, as a rule."""
_SHARED_DEATHS: Final = 3
"""A request is to blame when so many runners had it when they died, in the end with other suspects beside it."""
_MOST_STOPPED: Final = 256


class _Stopped(NamedTuple):
    runner: str
    at_s: float
    key: Key
    wanted: DirectCall
    alone: bool
    """Whether it was on trial, and the only one."""


class _Suspicions:
    """Of one model, by digests of requests, with the times until which they stand, the earliest first."""

    def __init__(self) -> None:
        self.suspected: Final[OrderedDict[bytes, float]] = OrderedDict()
        self.deaths: Final[dict[bytes, int]] = {}
        """How many runners had a suspect when they died."""
        self.guilty: Final[OrderedDict[bytes, float]] = OrderedDict()
        self.turn: Final = asyncio.Lock()
        """Held by the one suspect that is on trial."""

    def expire(self, now_s: float) -> bool:
        """Forget what is over; whether nothing is left."""
        for some in (self.suspected, self.guilty):
            while some and (len(some) > MOST or next(iter(some.values())) <= now_s):
                digest, _ = some.popitem(last=False)
                self.deaths.pop(digest, None)
        return not (self.suspected or self.guilty or self.turn.locked())

    def suspects(self, digest: bytes) -> bool:
        """Whether a request is one to try. Raises RunnerCrashed for one that is guilty."""
        if digest in self.guilty:
            raise RunnerCrashed("two runners died of this request: it is not given to another one")
        return digest in self.suspected

    def died(self, digest: bytes, now_s: float, *, alone: bool) -> None:
        """Take in that a runner died that had a request, `alone` if that was the only suspect."""
        deaths = self.deaths.get(digest, 0) + 1
        if digest in self.guilty:
            return
        if alone or deaths >= _SHARED_DEATHS:
            self.clear(digest)
            self.guilty[digest] = now_s + REFUSED_S
        else:
            self.deaths[digest] = deaths
            self.suspected[digest] = now_s + SUSPECTED_S
            self.suspected.move_to_end(digest)

    def clear(self, digest: bytes) -> None:
        """Suspect a request no more."""
        self.suspected.pop(digest, None)
        self.deaths.pop(digest, None)


class Suspects:
    """Of one gateway. Times are of a clock that never goes back."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._models: dict[Key, _Suspicions] = {}
        """Only models with suspects."""
        self._stopped: deque[_Stopped] = deque()
        self._stopped_bytes = 0

    def __bool__(self) -> bool:
        return bool(self._models)

    def left(self, pending: Pending, connection: Connection) -> None:
        """Note that a call is stopped that a runner was sent."""
        now_s = self._monotonic()
        wanted = pending.wanted
        alone = _is_alone(wanted)
        self._stopped.append(_Stopped(connection.id, now_s, pending.group.key, wanted, alone))
        self._stopped_bytes += wanted.size_bytes
        while (
            len(self._stopped) > _MOST_STOPPED
            or self._stopped_bytes > MOST_BYTES
            or now_s - self._stopped[0].at_s > STOPPED_S
        ):
            self._stopped_bytes -= self._stopped.popleft().wanted.size_bytes
            if not self._stopped:
                break

    def died(self, connection: Connection, had: Iterable[Pending], *, named: bool = False) -> None:
        """Suspect what a runner had when it died; `named`: it said by itself that it was this."""
        now_s = self._monotonic()
        found = [
            (one.group.key, one.wanted, one.wanted.trial is not None if named else _is_alone(one.wanted))
            for one in had
        ]
        found += self._take_stopped(connection.id, now_s)
        single = sum(alone for _, _, alone in found) == 1
        read = 0
        for key, wanted, alone in found:
            read += wanted.size_bytes
            if read > MOST_BYTES:
                break
            digest = wanted.trial.digest if wanted.trial is not None else _digest_of(wanted)
            if digest is not None:
                self._models.setdefault(key, _Suspicions()).died(digest, now_s, alone=alone and single)

    def clear(self, trial: Trial) -> None:
        """Take in that a suspect was answered."""
        model = self._models.get(trial.key)
        if model is not None:
            model.clear(trial.digest)

    async def turn(self, wanted: DirectCall, key: Key, timeout_s: float) -> None:
        """Return when a call may be let in: at once, or when it can be on trial; `Trial.end` must follow then.

        Raises RunnerCrashed for what a second runner died of, DeadlinePassed when its turn does not come in time.
        """
        now_s = self._monotonic()
        for each in [each for each, model in self._models.items() if model.expire(now_s)]:
            del self._models[each]
        model = self._models.get(key)
        digest = _digest_of(wanted) if model is not None else None
        if model is None or digest is None or not model.suspects(digest):
            return
        try:
            async with asyncio.timeout(timeout_s):
                await model.turn.acquire()
        except TimeoutError:
            raise DeadlinePassed("a runner died of the call, or beside it, and its turn did not come in time")
        # Another one with the same content may have been tried meanwhile.
        suspect = False
        try:
            suspect = model.suspects(digest)
        finally:
            if not suspect:
                model.turn.release()
        if suspect:
            wanted.trial = trial = Trial(key, digest, model.turn.release)
            asyncio.get_running_loop().call_later(TURN_S, trial.end)

    def _take_stopped(self, runner: str, now_s: float) -> list[tuple[Key, DirectCall, bool]]:
        """Remove and return what this runner was told to stop lately."""
        kept: deque[_Stopped] = deque()
        taken: list[tuple[Key, DirectCall, bool]] = []
        for one in self._stopped:
            if one.runner != runner:
                kept.append(one)
            elif now_s - one.at_s <= STOPPED_S:
                taken.append((one.key, one.wanted, one.alone))
        self._stopped = kept
        self._stopped_bytes = sum(one.wanted.size_bytes for one in kept)
        return taken


def _is_alone(wanted: DirectCall) -> bool:
    return wanted.trial is not None and not wanted.trial.over


def _digest_of(wanted: DirectCall) -> bytes | None:
    """Return what a request is known by; None for one that cannot be written."""
    call = Call(tenant=wanted.tenant)
    try:
        wanted.fill(call)
    # Whatever it is: sending the call says it to whom it concerns.
    except Exception:
        return None
    return blake2b(call.SerializeToString(deterministic=True), digest_size=16).digest()
