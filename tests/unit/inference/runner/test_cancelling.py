"""Cancelled tasks in the thread that owns the engine."""

import asyncio

import pytest

from inference.engine import (
    EngineKind,
)
from inference.runner.admission import AdmissionQueue
from inference.runner.engine_thread import EngineThread
from inference.runner.stuck import EngineStuck
from scheduler.policies.levels import WeightedLevels

from .engine_threads import Heard, LongRunningEngine, StuckEngine, thread_of
from .fakes import LONGEST_WAIT_S, FakeEngine, held


async def test_a_cancelled_task_is_forgotten_whether_it_waits_or_runs() -> None:
    engine, heard = FakeEngine(capacity=1), Heard()
    engine.go.clear()
    async with thread_of(engine, heard) as thread:
        thread.admit([held("runs")])
        await asyncio.to_thread(engine.stepped.wait, LONGEST_WAIT_S)
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
        await asyncio.to_thread(engine.entered.wait, LONGEST_WAIT_S)
        thread.cancel(["endless"])
        thread.admit([held("next")])
        await heard.until(lambda: [update.key for update in heard.updates] == ["next"])


async def test_a_cancel_that_comes_just_before_the_run_begins_is_repeated() -> None:
    engine, heard = LongRunningEngine(deaf=1), Heard()
    async with thread_of(engine, heard) as thread:
        thread.admit([held("endless")])
        await asyncio.to_thread(engine.entered.wait, LONGEST_WAIT_S)
        thread.cancel(["endless"])
        thread.admit([held("next")])
        await heard.until(lambda: [update.key for update in heard.updates] == ["next"])


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
