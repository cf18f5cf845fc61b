"""One turn of the engine after another: what the inbox says is carried out, what waits is let in, the engine steps, and
what that brought is sent on. All of it runs on the engine's thread (`engine_thread.py`), which steps the engine by
itself as long as there is work, so a token costs no turn of the event loop, and sleeps on its inbox when there is none.

While it sleeps, what is known to be over at once takes its turn on the event loop: to wake the thread, and the loop
again, would cost more than the run. A lock says whose turn it is.

Updates go to the loop by `to_loop.py`; urgent are a first token and an end.
"""

import threading
import time
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue

from inference.engine import (
    Chunk,
    CountsRuns,
    Delays,
    Engine,
    Failed,
    Follows,
    KnowsShort,
    Preempts,
    ReportsGeneration,
    Update,
)
from inference.model_errors import failure_of, wants_memory
from inference.runner.admission import AdmissionQueue
from inference.runner.commands import Admit, Cancel, Command, Count, Follow, HandBack, Raise, Stop
from inference.runner.generation_report import GenerationReport
from inference.runner.inside import Inside
from inference.runner.job import Job
from inference.runner.measuring import Measuring
from inference.runner.to_loop import ToLoop
from inference.runner.watchdog import Watchdog
from observability.generation import GenerationMetrics, Holdings
from scheduler.errors import DeadlinePassed
from scheduler.states import Level


