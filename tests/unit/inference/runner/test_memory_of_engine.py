"""Requests for which there is not enough memory."""

import asyncio

import pytest

from inference.engine import (
    Failed,
)
from inference.runner.admission import AdmissionQueue
from inference.runner.engine_thread import EngineThread
from scheduler.errors import ModelOutOfMemory
from scheduler.policies.levels import WeightedLevels

from .engine_threads import Heard, HungryEngine, generation, thread_of
from .fakes import LONGEST_WAIT_S


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
