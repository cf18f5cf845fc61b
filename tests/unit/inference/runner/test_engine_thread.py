"""The thread that owns the engine: who enters, what is told, and how it ends."""

import asyncio
import time

import pytest

from inference.engine import (
    Done,
    EngineKind,
    Failed,
    GenerateRequest,
)
from inference.runner.admission import AdmissionQueue
from inference.runner.engine_thread import EngineThread
from observability import names
from observability.metrics import RunnerMetrics, new_registry
from scheduler.errors import DeadlinePassed, InvalidInput, ModelUnusable
from scheduler.policies.levels import WeightedLevels
from scheduler.states import Level

from .engine_threads import FOREVER_S, Heard, ReportingEngine, generation, thread_of
from .fakes import LONGEST_WAIT_S, FakeEngine, held


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
        await asyncio.to_thread(engine.stepped.wait, LONGEST_WAIT_S)
        thread.admit([held("low", Level.LOW), held("critical", Level.CRITICAL)])
        thread.cancel(["no such key"])
        engine.go.set()
        await heard.until(lambda: len(heard.updates) == 3)
    assert engine.order[-2:] == ["critical", "low"]


async def test_a_task_that_waits_and_whose_level_rises_enters_before_those_that_were_above_it() -> None:
    engine, heard = FakeEngine(capacity=1), Heard()
    engine.go.clear()
    async with thread_of(engine, heard) as thread:
        thread.admit([held("first", Level.LOW)])
        await asyncio.to_thread(engine.stepped.wait, LONGEST_WAIT_S)
        thread.admit([held("normal", Level.NORMAL), held("low", Level.LOW)])
        for key in ("low", "first", "unknown"):
            thread.raise_level(key, Level.CRITICAL)
        engine.go.set()
        await heard.until(lambda: len(heard.updates) == 3)
    assert engine.order[-2:] == ["low", "normal"]


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
        await asyncio.to_thread(engine.stepped.wait, LONGEST_WAIT_S)
        late, timely = held("late"), held("timely")
        late.due_s, timely.due_s = time.monotonic() - 1.0, time.monotonic() + 3600.0
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
