"""How calls are answered: what the engine brought for them is written into the outboxes of their gateways, counted, and
a call that ended leaves `call_table.py`.
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence

from inference.engine import Chunk, Done, Update
from inference.runner.direct.answers import write_done, write_error, write_new_text
from inference.runner.direct.held_call import HeldCall
from inference.runner.direct.outbox import ANSWER_BYTES
from inference.runner.results import PendingText
from inference.runner.tally import Tally
from inference.runner.telemetry import Answered, Telemetry
from observability.propagation import trace_id_of
from scheduler.errors import DeadlinePassed, ForebayError, InvalidInput, ModelFailed

_log = logging.getLogger(__name__)


class Answering:
    """Answers the calls of a table. The event loop owns it; every method but `refuse` takes a batch."""

    def __init__(
        self,
        calls: Mapping[str, HeldCall],
        leave: Callable[[HeldCall], None],
        telemetry: Telemetry,
        tally: Tally,
    ) -> None:
        """`calls` are those that are held, by their keys; `leave` takes one out of them once it is answered."""
        self._calls = calls
        self._leave = leave
        self._telemetry = telemetry
        self._tally = tally
        self.paced: Callable[[int, float], None] | None = None
        """Hears of how many calls ended, and of the engine's time that they took, in seconds."""

    def updated(self, updates: Sequence[Update]) -> Sequence[Update]:
        """Take what the engine brought for calls; return the rest."""
        now_s = time.monotonic()
        calls, rest = self._calls, []
        ended: list[Answered] = []
        texts: dict[HeldCall, PendingText] = {}
        for update in updates:
            call = calls.get(update.key)
            if call is None:
                rest.append(update)
            elif isinstance(update, Chunk):
                if call.at_once:
                    texts.setdefault(call, PendingText()).add(update)
            elif isinstance(update, Done):
                if call.at_once:
                    self._tell(call, texts.pop(call, None), update.tail)
                ended.append(self._done(call, update, now_s))
            else:
                if call.at_once:
                    self._tell(call, texts.pop(call, None), None)
                ended.append(self._fail(call, update.error, now_s))
        for call, text in texts.items():
            self._tell(call, text, None)
        if ended:
            self._telemetry.answered(ended)
            if self.paced is not None:
                done = [each.job.work_s for each in ended if each.output is not None]
                self.paced(len(done), sum(done))
        return rest

    def late(self, calls: Sequence[HeldCall], now_s: float) -> None:
        """End calls whose deadline passed."""
        error = DeadlinePassed("the deadline passed before it was done")
        self._telemetry.answered([self._fail(call, error, now_s) for call in calls])

    def refuse(self, call: HeldCall, error: ForebayError) -> None:
        """End a call with an error that is none of its own: it is not counted."""
        self._write_error(call, error)

    def _tell(self, call: HeldCall, text: PendingText | None, tail: Chunk | None) -> None:
        if tail is not None:
            text = text or PendingText()
            text.add(tail)
        if text is not None:
            call.outbox.added(write_new_text(call.outbox.answer(), call, text))

    def _done(self, call: HeldCall, done: Done, now_s: float) -> Answered:
        answer = call.outbox.answer()
        try:
            size = write_done(answer, call, done)
        except ModelFailed as error:
            shown = write_error(answer, call.id, error, call)
            call.outbox.added(ANSWER_BYTES)
            self._leave(call)
            self._tally.failed(now_s - call.received_s)
            return Answered(call, now_s, failed=shown.reason)
        call.outbox.added(size)
        self._leave(call)
        self._tally.succeeded(call, now_s)
        return Answered(call, now_s, done.output)

    def _fail(self, call: HeldCall, error: Exception, now_s: float) -> Answered:
        shown = self._write_error(call, error)
        self._tally.failed(now_s - call.received_s)
        # What the client got wrong is the client's to read; the rest is for the one who runs the models.
        if not isinstance(shown, InvalidInput | DeadlinePassed):
            extra = {"call": call.key, "trace_id": trace_id_of(call.traceparent)}
            _log.warning("call failed", extra=extra, exc_info=error)
        return Answered(call, now_s, failed=shown.reason)

    def _write_error(self, call: HeldCall, error: Exception) -> ForebayError:
        shown = write_error(call.outbox.answer(), call.id, error, call)
        call.outbox.added(ANSWER_BYTES)
        self._leave(call)
        return shown
