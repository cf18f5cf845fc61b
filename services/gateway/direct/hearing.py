"""What runners tell of the calls that they were given, and what follows from it: an answer is handed over, a call that
was not begun goes to another runner, a runner that fails where others do not is taken out.

A call is tried again, twice at most and never with the same runner, where the runner says that it did not begin it,
for a fault that is not the call's; and where it was not even sent when its connection broke. What a runner may have
begun is never sent again from here, and if the runner died, `suspects.py` remembers it.
"""

import logging
from collections.abc import Callable, Sequence
from typing import Final

from google.rpc import code_pb2, error_details_pb2, status_pb2

from forebay.runner.v1.runner_service_pb2 import Answer
from observability import names
from scheduler.errors import ForebayError, Overloaded, RunnerCrashed, RunnerGone, SequenceUnknown
from services.gateway.direct.choosing import Chooser
from services.gateway.direct.connection import Connection
from services.gateway.direct.outcomes import ELSEWHERE, FAULTS
from services.gateway.direct.pending import Pending, Streaming
from services.gateway.direct.suspects import Suspects
from services.gateway.direct.table import CallObserver, CallTable
from services.relayed import Relayed

MOST_TRIES: Final = 3
_LOG: Final = logging.getLogger(__name__)


class Hearing:
    """A Listener of all connections; see there. `forget` lets go of a connection that is at its end."""

    def __init__(
        self,
        table: CallTable,
        chooser: Chooser,
        suspects: Suspects,
        observer: CallObserver,
        monotonic: Callable[[], float],
        forget: Callable[[Connection], None],
    ) -> None:
        self._table = table
        self._chooser = chooser
        self._suspects = suspects
        self._observer = observer
        self._monotonic = monotonic
        self._forget = forget

    def answered(self, connection: Connection, answers: Sequence[Answer]) -> None:
        """Take in answers; see Listener."""
        table = self._table
        measured = False
        for answer in answers:
            pending = table.get(answer.id)
            if pending is None or pending.connection is not connection:
                continue  # nobody waits for it any more
            kind = answer.WhichOneof("outcome")
            if kind == "chunk":
                self._chunk(pending, connection, answer)
            elif kind == "error" or kind is None:
                self._refused(pending, connection, answer)
            else:
                if len(pending.group.connections) > 1:
                    connection.breaker.outcome(False, self._monotonic(), (0, 0))
                if not measured:
                    measured = True
                    share = answer.batch or connection.place.slots
                    pending.group.measured(answer.execute_us / 1000.0 / share)
                if pending.wanted.sequence_end:
                    self._chooser.settle(pending, known=True)
                table.succeed(pending, answer)

    def unfit(self, pending: Pending, error: Exception) -> None:
        """Take in that a call could not be written; see Listener."""
        if not isinstance(error, ForebayError):
            _LOG.error("call could not be written", extra={"door": pending.wanted.door}, exc_info=error)
            error = ForebayError("the call could not be written")
        self._table.fail(pending, error, ended=True)

    def sending(self, calls: int) -> None:
        """Take in that calls go out; see Listener."""
        self._observer.batch(names.HOP_DIRECT, calls)

    def lost(self, connection: Connection, cause: str) -> None:
        """Take in that a connection is at its end; see Listener."""
        self._forget(connection)
        held = self._table.of(connection)
        if held or (cause and not connection.leaving):
            told = {"runner": connection.id, "cause": cause, "calls": len(held)}
            _LOG.warning("connection to a runner ended", extra=told)
        if cause and not connection.leaving:
            self._suspects.died(connection, [pending for pending in held if pending.sent])
        for pending in held:
            if pending.sent:
                self._table.fail(pending, RunnerGone("the runner went while it had the call"), ended=True)
            else:
                self._table.move(pending, connection, None)

    def stranded(self, connection: Connection) -> None:
        """Give calls that wait for a connection to others, where there are any."""
        for pending in self._table.of(connection):
            others = [one for one in pending.group.connections if one is not connection and one.open]
            if not pending.sent and (others or connection.leaving):
                self._table.move(pending, connection, None)

    def _chunk(self, pending: Pending, connection: Connection, answer: Answer) -> None:
        self._table.wait_no_more(pending)
        pending.executed_by(connection)
        if pending.wanted.trial is not None:
            pending.wanted.trial.end()
        if isinstance(pending, Streaming) and not pending.push(answer):
            self._table.fail(pending, Overloaded("the client is too far behind with reading", 1.0))

    def _refused(self, pending: Pending, connection: Connection, answer: Answer) -> None:
        """Take in an error: another runner may do better, or that is the outcome."""
        status = status_pb2.Status()
        status.CopyFrom(answer.error)
        error: ForebayError = Relayed(status)
        code, wanted = status.code, pending.wanted
        if code in FAULTS:
            self._count_fault(pending, connection)
        elif len(pending.group.connections) > 1 and code != code_pb2.RESOURCE_EXHAUSTED:
            connection.breaker.outcome(False, self._monotonic(), (0, 0))
        elsewhere = not answer.started and code in ELSEWHERE
        if code == code_pb2.ABORTED and _reason(status) == RunnerCrashed.reason:
            # The runner ends of it: whatever it says of the start, the next one would end of it as well.
            self._suspects.died(connection, [pending], named=True)
            elsewhere = False
        if wanted.sequence_key:
            gone = elsewhere and not wanted.sequence_start and code == code_pb2.UNAVAILABLE
            if gone:
                error = SequenceUnknown()
            self._chooser.settle(pending, known=not gone and code != code_pb2.FAILED_PRECONDITION)
            elsewhere = elsewhere and wanted.sequence_start
        if elsewhere and len(pending.tried) + 1 < MOST_TRIES:
            pending.tried += (connection.id,)
            self._table.move(pending, connection, error)
        else:
            self._table.fail(pending, error, ended=True)

    def _count_fault(self, pending: Pending, connection: Connection) -> None:
        now_s = self._monotonic()
        failures = seen = 0
        for other in pending.group.connections:
            if other is not connection and other.open:
                theirs, of = other.breaker.failures
                failures, seen = failures + theirs, seen + of
        if connection.breaker.outcome(True, now_s, (failures, seen)):
            _LOG.warning("runner taken out", extra={"runner": connection.id, "model": pending.group.model})


def _reason(status: status_pb2.Status) -> str:
    info = error_details_pb2.ErrorInfo()
    for detail in status.details:
        if detail.Unpack(info):
            return str(info.reason)
    return ""
