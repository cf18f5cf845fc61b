"""Whether a call may come in: limits of the policy, room in this gateway, and whether the runners can do it in time.

What is refused is refused at once, with the time after which it makes sense to try again. Lower levels are refused
first: of the room of this gateway each level may fill only a part, the lower the less; and a call whose runner has more
expected work before it than fits into the time that its client waits is refused from 1 x on at level LOW, from 2 x on
at NORMAL and from 4 x on at HIGH, because higher levels are served first and what is counted is the work of all. A
CRITICAL call is never refused for that.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from scheduler.admission import Decision
from scheduler.admission.meter import SHARES
from scheduler.errors import Overloaded, ShuttingDown
from scheduler.states import Level
from services.gateway.direct.wanted import DirectCall
from services.gateway.quotas import Quotas

PATIENCE: Final[Mapping[int, float]] = MappingProxyType({Level.HIGH: 4.0, Level.NORMAL: 2.0, Level.LOW: 1.0})
"""How many times what fits into a call's time may be before it, by level."""
ROOM_AFTER_S: Final = 0.1
"""When to try again where this gateway is full."""
SOONEST_S: Final = 0.05
LATEST_S: Final = 60.0


class Admission:
    """Counts calls and bytes of calls under way."""

    def __init__(self, quotas: Quotas, max_calls: int, max_bytes: int) -> None:
        self._quotas = quotas
        self._max_calls = {level: max(1, int(max_calls * SHARES[level])) for level in Level}
        self._max_bytes = {level: int(max_bytes * SHARES[level]) for level in Level}
        self._closed = False
        self.calls = 0
        self.bytes = 0

    @property
    def limited(self) -> bool:
        """Whether the policy has limits: then `ready` must be awaited before `enter`."""
        return self._quotas.active

    async def ready(self) -> None:
        """Wait until what waits is known. Raises RecordsUnavailable."""
        await self._quotas.ready()

    def enter(self, wanted: DirectCall) -> Decision | None:
        """Let a call in, until `leave`. Raises Overloaded, QuotaExceeded, and ShuttingDown after `close`."""
        self.check_room(wanted)
        decision = None
        if self._quotas.active:
            decision = self._quotas.enter(wanted.tenant, wanted.priority, wanted.model)
        self.take(wanted)
        return decision

    def check_room(self, wanted: DirectCall) -> None:
        """Raise Overloaded when there is no room for a call of its level, and ShuttingDown after `close`."""
        if self._closed:
            raise ShuttingDown("this gateway is going away", 0.5)
        level, size = wanted.priority, wanted.size_bytes
        if self.calls >= self._max_calls[level]:  # type: ignore[index]  # a number of a Level is as good as one
            raise Overloaded(f"{self.calls} calls are under way already", ROOM_AFTER_S)
        # One call is always let in, however large it is.
        if self.calls and self.bytes + size > self._max_bytes[level]:  # type: ignore[index]
            raise Overloaded(f"{self.bytes} bytes of calls are under way already", ROOM_AFTER_S)

    def take(self, wanted: DirectCall) -> None:
        """Count a call, until `leave`."""
        self.calls += 1
        self.bytes += wanted.size_bytes

    def leave(self, wanted: DirectCall) -> None:
        """Count a call no more."""
        self.calls -= 1
        self.bytes -= wanted.size_bytes

    def begun(self, decision: Decision) -> None:
        """Count a call among what waits no more."""
        self._quotas.leave(decision)

    def close(self) -> None:
        """Refuse everything from now on."""
        self._closed = True


class Room:
    """What one call takes that waits here beside those that are given to runners. No quota counts it: whoever computes
    for it is counted there.
    """

    __slots__ = ("_admission", "_ended", "_taken", "_wanted")

    def __init__(self, admission: Admission, wanted: DirectCall) -> None:
        """Take it, until `end`. Raises as `Admission.check_room`."""
        admission.check_room(wanted)
        admission.take(wanted)
        self._admission = admission
        self._wanted = wanted
        self._taken, self._ended = True, False

    def lend(self) -> None:
        """Leave it to the call itself, which is given to a runner now and counted there."""
        if self._taken:
            self._taken = False
            self._admission.leave(self._wanted)

    def take_back(self) -> None:
        """Take it once more, after that: what was let in is not refused later."""
        if not self._taken and not self._ended:
            self._taken = True
            self._admission.take(self._wanted)

    def end(self) -> None:
        """Give it back. Idempotent."""
        self.lend()
        self._ended = True


def check_in_time(wanted: DirectCall, outstanding_ms: float, timeout_s: float) -> None:
    """Raise Overloaded when too much work is before a call for the time that its client waits."""
    patience = PATIENCE.get(wanted.priority)
    if patience is not None and outstanding_ms > patience * timeout_s * 1000.0:
        excess_s = outstanding_ms / 1000.0 - patience * timeout_s
        raise Overloaded(
            f"about {outstanding_ms / 1000.0:.3g} s of work is before a call that may wait for {timeout_s:.3g} s",
            min(max(excess_s, SOONEST_S), LATEST_S),
        )
