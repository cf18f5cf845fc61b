"""The thread that owns the engine, and the event loop's door to it. A request comes here from
inference/runner/workload.py, or from inference/runner/direct/call_table.py, is executed in `engine_turns.py` together
with the others that the runner holds, and what it brings goes on in inference/runner/outcomes.py, or back to the call
that waits on the line.
"""

import asyncio
import threading
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import Final

from inference.engine import Engine, Interruptible, RunCounts
from inference.journal import JournalWriter
from inference.runner.admission import AdmissionQueue
from inference.runner.commands import Admit, Cancel, Command, Count, Follow, HandBack, Raise, Stop
from inference.runner.engine_turns import EngineTurns
from inference.runner.inside import Inside
from inference.runner.job import Job
from inference.runner.stuck import EngineHung, EngineStuck
from inference.runner.to_loop import EngineEvents, ToLoop
from inference.runner.watchdog import Watchdog
from observability.generation import GenerationMetrics, Holdings
from scheduler.policies.policy import Policy
from scheduler.states import Level

SECOND_INTERRUPT_S: Final = 0.05
"""After this a cancelled request is interrupted once more: the first time may have come just before its run began."""


class EngineThread:
    """Runs one engine on one thread. All methods are for the event loop that made it.

    Its life: `start`, then `opened`, then `ended` after `stop`. Credits bound its inbox.
    """

    def __init__(
        self,
        open_engine: Callable[[], Engine],
        queue: AdmissionQueue,
        events: Callable[[], EngineEvents],
        flush_s: float,
        stepped: Callable[[int], None],
        *,
        hard_kill_after_s: float = 10.0,
        watchdog_s: float = 0.0,
        journal: JournalWriter | None = None,
        generation: Callable[[Holdings], GenerationMetrics] | None = None,
    ) -> None:
        """`events` is asked for on the loop, once there is something to tell; `stepped` hears, on the thread, how
        many requests got something from a step. A cancelled request may stay inside a step for `hard_kill_after_s`,
        and a step may last for `watchdog_s` (0: without end; so too where a run can be stopped and may be long).
        `generation` makes the metrics of an engine that generates.
        """
        self._open_engine = open_engine
        self._loop = asyncio.get_running_loop()
        self._inbox: SimpleQueue[Command] = SimpleQueue()
        self._to_loop = ToLoop(events, flush_s, self.stop)
        self._inside = Inside(journal)
        self._watchdog_s = watchdog_s
        self._watchdog = Watchdog(watchdog_s, self._hung)
        self._turns = EngineTurns(
            self._inbox, queue, self._to_loop, self._inside, self._watchdog, stepped, generation
        )
        self._hard_kill_after_s = hard_kill_after_s
        self._commands = 0
        """How many were sent by the loop; the latest has this number."""
        self._interruptible: Interruptible | None = None
        """The engine once it is open, when a run of it can be stopped."""
        self._ended: asyncio.Future[None] = self._loop.create_future()
        self.opened: asyncio.Future[Engine] = self._loop.create_future()
        """The engine once it is open: read its card and capacity only. Fails with what opening it raised."""

    def start(self) -> None:
        """Open the engine and begin to serve."""
        self._ended.add_done_callback(lambda _: self._watchdog.stop())
        threading.Thread(target=self._main, name="engine", daemon=True).start()

    async def ended(self) -> None:
        """Return when the thread has ended: after `stop`, or when the engine could not be opened.

        Raises what the engine raised outside of one request, for it is not to be trusted any more, EngineStuck, and
        EngineHung.
        Cancelling it leaves the thread alone, which ends with the process at the latest.
        """
        await asyncio.shield(self._ended)

    def admit(self, tasks: Sequence[Job]) -> None:
        """Let tasks wait for the engine and run; what is known to be over at once has run when this returns."""
        try:
            if not self._turns.run_here(tasks, self._commands):
                self._tell(Admit(tasks))
            elif self._turns.unfinished:
                self._tell(Admit(()))
        except Exception as error:
            # As on the thread: it is not to be trusted any more.
            if not self._ended.done():
                self._ended.set_exception(error)
            self.stop()

    def cancel(self, keys: Sequence[str]) -> None:
        """Forget tasks, waiting or running; updates that are on their way may still come.

        One that runs on regardless makes `ended` raise EngineStuck.
        """
        self._tell(Cancel(keys))
        self._loop.call_later(self._hard_kill_after_s, self._look_after, self._commands, keys)
        # The thread reads its inbox between steps only, and one run of a tensor model may last for hours.
        if self._interruptible is not None:
            self._interrupt(keys)
            self._loop.call_later(SECOND_INTERRUPT_S, self._interrupt, keys)

    def raise_level(self, key: str, level: Level) -> None:
        """Let a task wait at a higher level; one that runs goes on as it was."""
        self._tell(Raise(key, level))

    def hand_back(self) -> None:
        """Give back everything that waits, through `EngineEvents.returned`."""
        self._tell(HandBack())

    def follow(self, policy: Policy) -> None:
        """Let what waits enter the engine by another policy, before the next step."""
        self._tell(Follow(policy))

    async def counts(self) -> RunCounts | None:
        """Return what the engine has counted, as soon as its present step is over; None for one that does not count.

        Raises what ended the thread, if it has.
        """
        answer: asyncio.Future[RunCounts | None] = self._loop.create_future()
        self._tell(Count(answer))
        await asyncio.wait((answer, self._ended), return_when=asyncio.FIRST_COMPLETED)
        if not answer.done():
            self._ended.result()
            return None
        return answer.result()

    def stop(self) -> None:
        """Forget everything, close the engine and end the thread."""
        self._inbox.put(Stop())

    # On the thread.

    def _main(self) -> None:
        try:
            engine = self._open_engine()
        # Whatever it is, it belongs to whoever awaits it on the loop.
        except BaseException as error:
            self._to_loop.settle(self.opened, error)
            self._to_loop.settle(self._ended, None)
            return
        self._interruptible = engine if isinstance(engine, Interruptible) else None
        self._turns.watch(engine)
        self._to_loop.settle(self.opened, engine)
        # A long run that can be stopped is stopped by its deadline, or by whoever does not want it any more.
        if self._watchdog_s > 0 and self._interruptible is None:
            self._to_loop.call(self._watchdog.start)
        try:
            self._turns.serve(engine)
            engine.close()
        except BaseException as error:
            self._to_loop.settle(self._ended, error)
        else:
            self._to_loop.settle(self._ended, None)

    def on_loop(self, callback: Callable[[], None]) -> None:
        """Call a function on the event loop; for the thread."""
        self._to_loop.call(callback)

    # On the loop.

    def _tell(self, command: Command) -> None:
        self._commands += 1
        self._inbox.put(command)

    def _interrupt(self, keys: Sequence[str]) -> None:
        if self._interruptible is not None:
            for key in keys:
                self._interruptible.interrupt(key)

    def _look_after(self, number: int, keys: Sequence[str]) -> None:
        """See whether a cancel was obeyed; give the engine up when one of its requests is what holds it up."""
        if self._turns.carried_out >= number or self._ended.done():
            return
        # Other engines run all that is inside them in each step.
        runs = self._interruptible.runs if self._interruptible is not None else self._inside.__contains__
        if any(map(runs, keys)):
            self._ended.set_exception(
                EngineStuck(f"cancelled {self._hard_kill_after_s:g} s ago, still running")
            )

    def _hung(self) -> None:
        """Give the engine up: it has worked on one thing for longer than it may."""
        if not self._ended.done():
            cause = f"the engine has worked on one step for {self._watchdog_s:g} s"
            self._ended.set_exception(EngineHung(cause, self._inside.suspects()))
