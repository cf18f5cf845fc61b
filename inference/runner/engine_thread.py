"""The thread that owns the engine. A request comes here from inference/runner/workload.py, is executed together with
the others that the runner holds, and what it brings goes on in inference/runner/outcomes.py.

It steps the engine by itself as long as there is work, so a token costs no turn of the event loop, and sleeps on its
inbox when there is none. Updates go to the loop by `to_loop.py`; urgent are a first token and an end.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import Final

from inference.engine import Chunk, Engine, Failed, Interruptible, Preempts, ReportsGeneration, Update
from inference.journal import JournalWriter
from inference.model_errors import failure_of, wants_memory
from inference.runner.admission import AdmissionQueue
from inference.runner.commands import Admit, Cancel, Command, Follow, HandBack, Stop
from inference.runner.generation_report import GenerationReport
from inference.runner.held import Held
from inference.runner.inside import Inside
from inference.runner.measuring import Measuring
from inference.runner.stuck import EngineHung, EngineStuck
from inference.runner.to_loop import EngineEvents, ToLoop
from inference.runner.watchdog import Watchdog
from observability.generation import GenerationMetrics, Holdings
from scheduler.errors import DeadlinePassed
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
        self._queue = queue
        self._stepped = stepped
        self._loop = asyncio.get_running_loop()
        self._inbox: SimpleQueue[Command] = SimpleQueue()
        self._to_loop = ToLoop(events, flush_s, self.stop)
        self._hard_kill_after_s = hard_kill_after_s
        self._cancels = 0
        self._obeyed = 0
        """Number of the latest cancel that the thread has carried out."""
        self._inside = Inside(journal)
        self._measuring = Measuring()
        self._started: set[str] = set()
        self._interruptible: Interruptible | None = None
        """The engine once it is open, when a run of it can be stopped."""
        self._preempts: Preempts | None = None
        """The engine once it is open, when it can pause what it runs."""
        self._generation = generation
        self._report: GenerationReport | None = None
        self._watchdog_s = watchdog_s
        self._watchdog = Watchdog(watchdog_s, self._hung)
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

    def admit(self, tasks: Sequence[Held]) -> None:
        """Let tasks wait for the engine and run."""
        self._inbox.put(Admit(tasks))

    def cancel(self, keys: Sequence[str]) -> None:
        """Forget tasks, waiting or running; updates that are on their way may still come.

        One that runs on regardless makes `ended` raise EngineStuck.
        """
        self._cancels += 1
        self._inbox.put(Cancel(keys, self._cancels))
        self._loop.call_later(self._hard_kill_after_s, self._look_after, self._cancels, keys)
        # The thread reads its inbox between steps only, and one run of a tensor model may last for hours.
        if self._interruptible is not None:
            self._interrupt(keys)
            self._loop.call_later(SECOND_INTERRUPT_S, self._interrupt, keys)

    def hand_back(self) -> None:
        """Give back everything that waits, through `EngineEvents.returned`."""
        self._inbox.put(HandBack())

    def follow(self, policy: Policy) -> None:
        """Let what waits enter the engine by another policy, before the next step."""
        self._inbox.put(Follow(policy))

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
        self._preempts = engine if isinstance(engine, Preempts) else None
        if self._generation is not None and isinstance(engine, ReportsGeneration):
            self._report = GenerationReport(engine, self._generation(engine.stats()))
        self._inside.watch(engine)
        self._measuring.watch(engine)
        self._to_loop.settle(self.opened, engine)
        # A long run that can be stopped is stopped by its deadline, or by whoever does not want it any more.
        if self._watchdog_s > 0 and self._interruptible is None:
            self._to_loop.call(self._watchdog.start)
        try:
            self._serve(engine)
            engine.close()
        except BaseException as error:
            self._to_loop.settle(self._ended, error)
        else:
            self._to_loop.settle(self._ended, None)

    def _serve(self, engine: Engine) -> None:
        watchdog = self._watchdog
        while self._obey(engine):
            watchdog.began_s = time.monotonic()
            if self._queue:
                self._take_in(engine)
            if engine.active:
                self._inside.step()
                began_s = watchdog.began_s = time.monotonic()
                try:
                    updates = engine.step()
                except Exception as error:
                    updates = self._survive(engine, error)
                watchdog.began_s = None
                ended_s = time.monotonic()
                self._measuring.stepped(updates, ended_s - began_s, ended_s)
                if updates:
                    self._stepped(len(updates))
                if self._report is not None:
                    self._report.stepped(updates, len(self._queue))
                self._send(updates)
            else:
                watchdog.began_s = None

    def _take_in(self, engine: Engine) -> None:
        """Let in what has a place, and what is so urgent that others give up theirs."""
        active = engine.active
        room = engine.capacity - active
        now_s = time.monotonic()
        if room > 0:
            self._fill(engine, self._queue.take(room, occupied=active > 0, now_s=now_s))
        elif self._preempts is not None and self._queue.critical:
            places = self._preempts.preemptable(Level.CRITICAL)
            if places > 0:
                self._fill(engine, self._queue.take_critical(places, now_s=now_s))

    def _survive(self, engine: Engine, error: Exception) -> Sequence[Update]:
        """Go on after a step that ran out of memory, when one request alone can be the reason and is let go of.

        Raises the error otherwise. With several, ending is what is fair to them: none is charged then for what
        another wanted, and they run apart until it is found (inference/agent/post_mortem.py).
        """
        suspects = self._inside.suspects()
        if not wants_memory(error):
            raise error
        if len(suspects) != 1:
            raise MemoryError(f"a step over {len(suspects)} requests ran out of memory") from error
        [key] = suspects
        engine.cancel(key)
        if engine.active >= len(self._inside):
            raise MemoryError("the engine did not let go of the request that ran out of memory") from error
        return [Failed(key, failure_of(error))]

    def _obey(self, engine: Engine) -> bool:
        """Carry out what the inbox says; waits for it when there is nothing else to do. False to stop."""
        try:
            idle = not engine.active and not self._queue
            if idle:
                self._inside.rest()
                if self._report is not None:
                    self._report.rests()
            command = self._inbox.get(block=idle)
            while True:
                match command:
                    case Admit(tasks):
                        self._queue.add(tasks)
                    case Cancel(keys, order):
                        for key in keys:
                            if not self._queue.remove(key):
                                engine.cancel(key)
                                self._started.discard(key)
                                self._inside.leave(key)
                        self._measuring.leave(keys)
                        self._obeyed = order
                    case HandBack():
                        self._to_loop.give_back([task.key for task in self._queue.clear()])
                    case Follow(policy):
                        self._queue.follow(policy)
                    case Stop():
                        return False
                command = self._inbox.get_nowait()
        except Empty:
            return True

    def _fill(self, engine: Engine, tasks: Sequence[Held]) -> None:
        refused: list[Update] = []
        now = time.monotonic()
        if tasks:
            self._inside.enter([task.key for task in tasks])
        for task in tasks:
            request, task.request = task.request, None
            if task.overdue(now):
                refused.append(
                    Failed(task.key, DeadlinePassed("the deadline passed while it waited in its runner"))
                )
                continue
            self._measuring.enter(task, now)
            if self._report is not None:
                self._report.admitted(now - task.received_s)
            assert request is not None, "only readable work is admitted"
            try:
                engine.admit(task.key, request)
            except Exception as error:
                self._measuring.leave((task.key,))
                refused.append(Failed(task.key, error))
        if refused:
            self._send(refused)

    def _send(self, updates: Sequence[Update]) -> None:
        urgent = False
        started, inside = self._started, self._inside
        for update in updates:
            if type(update) is not Chunk:
                started.discard(update.key)
                inside.leave(update.key)
                urgent = True
            elif update.key not in started:
                started.add(update.key)
                urgent = True
        self._to_loop.send(updates, urgent=urgent)

    def on_loop(self, callback: Callable[[], None]) -> None:
        """Call a function on the event loop; for the thread."""
        self._to_loop.call(callback)

    # On the loop.

    def _interrupt(self, keys: Sequence[str]) -> None:
        if self._interruptible is not None:
            for key in keys:
                self._interruptible.interrupt(key)

    def _look_after(self, order: int, keys: Sequence[str]) -> None:
        """See whether a cancel was obeyed; give the engine up when one of its requests is what holds it up."""
        if self._obeyed >= order or self._ended.done():
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
