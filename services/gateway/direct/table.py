"""The calls under way: each one is put in once, may go from one runner to another, and is ended once, whatever becomes
of it. `calls.py` puts them in; `hearing.py` moves and ends them as runners tell.
"""

import asyncio
from collections.abc import Callable, Collection
from typing import Final, Protocol

from forebay.runner.v1.runner_service_pb2 import Answer
from observability import tracing
from scheduler.errors import DeadlinePassed, ForebayError
from services.gateway.direct.admission import Admission
from services.gateway.direct.choosing import Chooser
from services.gateway.direct.connection import Connection
from services.gateway.direct.group import Group
from services.gateway.direct.outcomes import code_name, trace_hop
from services.gateway.direct.pending import Pending
from services.gateway.direct.suspects import Suspects
from services.gateway.direct.wanted import DirectCall


class CallObserver(Protocol):
    """What counts calls."""

    def direct(self, door: str, model: str, code: str, seconds: float) -> None:
        """Count a call that came to an end; `code` is the name of a google.rpc.Code."""
        ...

    def batch(self, hop: str, tasks: int) -> None:
        """Count calls that travelled together."""
        ...


class CallTable:
    """Of one gateway. Nothing here waits; times are of a clock that never goes back."""

    def __init__(
        self,
        chooser: Chooser,
        admission: Admission,
        suspects: Suspects,
        observer: CallObserver,
        monotonic: Callable[[], float],
        other_version: Callable[[Pending], Group | None],
    ) -> None:
        """`other_version` returns the runners of another version that a call may go to, None where there is none."""
        self._other_version = other_version
        self._chooser = chooser
        self._admission = admission
        self._suspects = suspects
        self._observer = observer
        self._monotonic = monotonic
        self._loop = asyncio.get_running_loop()
        self._calls: Final[dict[int, Pending]] = {}

    def __len__(self) -> int:
        return len(self._calls)

    def get(self, number: int) -> Pending | None:
        """Return a call by its number; None when nobody waits for it any more."""
        return self._calls.get(number)

    def all(self) -> Collection[Pending]:
        """Return the calls as they are now."""
        return list(self._calls.values())

    def of(self, connection: Connection) -> Collection[Pending]:
        """Return the calls that wait for a runner, and those that it has."""
        return [pending for pending in self._calls.values() if pending.connection is connection]

    def add(self, pending: Pending, connection: Connection, timeout_s: float) -> None:
        """Put in a call that was let in, and give it to a runner. It ends in so many seconds at the latest."""
        self._calls[pending.id] = pending
        pending.wanted.number = pending.id
        pending.timer = self._loop.call_later(timeout_s, self._expire, pending)
        connection.put(pending)

    def refused(self, wanted: DirectCall, model: str, error: ForebayError, began_s: float) -> None:
        """Count a call that was not let in; `model` is empty where the client invented it."""
        if wanted.trial is not None:
            wanted.trial.end()
        self._observer.direct(wanted.door, model, code_name(error), self._monotonic() - began_s)

    def succeed(self, pending: Pending, answer: Answer) -> None:
        """End a call with its answer."""
        wanted, connection = pending.wanted, pending.connection
        assert connection is not None, "only what is under way ends"
        if wanted.trial is not None:
            self._suspects.clear(wanted.trial)
        pending.executed_by(connection)
        wanted.took_s = self._end(pending, "OK", ended=True)
        pending.succeed(answer)

    def fail(self, pending: Pending, error: ForebayError, *, ended: bool = False) -> None:
        """End a call with an error; `ended`: its runner has nothing left of it."""
        self._end(pending, code_name(error), ended=ended)
        pending.fail(error)

    def leave(self, pending: Pending) -> None:
        """Take in that nobody waits for a call any more."""
        if pending.id in self._calls:
            wanted = pending.wanted
            late = wanted.runs_ms and (self._monotonic() - pending.began_s) * 1000 >= wanted.timeout_ms
            self._end(pending, "DEADLINE_EXCEEDED" if late else "CANCELLED", ended=False)
        if pending.future.done() and not pending.future.cancelled():
            # Looked at, so that it is not taken for an error that nobody handled.
            pending.future.exception()

    def move(self, pending: Pending, connection: Connection, cause: ForebayError | None) -> None:
        """Give a call that was not begun to another runner, of another version where its own has none and it named
        none; where there is none at all it ends with the cause, if any.
        """
        connection.drop(pending, ended=True)
        pending.sent = False
        now_s = self._monotonic()
        try:
            try:
                chosen = self._chooser.choose(pending, now_s)
            except ForebayError:
                group = self._other_version(pending)
                if group is None:
                    raise
                pending.group = group
                chosen = self._chooser.choose(pending, now_s)
        except ForebayError as error:
            self.fail(pending, cause or error, ended=True)
        else:
            chosen.put(pending)

    def raise_level(self, wanted: DirectCall, level: int) -> None:
        """Make a call more urgent, wherever it waits. A lower level than it has changes nothing."""
        if level >= wanted.priority:
            return
        pending = self._calls.get(wanted.number)
        if pending is None or pending.connection is None:
            # Not let in yet, or at its end.
            wanted.priority = level
        else:
            pending.connection.raise_level(pending, level)

    def wait_no_more(self, pending: Pending) -> None:
        """Count a call no more among what waits."""
        if pending.decision is not None:
            self._admission.begun(pending.decision)
            pending.decision = None

    def _end(self, pending: Pending, code: str, *, ended: bool) -> float:
        """Take a call out, and return how many seconds it took."""
        del self._calls[pending.id]
        wanted, connection = pending.wanted, pending.connection
        if pending.timer is not None:
            pending.timer.cancel()
        if connection is not None:
            if pending.sent and not ended:
                self._suspects.left(pending, connection)
            connection.drop(pending, ended=ended)
        if wanted.trial is not None:
            wanted.trial.end()
        self._admission.leave(wanted)
        self.wait_no_more(pending)
        seconds = self._monotonic() - pending.began_s
        self._observer.direct(wanted.door, pending.group.model, code, seconds)
        if wanted.traceparent and tracing.enabled():
            trace_hop(pending, connection, code, seconds)
        return seconds

    def _expire(self, pending: Pending) -> None:
        pending.timer = None
        waited_s = pending.deadline_s - pending.began_s
        self.fail(pending, DeadlinePassed(f"the call was not answered within {waited_s:g} s"))