class EngineTurns:
    """What the engine's thread does. Nobody else calls it, but for `run_here`; the loop may read `carried_out`."""

    def __init__(
        self,
        inbox: SimpleQueue[Command],
        queue: AdmissionQueue,
        to_loop: ToLoop,
        inside: Inside,
        watchdog: Watchdog,
        stepped: Callable[[int], None],
        generation: Callable[[Holdings], GenerationMetrics] | None,
    ) -> None:
        """`stepped` hears how many requests got something from a step. `generation` makes the metrics of an engine
        that generates.
        """
        self._inbox = inbox
        self._queue = queue
        self._to_loop = to_loop
        self._inside = inside
        self._watchdog = watchdog
        self._stepped = stepped
        self._generation = generation
        self._report: GenerationReport | None = None
        self._measuring = Measuring()
        self._started: set[str] = set()
        """Generations of which something was told."""
        self._at_once: set[str] = set()
        """Generations of which everything is told at once."""
        self._preempts: Preempts | None = None
        """The engine, when it can pause what it runs."""
        self._delays: Delays | None = None
        """The engine, when it may wait for more before it runs what it has."""
        self._knows_short: KnowsShort | None = None
        """The engine, when it knows of some steps that they are over at once."""
        self._engine: Engine | None = None
        """While it is served."""
        self._turn_taken = threading.Lock()
        """Held by the thread except while it sleeps."""
        self.carried_out = 0
        """How many commands were."""

    def watch(self, engine: Engine) -> None:
        """Get ready for an engine; before `serve`."""
        self._preempts = engine if isinstance(engine, Preempts) else None
        self._delays = engine if isinstance(engine, Delays) else None
        self._knows_short = engine if isinstance(engine, KnowsShort) else None
        if self._generation is not None and isinstance(engine, ReportsGeneration):
            self._report = GenerationReport(engine, self._generation(engine.stats()))
        self._inside.watch(engine)
        self._measuring.watch(engine)

    def serve(self, engine: Engine) -> None:
        """Work until told to stop. Raises what the engine raises outside of one request."""
        with self._turn_taken:
            self._engine = engine
            pause_s = 0.0
            try:
                while self._obey(engine, pause_s):
                    pause_s = self._turn(engine)
            finally:
                self._engine = None

    def run_here(self, tasks: Sequence[Job], commands: int) -> bool:
        """Run tasks here, on the event loop, when they are known to be over at once and the thread sleeps; tell whether
        that was done. `commands` is how many were sent: the thread must have seen them all.

        What is left of them afterwards is for the thread, which has to be woken: `unfinished`. Raises what the engine
        raises outside of one request.
        """
        knows = self._knows_short
        if knows is None or not self._turn_taken.acquire(blocking=False):
            return False
        self._to_loop.on_loop = True
        try:
            engine = self._engine
            if engine is None or self.carried_out != commands or engine.active or self._queue:
                return False
            if not knows.short([task.request for task in tasks if task.request is not None]):
                return False
            self._queue.add(tasks)
            self._turn(engine)
            if not self.unfinished:
                self._rest()
            return True
        finally:
            self._to_loop.on_loop = False
            self._turn_taken.release()

    @property
    def unfinished(self) -> bool:
        """Whether something is admitted or waits; right after `run_here`."""
        return bool(self._engine is not None and (self._engine.active or self._queue))

    def _turn(self, engine: Engine) -> float:
        """Let in what may come and step once; return for how long the next step would do nothing, in seconds."""
        watchdog = self._watchdog
        watchdog.began_s = time.monotonic()
        if self._queue:
            self._take_in(engine)
        pause_s = self._pause_s()
        if not pause_s and engine.active:
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
        return pause_s

    def _pause_s(self) -> float:
        """Return for how long a step would do nothing, so that more can come and share the run; in seconds."""
        if self._delays is None:
            return 0.0
        due_s = self._delays.due_s
        return max(0.0, due_s - time.monotonic()) if due_s else 0.0

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

    def _obey(self, engine: Engine, pause_s: float = 0.0) -> bool:
        """Carry out what the inbox says; waits for it, at most for `pause_s`, when there is nothing else to do until
        then. False to stop.
        """
        try:
            if not engine.active and not self._queue:
                self._rest()
                command = self._sleep()
            else:
                command = self._inbox.get(block=pause_s > 0, timeout=pause_s)
            while True:
                match command:
                    case Admit(tasks):
                        self._queue.add(tasks)
                    case Cancel(keys):
                        for key in keys:
                            if not self._queue.remove(key):
                                engine.cancel(key)
                                self._started.discard(key)
                                self._at_once.discard(key)
                                self._inside.leave(key)
                        self._measuring.leave(keys)
                    case Raise(key, level):
                        self._queue.raise_level(key, level)
                    case HandBack():
                        self._to_loop.give_back([task.key for task in self._queue.clear()])
                    case Follow(policy):
                        self._queue.follow(policy)
                        if isinstance(engine, Follows):
                            engine.follow(policy)
                    case Count(answer):
                        counted = engine.counts() if isinstance(engine, CountsRuns) else None
                        self._to_loop.settle(answer, counted)
                    case Stop():
                        return False
                self.carried_out += 1
                command = self._inbox.get_nowait()
        except Empty:
            return True

    def _rest(self) -> None:
        self._inside.rest()
        if self._report is not None:
            self._report.rests()

    def _sleep(self) -> Command:
        """Wait for a command, while others may take a turn."""
        self._turn_taken.release()
        try:
            return self._inbox.get()
        finally:
            self._turn_taken.acquire()

    def _fill(self, engine: Engine, tasks: Sequence[Job]) -> None:
        refused: list[Update] = []
        now = time.monotonic()
        if tasks:
            self._inside.enter([task.key for task in tasks])
        for task in tasks:
            request, task.request = task.request, None
            if now >= task.due_s:
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
                task.admitted_s = 0.0
                refused.append(Failed(task.key, error))
            else:
                if task.at_once:
                    self._at_once.add(task.key)
        if refused:
            self._send(refused)

    def _send(self, updates: Sequence[Update]) -> None:
        urgent = False
        started, at_once, inside = self._started, self._at_once, self._inside
        for update in updates:
            if type(update) is not Chunk:
                started.discard(update.key)
                at_once.discard(update.key)
                inside.leave(update.key)
                urgent = True
            elif update.key not in started:
                started.add(update.key)
                urgent = True
            elif update.key in at_once:
                urgent = True
        self._to_loop.send(updates, urgent=urgent)
