"""Every call that this runner holds. It comes from `stream.py`, waits and runs in inference/runner/engine_thread.py,
and is answered in `answering.py`.

A call leaves once: answered, or forgotten because nobody waits for it any more.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from itertools import count
from typing import Final, Protocol

from forebay.runner.v1.runner_service_pb2 import ExecuteRequest, Load
from inference.engine import EngineKind, Update
from inference.journal import JournalWriter
from inference.runner.direct.answering import Answering
from inference.runner.direct.answers import write_error
from inference.runner.direct.deadlines import Deadlines
from inference.runner.direct.held_call import HeldCall
from inference.runner.direct.outbox import ANSWER_BYTES, MOST_PENDING_BYTES, Outbox
from inference.runner.direct.reading import read_call
from inference.runner.job import LEVELS
from inference.runner.tally import Tally
from inference.runner.telemetry import Telemetry
from observability.propagation import trace_id_of
from scheduler.errors import (
    ForebayError,
    InvalidInput,
    Overloaded,
    RunnerCrashed,
    ShuttingDown,
)
from scheduler.states import Level

MOST_CALLS: Final = 4096
"""Calls that a runner holds; more are refused, to be tried elsewhere."""
MOST_BYTES: Final = 256 << 20
"""Bytes of their inputs."""
RETRY_AFTER_S: Final = 0.1

_log = logging.getLogger(__name__)


class Executor(Protocol):
    """Executes calls: the engine thread."""

    def admit(self, tasks: Sequence[HeldCall]) -> None:
        """Let calls wait for the engine and run."""
        ...

    def cancel(self, keys: Sequence[str]) -> None:
        """Forget calls, waiting or running."""
        ...

    def raise_level(self, key: str, level: Level) -> None:
        """Let a call wait at a higher level; one that runs goes on as it was."""
        ...


class CallTable:
    """The calls of all gateways. The event loop owns it; every method takes a batch."""

    def __init__(
        self,
        kind: EngineKind,
        model: str,
        executor: Executor,
        telemetry: Telemetry,
        tally: Tally,
        load: Callable[[Load], None],
        journal: JournalWriter | None = None,
        *,
        answers_digest: str = "",
        most_calls: int = MOST_CALLS,
        most_bytes: int = MOST_BYTES,
        most_pending_bytes: int = MOST_PENDING_BYTES,
    ) -> None:
        """`kind` and `model` say what is served, `answers_digest` what can change its answers; `load` fills in what the
        runner has to do. More calls, or more bytes of their inputs, are refused; a gateway for which more bytes of
        answers wait is given up.
        """
        self._kind = kind
        self._model = model
        self._executor = executor
        self._tally = tally
        self._load = load
        self._answers_digest = answers_digest
        self._journal = journal
        self._most_calls = most_calls
        self._most_bytes = most_bytes
        self._most_pending_bytes = most_pending_bytes
        self._calls: dict[str, HeldCall] = {}
        self._bytes = 0
        self._outboxes: dict[Outbox, str] = {}
        """Of the streams that stand, with what the keys of their calls begin with."""
        self._streams = count(1)
        self._draining = False
        self._finished = False
        self._empty = asyncio.Event()
        self._left = asyncio.Event()
        self._deadlines = Deadlines(self._calls, self._late)
        self.answering = Answering(self._calls, self._leave, telemetry, tally)

    def __len__(self) -> int:
        return len(self._calls)

    # From the gateways.

    def open(self) -> Outbox:
        """Begin a stream; say `close` at its end."""
        outbox = Outbox(self._load, self._most_pending_bytes, self._answers_digest)
        self._outboxes[outbox] = f"call-{next(self._streams)}-"
        if self._finished:
            outbox.finish()
        return outbox

    def close(self, outbox: Outbox) -> None:
        """End a stream, and what is left of its calls."""
        del self._outboxes[outbox]
        keys = list(outbox.keys.values())
        outbox.close()
        self._cancel(keys)
        if not self._outboxes:
            self._left.set()

    def received(self, outbox: Outbox, request: ExecuteRequest) -> None:
        """Take a message. A call that cannot be executed is answered; none is ever dropped.

        Raises InvalidInput for a number that is in use: nobody could tell the answers apart.
        """
        if request.cancelled:
            named = dict.fromkeys(request.cancelled)
            self._cancel([outbox.keys[one] for one in named if one in outbox.keys])
        if request.calls:
            self._tally.arrived()
            self._note(len(request.calls))
            if jobs := self._read(outbox, request, time.monotonic()):
                self._executor.admit(jobs)
                self._deadlines.watch()
        for raised in request.raised:
            if raised.id in outbox.keys:
                self._executor.raise_level(outbox.keys[raised.id], LEVELS.get(raised.priority, Level.LOW))
        outbox.acknowledge(request.number, at_once=self._kind is not EngineKind.TENSOR)

    # From the runner.

    def drain(self) -> None:
        """Refuse what comes from now on. Whoever says it has the executor hand back what it has not begun."""
        self._draining = True

    def abandon(self, suspects: Iterable[str] = ()) -> None:
        """Stop what is left and say so. `suspects` are the keys of what the engine hangs on."""
        hung = frozenset(suspects)
        left = list(self._calls.values())
        self._executor.cancel([call.key for call in left])
        for call in left:
            error: ForebayError = ShuttingDown("its runner ends, and it did not end in time")
            if call.key in hung:
                error = RunnerCrashed("its runner's engine did not come back from it, and was given up")
            self.answering.refuse(call, error)
        self.drain()

    async def left(self, deadline_s: float) -> None:
        """Wait until the gateways have left, within that time: they look into the directory."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(deadline_s):
                while self._outboxes:
                    self._left.clear()
                    await self._left.wait()

    async def finish(self, deadline_s: float) -> None:
        """Wait until the gateways have left, within that time: what they send before they know is refused here, for it
        would be lost on a stream that has ended. Then end what streams still stand.
        """
        await self.left(deadline_s)
        self._finished = True
        for outbox in self._outboxes:
            outbox.finish()

    async def emptied(self) -> None:
        """Wait until nothing is held."""
        while self._calls:
            self._empty.clear()
            await self._empty.wait()

    # From the engine.

    def updated(self, updates: Sequence[Update]) -> Sequence[Update]:
        """Take what the engine brought for calls; return the rest."""
        return self.answering.updated(updates)

    def returned(self, keys: Sequence[str]) -> Sequence[str]:
        """Refuse calls that the engine never saw; return the keys that are of none."""
        rest = []
        for key in keys:
            call = self._calls.get(key)
            if call is None:
                rest.append(key)
            else:
                self.answering.refuse(call, ShuttingDown("its runner ends, and had not begun with it"))
        return rest

    def _read(self, outbox: Outbox, request: ExecuteRequest, now_s: float) -> list[HeldCall]:
        jobs = []
        start = self._outboxes[outbox]
        for call in request.calls:
            number = call.id
            if number in outbox.keys:
                raise InvalidInput.of("calls.id", f"{number} is the number of a call that is open")
            try:
                self._check_room()
                job = read_call(call, f"{start}{number}", outbox, now_s, self._kind, self._model)
            except Exception as error:  # whatever it is: it must not take the calls of others with it
                if isinstance(error, InvalidInput):
                    self._tally.failed(0.0)
                elif not isinstance(error, ForebayError):
                    _log.exception("call not read", extra={"trace_id": trace_id_of(call.traceparent)})
                write_error(outbox.answer(), number, error)
                outbox.added(ANSWER_BYTES)
                continue
            self._calls[job.key] = job
            self._bytes += job.size
            outbox.keys[number] = job.key
            jobs.append(job)
        return jobs

    def _check_room(self) -> None:
        if self._draining:
            raise ShuttingDown("the runner takes no more work")
        if len(self._calls) >= self._most_calls:
            raise Overloaded(f"the runner holds {self._most_calls} calls already", RETRY_AFTER_S)
        if self._bytes >= self._most_bytes:
            raise Overloaded(f"the runner holds {self._most_bytes} bytes of calls already", RETRY_AFTER_S)

    def _cancel(self, keys: Sequence[str]) -> None:
        if not keys:
            return
        self._executor.cancel(keys)
        for key in keys:
            self._leave(self._calls[key])

    def _leave(self, call: HeldCall) -> None:
        del self._calls[call.key]
        self._bytes -= call.size
        call.outbox.closed_one(call.id)
        if not self._calls:
            self._note(0)
            self._empty.set()

    def _late(self, late: list[HeldCall], now_s: float) -> None:
        self._executor.cancel([call.key for call in late])
        self.answering.late(late, now_s)

    def _note(self, arriving: int) -> None:
        if self._journal is not None:
            self._journal.calls(len(self._calls) + arriving)
