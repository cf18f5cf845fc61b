"""What is known to be over at once runs on the event loop, while the engine's thread sleeps and only then."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager

import pytest

from inference.engine import Done, EngineKind, GenerateRequest, Request, Update
from inference.runner.engine_thread import EngineThread

from .engine_threads import Heard, thread_of, until
from .fakes import LONGEST_WAIT_S, FakeEngine, held


class ShortEngine(FakeEngine):
    """Says that its steps are over at once, and notes on which threads they are."""

    def __init__(self, kind: EngineKind = EngineKind.TENSOR, *, short: bool = True) -> None:
        super().__init__(kind)
        self.is_short = short
        self.on: list[str] = []

    def short(self, requests: Iterable[Request]) -> bool:
        return self.is_short

    def step(self) -> Sequence[Update]:
        self.on.append(threading.current_thread().name)
        return super().step()


LOOP = threading.main_thread().name


def asleep(thread: EngineThread) -> bool:
    turns = thread._turns
    return turns._engine is not None and not turns._turn_taken.locked()


@asynccontextmanager
async def sleeping(engine: ShortEngine, heard: Heard) -> AsyncIterator[EngineThread]:
    """An engine thread that waits for its first command."""
    async with thread_of(engine, heard) as thread:
        await until(lambda: asleep(thread))
        yield thread


async def test_a_short_step_runs_on_the_loop_and_its_answer_comes_after_the_admission() -> None:
    engine, heard = ShortEngine(), Heard()
    async with sleeping(engine, heard) as thread:
        thread.admit([held("a"), held("b")])
        assert engine.on == [LOOP]
        assert heard.updates == []
        await heard.until(lambda: heard.ended() == ["a", "b"])
        thread.admit([held("c")])
        await heard.until(lambda: heard.ended() == ["a", "b", "c"])
    assert engine.on == [LOOP, LOOP]


async def test_what_is_not_known_to_be_short_is_left_to_the_thread() -> None:
    engine, heard = ShortEngine(short=False), Heard()
    async with sleeping(engine, heard) as thread:
        thread.admit([held("a")])
        await heard.until(lambda: heard.ended() == ["a"])
    assert engine.on == ["engine"]


async def test_while_the_thread_works_short_steps_wait_for_it() -> None:
    engine, heard = ShortEngine(short=False), Heard()
    engine.go.clear()
    async with sleeping(engine, heard) as thread:
        thread.admit([held("long")])
        await asyncio.to_thread(engine.stepped.wait, LONGEST_WAIT_S)
        engine.is_short = True
        thread.admit([held("short")])
        engine.go.set()
        await heard.until(lambda: len(heard.updates) == 2)
    assert set(engine.on) == {"engine"}
    assert engine.order == ["long", "short"]


async def test_nothing_overtakes_what_was_said_to_the_thread_before() -> None:
    engine, heard = ShortEngine(), Heard()
    async with sleeping(engine, heard) as thread:
        thread.hand_back()
        # Whether the thread has taken it in by now, nobody knows.
        thread.admit([held("a")])
        await heard.until(lambda: heard.ended() == ["a"])
        assert await thread.counts() is None
        thread.admit([held("b")])
        await heard.until(lambda: heard.ended() == ["a", "b"])


async def test_what_a_short_step_leaves_is_gone_on_with_by_the_thread() -> None:
    engine, heard = ShortEngine(EngineKind.GENERATE), Heard()
    async with sleeping(engine, heard) as thread:
        thread.admit([held("a", request=GenerateRequest(prompt="hi", max_tokens=3))])
        assert engine.on == [LOOP]
        await heard.until(lambda: heard.ended() == ["a"])
    assert engine.on == [LOOP, "engine", "engine"]


async def test_a_refusal_is_told_like_any_other() -> None:
    engine, heard = ShortEngine(EngineKind.GENERATE), Heard()
    async with sleeping(engine, heard) as thread:
        thread.admit([held("bad", request=GenerateRequest(prompt="refuse"))])
        await heard.until(lambda: heard.ended() == ["bad"])
        assert not any(isinstance(update, Done) for update in heard.updates)


async def test_an_engine_that_breaks_on_the_loop_is_given_up_as_on_its_thread() -> None:
    engine, heard = ShortEngine(EngineKind.GENERATE), Heard()
    with pytest.raises(RuntimeError, match="the engine is broken"):
        async with sleeping(engine, heard) as thread:
            thread.admit([held("bad", request=GenerateRequest(prompt="crash"))])
            await thread.ended()
    assert await asyncio.to_thread(engine.closed.wait, LONGEST_WAIT_S)


async def test_calls_that_come_while_the_thread_wakes_and_sleeps_are_all_answered() -> None:
    engine, heard = ShortEngine(), Heard()
    async with thread_of(engine, heard) as thread:
        for number in range(400):
            engine.is_short = number % 3 != 0
            thread.admit([held(f"k{number}")])
            if number % 7 == 0:
                await heard.until(lambda: len(heard.updates) > number)  # noqa: B023 - waited for at once
                await until(lambda: asleep(thread))
        await heard.until(lambda: len(heard.updates) == 400)
    assert sorted(heard.ended()) == sorted(f"k{number}" for number in range(400))
    assert set(engine.on) == {LOOP, "engine"}
