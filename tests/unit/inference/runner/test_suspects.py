"""Tasks that may have killed a runner, and the journal that names what one runs."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from inference.engine import (
    EngineKind,
    GenerateRequest,
    Update,
)
from inference.journal import JournalWriter

from .engine_threads import Heard, TellingEngine, executing, thread_of, until
from .fakes import LONGEST_WAIT_S, FakeEngine, held, suspect


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
