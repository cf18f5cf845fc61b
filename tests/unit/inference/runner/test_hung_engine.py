"""Steps that do not end: the thread is given up, with the names of what it ran."""

import asyncio
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from inference.engine import (
    EngineKind,
    Request,
    Update,
)
from inference.journal import JournalWriter
from inference.runner.admission import AdmissionQueue
from inference.runner.engine_thread import EngineThread
from inference.runner.stuck import EngineHung
from scheduler.policies.levels import WeightedLevels

from .engine_threads import Heard, LongRunningEngine, StuckEngine, TellingEngine, executing
from .fakes import LONGEST_WAIT_S, FakeEngine, held


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
