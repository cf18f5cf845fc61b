"""A runner goes by the stored policy, also for what waits in it when the policy changes."""

import asyncio
from dataclasses import replace

import pytest

from inference.runner.admission import AdmissionQueue
from inference.runner.engine_thread import EngineThread
from scheduler.policies.level_modes import levels_for
from scheduler.policies.policy import DEFAULT_POLICY, Policy
from scheduler.states import Level
from services.policy_on_wire import stored

from .engine_threads import Heard
from .fakes import LONGEST_WAIT_S, FakeEngine, held
from .test_runner import running

LOW_FIRST = replace(
    DEFAULT_POLICY, weights={Level.CRITICAL: 1, Level.HIGH: 1, Level.NORMAL: 1, Level.LOW: 1_000_000}
)


async def test_what_waits_enters_the_engine_by_the_new_weights() -> None:
    engine, heard = FakeEngine(capacity=1), Heard()
    engine.go.clear()
    thread = EngineThread(
        lambda: engine, AdmissionQueue(levels_for(DEFAULT_POLICY)), lambda: heard, 0.0, lambda tasks: None
    )
    thread.start()
    await thread.opened
    thread.admit([held("first", Level.HIGH)])
    await asyncio.to_thread(engine.stepped.wait, LONGEST_WAIT_S)
    waiting = [held(f"{level.label} {n}", level) for n in range(9) for level in (Level.HIGH, Level.LOW)]
    thread.admit(waiting)
    thread.follow(LOW_FIRST)
    engine.go.set()
    await heard.until(lambda: len(heard.ended()) == 19)
    thread.stop()
    await asyncio.wait_for(thread.ended(), LONGEST_WAIT_S)
    assert sorted(engine.order[1:]) == sorted(task.key for task in waiting)
    # The level that waits may be due one start before the other one's share begins.
    assert sum(key.startswith("low") for key in engine.order[1:11]) == 9


async def test_a_runner_tells_its_engine_of_a_change(monkeypatch: pytest.MonkeyPatch) -> None:
    told: asyncio.Queue[Policy] = asyncio.Queue()
    monkeypatch.setattr(EngineThread, "follow", lambda thread, policy: told.put_nowait(policy))
    async with running(FakeEngine()) as bench:
        assert await bench.store.policies.replace(stored(LOW_FIRST), 0)
        assert await asyncio.wait_for(told.get(), LONGEST_WAIT_S) == LOW_FIRST


class FollowingEngine(FakeEngine):
    """Writes down by which policies it was told to choose."""

    def __init__(self) -> None:
        super().__init__()
        self.followed: list[Policy] = []

    def follow(self, policy: Policy) -> None:
        self.followed.append(policy)


async def test_an_engine_that_chooses_by_level_begins_with_the_policy_and_hears_of_changes() -> None:
    engine, heard = FollowingEngine(), Heard()
    async with running(engine):
        assert engine.followed == [DEFAULT_POLICY]
    thread = EngineThread(
        lambda: engine, AdmissionQueue(levels_for(DEFAULT_POLICY)), lambda: heard, 0.0, lambda tasks: None
    )
    thread.start()
    await thread.opened
    thread.follow(LOW_FIRST)
    thread.admit([held("a")])
    await heard.until(lambda: heard.ended() == ["a"])
    thread.stop()
    await asyncio.wait_for(thread.ended(), LONGEST_WAIT_S)
    assert engine.followed == [DEFAULT_POLICY, LOW_FIRST]
