"""The thread that owns the engine."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from inference.engine import (
    Chunk,
    Done,
    EngineKind,
    Failed,
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
from inference.runner.stuck import EngineHung, EngineStuck
from observability import names
from observability.metrics import RunnerMetrics, new_registry
from scheduler.errors import DeadlinePassed, InvalidInput, ModelOutOfMemory, ModelUnusable
from scheduler.policies.levels import WeightedLevels
from scheduler.states import Level

from .fakes import LONGEST_WAIT_S, FakeEngine, held, suspect

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


async def test_more_tasks_than_the_engine_takes_at_once_are_all_executed() -> None:
    engine, heard = FakeEngine(capacity=4), Heard()
    async with thread_of(engine, heard) as thread:
        thread.admit([held(f"k{i}") for i in range(50)])
        await heard.until(lambda: len(heard.updates) == 50)
    assert {update.key for update in heard.updates if isinstance(update, Done)} == {
        f"k{i}" for i in range(50)
    }


async def test_an_idle_engine_is_not_stepped() -> None:
    engine, heard = FakeEngine(), Heard()
    async with thread_of(engine, heard) as thread:
        assert engine.steps == 0
        thread.admit([held("a")])
        await heard.until(lambda: len(heard.updates) == 1)
        assert engine.steps == 1


async def test_a_higher_level_that_comes_later_enters_first() -> None:
    engine, heard = FakeEngine(capacity=1), Heard()
    engine.go.clear()
    async with thread_of(engine, heard) as thread:
        thread.admit([held("first", Level.LOW)])
        engine.stepped.wait(LONGEST_WAIT_S)
        thread.admit([held("low", Level.LOW), held("critical", Level.CRITICAL)])
        thread.cancel(["no such key"])
        engine.go.set()
        await heard.until(lambda: len(heard.updates) == 3)
    assert engine.order[-2:] == ["critical", "low"]


async def test_the_first_token_comes_at_once_and_the_rest_waits_for_the_window() -> None:
    engine, heard = FakeEngine(EngineKind.GENERATE), Heard()
    async with thread_of(engine, heard, flush_s=FOREVER_S) as thread:
        thread.admit([held("a", request=GenerateRequest(prompt="hi", max_tokens=20))])
        await heard.until(lambda: heard.ended() == ["a"])
    assert len(heard.updates) == 20
    assert len(heard.batches) <= 2


async def test_text_is_not_held_back_beyond_the_window() -> None:
    engine, heard = FakeEngine(EngineKind.GENERATE), Heard()
    async with thread_of(engine, heard, flush_s=0.0) as thread:
        thread.admit([held("a", request=GenerateRequest(prompt="hi", max_tokens=1_000_000))])
        await heard.until(lambda: len(heard.batches) > 5)
        thread.cancel(["a"])


async def test_a_task_whose_deadline_passes_while_it_waits_never_enters_the_engine() -> None:
    engine, heard = FakeEngine(capacity=1), Heard()
    engine.go.clear()
    async with thread_of(engine, heard) as thread:
        thread.admit([held("first")])
        engine.stepped.wait(LONGEST_WAIT_S)
        late, timely = held("late"), held("timely")
        late.deadline_ms, timely.deadline_ms = late.lease_time_ms + 1, timely.lease_time_ms + 3_600_000
        late.received_s = timely.received_s = time.monotonic() - 1.0
        thread.admit([late, timely])
        engine.go.set()
        await heard.until(lambda: len(heard.updates) == 3)
    assert engine.order == ["first", "timely"]
    (failed,) = [update for update in heard.updates if isinstance(update, Failed)]
    assert failed.key == "late"
    assert isinstance(failed.error, DeadlinePassed)


async def test_what_a_task_cost_is_known_before_its_end_is_told() -> None:
    engine, heard = FakeEngine(EngineKind.GENERATE), Heard()
    tasks = [held(key, request=GenerateRequest(prompt="hi", max_tokens=5)) for key in "ab"]
    began_s = time.monotonic()
    async with thread_of(engine, heard) as thread:
        thread.admit(tasks)
        await heard.until(lambda: len(heard.ended()) == 2)
        spent_s = time.monotonic() - began_s
        assert all(0 < task.work_s <= task.execute_s <= spent_s for task in tasks)
        assert sum(task.work_s for task in tasks) <= spent_s


async def test_a_request_that_the_engine_refuses_fails_alone() -> None:
    engine, heard = FakeEngine(EngineKind.GENERATE), Heard()
    async with thread_of(engine, heard) as thread:
        thread.admit(
            [
                held("bad", request=GenerateRequest(prompt="refuse")),
                held("good", request=GenerateRequest(prompt="hi", max_tokens=1)),
            ]
        )
        await heard.until(lambda: len(heard.updates) == 2)
    refused = next(update for update in heard.updates if update.key == "bad")
    assert isinstance(refused, Failed)
    assert isinstance(refused.error, InvalidInput)


async def test_a_cancelled_task_is_forgotten_whether_it_waits_or_runs() -> None:
    engine, heard = FakeEngine(capacity=1), Heard()
    engine.go.clear()
    async with thread_of(engine, heard) as thread:
        thread.admit([held("runs")])
        engine.stepped.wait(LONGEST_WAIT_S)
        thread.admit([held("waits"), held("lives")])
        thread.cancel(["runs", "waits"])
        thread.hand_back()
        await heard.until(lambda: heard.back == ["lives"])
        engine.go.set()
    assert heard.updates == []


async def test_a_cancelled_task_is_interrupted_in_the_middle_of_a_long_run() -> None:
    engine, heard = LongRunningEngine(), Heard()
    async with thread_of(engine, heard) as thread:
        thread.admit([held("endless")])
        engine.entered.wait(LONGEST_WAIT_S)
        thread.cancel(["endless"])
        thread.admit([held("next")])
        await heard.until(lambda: [update.key for update in heard.updates] == ["next"])


async def test_a_cancel_that_comes_just_before_the_run_begins_is_repeated() -> None:
    engine, heard = LongRunningEngine(deaf=1), Heard()
    async with thread_of(engine, heard) as thread:
        thread.admit([held("endless")])
        engine.entered.wait(LONGEST_WAIT_S)
        thread.cancel(["endless"])
        thread.admit([held("next")])
        await heard.until(lambda: [update.key for update in heard.updates] == ["next"])


async def test_an_engine_that_cannot_be_opened_fails_opened_and_ends_the_thread() -> None:
    def broken() -> FakeEngine:
        raise ModelUnusable("no such file")

    heard = Heard()
    thread = EngineThread(broken, AdmissionQueue(WeightedLevels()), lambda: heard, 0.0, lambda tasks: None)
    thread.start()
    with pytest.raises(ModelUnusable):
        await thread.opened
    await asyncio.wait_for(thread.ended(), LONGEST_WAIT_S)


async def test_an_engine_that_breaks_ends_the_thread_with_its_error() -> None:
    engine, heard = FakeEngine(EngineKind.GENERATE), Heard()
    thread = EngineThread(
        lambda: engine, AdmissionQueue(WeightedLevels()), lambda: heard, 0.0, lambda tasks: None
    )
    thread.start()
    await thread.opened
    thread.admit([held("a", request=GenerateRequest(prompt="crash"))])
    with pytest.raises(RuntimeError):
        await asyncio.wait_for(thread.ended(), LONGEST_WAIT_S)


@pytest.mark.parametrize("kind", [EngineKind.TENSOR, EngineKind.GENERATE])
async def test_a_cancelled_task_that_does_not_leave_the_engine_in_time_ends_the_thread(
    kind: EngineKind,
) -> None:
    engine, heard = StuckEngine(kind), Heard()
    thread = EngineThread(
        lambda: engine,
        AdmissionQueue(WeightedLevels()),
        lambda: heard,
        0.0,
        lambda tasks: None,
        hard_kill_after_s=0.02,
    )
    thread.start()
    await thread.opened
    thread.admit([held("stuck"), held("neighbour")])
    await asyncio.to_thread(engine.entered.wait, LONGEST_WAIT_S)
    thread.cancel(["stuck"])
    with pytest.raises(EngineStuck):
        await asyncio.wait_for(thread.ended(), LONGEST_WAIT_S)
    thread.stop()
    engine.go.set()
    await asyncio.to_thread(engine.closed.wait, LONGEST_WAIT_S)


async def test_a_cancelled_task_that_only_waits_for_a_long_step_to_end_is_no_reason_to_end() -> None:
    engine, heard = StuckEngine(), Heard()
    async with thread_of(engine, heard) as thread:
        thread._hard_kill_after_s = 0.0
        thread.admit([held("stuck")])
        await asyncio.to_thread(engine.entered.wait, LONGEST_WAIT_S)
        thread.admit([held("waits")])
        thread.cancel(["waits"])
        looked = asyncio.Event()
        # Timers of one moment come in their order.
        asyncio.get_running_loop().call_later(0.01, looked.set)
        await looked.wait()
        engine.go.set()
        await heard.until(lambda: heard.ended() == ["stuck"])


async def test_suspects_are_never_inside_together_with_others() -> None:
    engine, heard = FakeEngine(EngineKind.GENERATE, capacity=4), Heard()
    together: list[set[str]] = []
    advance = engine.step

    def step() -> Sequence[Update]:
        together.append({key[0] for key in engine.running})
        return advance()

    engine.step = step  # type: ignore[method-assign]
    async with thread_of(engine, heard) as thread:
        tasks = [
            suspect("x1", "x"),
            held("o1"),
            suspect("y1", "y"),
            held("o2"),
            suspect("x2", "x"),
            held("o3"),
        ]
        for task in tasks:
            task.request = GenerateRequest(prompt="hi", max_tokens=5)
        thread.admit(tasks)
        await heard.until(lambda: len(heard.ended()) == 6)
    assert all(len(groups) == 1 for groups in together)


async def test_the_journal_names_all_that_an_engine_without_batches_runs(tmp_path: Path) -> None:
    engine, heard = FakeEngine(EngineKind.GENERATE), Heard()
    engine.go.clear()
    path = tmp_path / "journal"
    async with thread_of(engine, heard, journal=JournalWriter(path)) as thread:
        thread.admit([held("a#1", request=GenerateRequest(prompt="hi", max_tokens=9))])
        await asyncio.to_thread(engine.stepped.wait, LONGEST_WAIT_S)
        engine.stepped.clear()
        thread.admit([held("b#2", request=GenerateRequest(prompt="hi", max_tokens=1))])
        await until(lambda: executing(path) == ["a", "b"])
        engine.go.set()
        await heard.until(lambda: "a#1" in heard.ended())
        await until(lambda: executing(path) == [])


async def test_the_journal_names_only_the_batch_that_an_engine_says_it_runs(tmp_path: Path) -> None:
    engine, heard = TellingEngine(), Heard()
    engine.go.clear()
    path = tmp_path / "journal"
    async with thread_of(engine, heard, journal=JournalWriter(path)) as thread:
        thread.admit([held("a#1"), held("b#1")])
        await asyncio.to_thread(engine.stepped.wait, LONGEST_WAIT_S)
        assert executing(path) == ["a"]
        engine.go.set()
        await heard.until(lambda: len(heard.updates) == 2)


async def test_a_critical_task_enters_an_engine_that_is_full_when_it_can_pause_another() -> None:
    engine, heard = PreemptingEngine(capacity=2), Heard()
    engine.go.clear()
    async with thread_of(engine, heard) as thread:
        thread.admit([generation("low1", Level.LOW), generation("low2", Level.LOW)])
        await asyncio.to_thread(engine.stepped.wait, LONGEST_WAIT_S)
        thread.admit([generation("high", Level.HIGH)])
        thread.admit([generation(f"critical{n}", Level.CRITICAL) for n in range(3)])
        await until(lambda: len(engine.order) == 4)
        engine.go.set()
        await heard.until(lambda: len(heard.ended()) == 6)
    assert engine.order[:4] == ["low1", "low2", "critical0", "critical1"]


async def test_a_critical_task_waits_for_a_place_where_nothing_can_be_paused() -> None:
    engine, heard = FakeEngine(EngineKind.GENERATE, capacity=1), Heard()
    engine.go.clear()
    async with thread_of(engine, heard) as thread:
        thread.admit([generation("low", Level.LOW)])
        await asyncio.to_thread(engine.stepped.wait, LONGEST_WAIT_S)
        thread.admit([generation("critical", Level.CRITICAL)])
        engine.go.set()
        await heard.until(lambda: heard.ended() == ["low", "critical"])


async def test_suspects_are_not_paused_for_a_critical_task() -> None:
    engine, heard = PreemptingEngine(capacity=1), Heard()
    engine.go.clear()
    async with thread_of(engine, heard) as thread:
        alone = suspect("suspect", "x")
        alone.request = GenerateRequest(prompt="hi", max_tokens=3)
        thread.admit([alone])
        await asyncio.to_thread(engine.stepped.wait, LONGEST_WAIT_S)
        thread.admit([generation("critical", Level.CRITICAL)])
        engine.go.set()
        await heard.until(lambda: heard.ended() == ["suspect", "critical"])


async def test_a_step_that_does_not_end_in_time_ends_the_thread_and_names_what_it_ran() -> None:
    engine, heard = StuckEngine(EngineKind.GENERATE), Heard()
    engine.capacity = 2
    thread = EngineThread(
        lambda: engine,
        AdmissionQueue(WeightedLevels()),
        lambda: heard,
        0.0,
        lambda tasks: None,
        watchdog_s=0.05,
    )
    thread.start()
    await thread.opened
    thread.admit([held("stuck"), held("neighbour"), held("waits")])
    with pytest.raises(EngineHung, match=r"0\.05 s") as caught:
        await asyncio.wait_for(thread.ended(), LONGEST_WAIT_S)
    assert list(caught.value.suspects) == ["stuck", "neighbour"]
    thread.stop()
    engine.go.set()
    await asyncio.to_thread(engine.closed.wait, LONGEST_WAIT_S)


async def test_the_batch_that_hangs_is_what_the_journal_names(tmp_path: Path) -> None:
    engine, heard, release, path = TellingEngine(), Heard(), threading.Event(), tmp_path / "journal"

    def step() -> Sequence[Update]:
        engine._tell(["b#1"])
        release.wait(LONGEST_WAIT_S)
        return []

    engine.step = step  # type: ignore[method-assign]
    thread = EngineThread(
        lambda: engine,
        AdmissionQueue(WeightedLevels()),
        lambda: heard,
        0.0,
        lambda tasks: None,
        watchdog_s=0.05,
        journal=JournalWriter(path),
    )
    thread.start()
    await thread.opened
    thread.admit([held("a#1"), held("b#1")])
    with pytest.raises(EngineHung) as caught:
        await asyncio.wait_for(thread.ended(), LONGEST_WAIT_S)
    assert list(caught.value.suspects) == ["b#1"]
    assert executing(path) == ["b"]
    thread.stop()
    release.set()
    await asyncio.to_thread(engine.closed.wait, LONGEST_WAIT_S)


async def test_a_task_that_is_never_taken_in_is_the_only_suspect() -> None:
    engine, heard, release = FakeEngine(EngineKind.GENERATE), Heard(), threading.Event()
    take_in = engine.admit

    def admit(key: str, request: Request) -> None:
        if key == "endless":
            release.wait(LONGEST_WAIT_S)
        take_in(key, request)

    engine.admit = admit  # type: ignore[method-assign]
    engine.go.clear()
    thread = EngineThread(
        lambda: engine,
        AdmissionQueue(WeightedLevels()),
        lambda: heard,
        0.0,
        lambda tasks: None,
        watchdog_s=0.05,
    )
    thread.start()
    await thread.opened
    thread.admit([held("innocent")])
    await asyncio.to_thread(engine.stepped.wait, LONGEST_WAIT_S)
    thread.admit([held("endless")])
    with pytest.raises(EngineHung) as caught:
        await asyncio.wait_for(thread.ended(), LONGEST_WAIT_S)
    assert list(caught.value.suspects) == ["endless"]
    thread.stop()
    release.set()
    engine.go.set()
    await asyncio.to_thread(engine.closed.wait, LONGEST_WAIT_S)


async def test_a_load_that_takes_long_is_not_watched_and_neither_is_a_run_that_can_be_stopped() -> None:
    engine, heard, loaded = LongRunningEngine(), Heard(), threading.Event()
    looked = asyncio.Event()

    def load() -> FakeEngine:
        loaded.wait(LONGEST_WAIT_S)
        return engine

    thread = EngineThread(
        load, AdmissionQueue(WeightedLevels()), lambda: heard, 0.0, lambda tasks: None, watchdog_s=0.01
    )
    thread.start()
    # Timers of one loop come in the order of their times: any look of a watchdog comes before this.
    asyncio.get_running_loop().call_later(0.05, looked.set)
    await looked.wait()
    assert not thread._ended.done()
    loaded.set()
    await thread.opened
    thread.admit([held("endless")])
    await asyncio.to_thread(engine.entered.wait, LONGEST_WAIT_S)
    looked.clear()
    asyncio.get_running_loop().call_later(0.05, looked.set)
    await looked.wait()
    assert not thread._ended.done()
    engine._interrupted.set()
    thread.stop()
    await asyncio.wait_for(thread.ended(), LONGEST_WAIT_S)


async def test_a_request_that_runs_out_of_memory_alone_fails_alone_and_the_engine_goes_on() -> None:
    engine, heard = HungryEngine(), Heard()
    async with thread_of(engine, heard) as thread:
        thread.admit([generation("hungry")])
        await heard.until(lambda: heard.ended() == ["hungry"])
        thread.admit([generation("next")])
        await heard.until(lambda: heard.ended() == ["hungry", "next"])
    failed = heard.updates[0]
    assert isinstance(failed, Failed)
    assert isinstance(failed.error, ModelOutOfMemory)


@pytest.mark.parametrize(("greedy", "others"), [(False, ["innocent"]), (True, [])])
async def test_memory_that_several_may_have_wanted_or_that_is_not_given_back_ends_the_thread(
    greedy: bool, others: list[str]
) -> None:
    engine, heard = HungryEngine(greedy=greedy), Heard()
    thread = EngineThread(
        lambda: engine, AdmissionQueue(WeightedLevels()), lambda: heard, 0.0, lambda tasks: None
    )
    thread.start()
    await thread.opened
    thread.admit([generation(key) for key in ["hungry", *others]])
    with pytest.raises(MemoryError):
        await asyncio.wait_for(thread.ended(), LONGEST_WAIT_S)
    assert heard.updates == []


async def test_what_an_engine_says_of_its_steps_is_on_the_page() -> None:
    engine, heard, registry = ReportingEngine(), Heard(), new_registry()
    metrics = RunnerMetrics(registry, "m")
    async with thread_of(engine, heard, metrics=metrics) as thread:
        thread.admit([generation("a"), generation("b"), generation("bad", prompt="fail")])
        await heard.until(lambda: len(heard.ended()) == 3)
    labels = {"model_name": "m", "engine": "0"}
    value = registry.get_sample_value
    assert value(names.VLLM_GENERATION_TOKENS, labels) == 6
    assert value(f"{names.VLLM_QUEUE_TIME}_count", labels) == 3
    assert value(names.VLLM_REQUEST_SUCCESS, {**labels, "finished_reason": "length"}) == 2
    assert value(names.VLLM_REQUEST_SUCCESS, {**labels, "finished_reason": "error"}) == 1
    assert value(names.VLLM_RUNNING, labels) == 0
    assert value(f"{names.STEP_DURATION}_count", {"model": "m"}) == engine.steps
    assert value(names.STEP_SECONDS, {"model": "m", "phase": "decode"}) == pytest.approx(0.001 * engine.steps)


def generation(key: str, level: Level = Level.NORMAL, prompt: str = "hi") -> Held:
    return held(key, level, GenerateRequest(prompt=prompt, max_tokens=3, level=level))


def executing(path: Path) -> list[str]:
    return [one.id for one in read_journal(path).executing]


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(LONGEST_WAIT_S):
        # Nobody tells when another thread writes a file.
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0)
