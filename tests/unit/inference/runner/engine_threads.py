"""An engine thread around engines that do as they are told, and who hears what it tells."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from inference.engine import (
    Chunk,
    EngineKind,
    GenerateRequest,
    GenerationStats,
    Request,
    StepTimes,
    Update,
)
from inference.journal import JournalWriter, read_journal
from inference.runner.admission import AdmissionQueue
from inference.runner.engine_thread import EngineThread
from inference.runner.held import Held
from observability.metrics import RunnerMetrics
from scheduler.policies.levels import WeightedLevels
from scheduler.states import Level

from .fakes import LONGEST_WAIT_S, FakeEngine, held

FOREVER_S = 1000.0


class Heard:
    """Collects what the thread tells and wakes who waits for it."""

    def __init__(self) -> None:
        self.updates: list[Update] = []
        self.batches: list[list[Update]] = []
        self.back: list[str] = []
        self._news = asyncio.Event()

    def updated(self, updates: Sequence[Update]) -> None:
        self.updates += updates
        self.batches.append(list(updates))
        self._news.set()

    def returned(self, keys: Sequence[str]) -> None:
        self.back += keys
        self._news.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(LONGEST_WAIT_S):
            while not condition():
                self._news.clear()
                await self._news.wait()

    def ended(self) -> list[str]:
        return [update.key for update in self.updates if not isinstance(update, Chunk)]


class StuckEngine(FakeEngine):
    """A step that has "stuck" inside lasts until `go` is set: nothing interrupts it."""

    def __init__(self, kind: EngineKind = EngineKind.TENSOR) -> None:
        super().__init__(kind)
        self.go.clear()
        self.entered = threading.Event()

    def step(self) -> Sequence[Update]:
        if "stuck" in self.running:
            self.entered.set()
            self.go.wait(LONGEST_WAIT_S)
        return super().step()


class TellingEngine(FakeEngine):
    """Runs one request in a step, and tells which."""

    def tell_runs(self, tell: Callable[[Sequence[str]], None]) -> None:
        self._tell = tell

    def step(self) -> Sequence[Update]:
        first = next(iter(self.running))
        self._tell([first])
        self.stepped.set()
        if not self.go.wait(0.002):
            return []
        return [self._advance(first, *self.running[first])]


class LongRunningEngine(FakeEngine):
    """The step of a request "endless" lasts until it is interrupted; the first `deaf` interrupts are too early."""

    def __init__(self, deaf: int = 0) -> None:
        super().__init__()
        self.entered = threading.Event()
        self._deaf = deaf
        self._interrupted = threading.Event()

    def runs(self, key: str) -> bool:
        return key in self.running

    def interrupt(self, key: str) -> None:
        if self._deaf:
            self._deaf -= 1
        elif key in self.running:
            self._interrupted.set()

    def step(self) -> Sequence[Update]:
        if "endless" not in self.running:
            return super().step()
        self.entered.set()
        self._interrupted.wait(LONGEST_WAIT_S)
        del self.running["endless"]
        return []


class PreemptingEngine(FakeEngine):
    """Takes CRITICAL requests beyond its capacity, one for each of the others that it holds."""

    def __init__(self, capacity: int) -> None:
        super().__init__(EngineKind.GENERATE, capacity)
        self.levels: dict[str, Level] = {}

    def preemptable(self, level: Level) -> int:
        spared = sum(self.levels[key] is Level.CRITICAL for key in self.running)
        return max(0, self.capacity - spared) if level is Level.CRITICAL else 0

    def admit(self, key: str, request: Request) -> None:
        assert isinstance(request, GenerateRequest)
        assert self.active < self.capacity or self.preemptable(request.level) > 0
        self.levels[key] = request.level
        self.running[key] = request, []
        self.order.append(key)


class ReportingEngine(FakeEngine):
    """Says how it generates: one step, one millisecond of each phase."""

    def __init__(self) -> None:
        super().__init__(EngineKind.GENERATE)
        self.times = StepTimes(0.001, 0.001, 0.001, 0.001, 5, 2)

    def stats(self) -> GenerationStats:
        return GenerationStats(running=self.active, kv_tokens=self.active * 8, kv_capacity=64, prefix_hits=7)


class HungryEngine(FakeEngine):
    """Runs out of memory in a step that "hungry" is in; keeps it for ever when it is `greedy`."""

    def __init__(self, *, greedy: bool = False) -> None:
        super().__init__(EngineKind.GENERATE)
        self._greedy = greedy

    def step(self) -> Sequence[Update]:
        if "hungry" in self.running:
            raise MemoryError
        return super().step()

    def cancel(self, key: str) -> None:
        if not self._greedy:
            super().cancel(key)


@asynccontextmanager
async def thread_of(
    engine: FakeEngine,
    heard: Heard,
    flush_s: float = 0.0,
    journal: JournalWriter | None = None,
    *,
    watchdog_s: float = 0.0,
    metrics: RunnerMetrics | None = None,
) -> AsyncIterator[EngineThread]:
    thread = EngineThread(
        lambda: engine,
        AdmissionQueue(WeightedLevels()),
        lambda: heard,
        flush_s,
        lambda tasks: None,
        journal=journal,
        watchdog_s=watchdog_s,
        generation=metrics.generation if metrics is not None else None,
    )
    thread.start()
    assert await thread.opened is engine
    try:
        yield thread
    finally:
        engine.go.set()
        thread.stop()
        await asyncio.wait_for(thread.ended(), LONGEST_WAIT_S)
        assert engine.closed.is_set()


def generation(key: str, level: Level = Level.NORMAL, prompt: str = "hi") -> Held:
    return held(key, level, GenerateRequest(prompt=prompt, max_tokens=3, level=level))


def executing(path: Path) -> list[str]:
    return [one.id for one in read_journal(path).executing]


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(LONGEST_WAIT_S):
        # Nobody tells when another thread writes a file.
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0)
