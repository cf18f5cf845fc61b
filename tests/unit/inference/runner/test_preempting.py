"""CRITICAL tasks at an engine that is full."""

import asyncio

from inference.engine import (
    EngineKind,
    GenerateRequest,
)
from scheduler.states import Level

from .engine_threads import Heard, PreemptingEngine, generation, thread_of, until
from .fakes import LONGEST_WAIT_S, FakeEngine, suspect


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
