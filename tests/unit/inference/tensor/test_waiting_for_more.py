"""The engine's thread and a tensor engine that may hold requests back: it sleeps until they are due, and no longer."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from inference.engine import Delays, Done, Follows, TensorRequest, Update
from inference.repository.definition import DynamicBatching
from inference.runner.admission import AdmissionQueue
from inference.runner.engine_thread import EngineThread
from inference.runner.job import Job
from inference.tensor.engine import TensorEngine
from scheduler.policies.levels import WeightedLevels
from scheduler.policies.policy import DEFAULT_POLICY
from scheduler.states import Level
from tests.unit.inference.tensor import onnx_models
from tests.unit.inference.tensor.definitions import declared, given, opened, row, seen


class Counting(TensorEngine):
    """Counts how often it is stepped."""

    steps = 0

    def step(self) -> Sequence[Update]:
        self.steps += 1
        return super().step()


class Events:
    def __init__(self) -> None:
        self.batches: dict[str, int] = {}
        self.told = asyncio.Event()

    def updated(self, updates: Sequence[Update]) -> None:
        for update in updates:
            assert isinstance(update, Done)
            self.batches[update.key] = update.batch
        self.told.set()

    def returned(self, keys: Sequence[str]) -> None:
        raise AssertionError(keys)

    async def until(self, count: int) -> None:
        while len(self.batches) < count:
            self.told.clear()
            await self.told.wait()


def engine_of(tmp_path: Path, delay_s: float) -> Counting:
    definition = declared(
        8,
        inputs=(seen("x", 4), seen("y", 4)),
        outputs=(given("z", 4),),
        batching=DynamicBatching(longest_delay_s=delay_s),
    )
    made = opened(onnx_models.add(tmp_path / "add.onnx"), definition)
    made.__class__ = Counting
    assert isinstance(made, Counting)
    return made


def job(key: str) -> Job:
    arrays = {"x": row(1, 2, 3, 4), "y": row(1, 2, 3, 4)}
    return Job(key, Level.NORMAL, time.monotonic(), request=TensorRequest(arrays))


async def test_requests_that_come_one_by_one_share_a_run_while_others_are_expected(tmp_path: Path) -> None:
    engine, events = engine_of(tmp_path, 5.0), Events()
    assert isinstance(engine, Delays)
    assert isinstance(engine, Follows)
    thread = EngineThread(
        lambda: engine, AdmissionQueue(WeightedLevels()), lambda: events, 0.0, lambda _: None
    )
    thread.start()
    await thread.opened
    thread.admit([job("first"), job("second")])
    await events.until(2)
    thread.admit([job("third")])
    thread.follow(replace(DEFAULT_POLICY, ageing_s=1.0))
    thread.admit([job("fourth")])
    await events.until(4)
    thread.stop()
    await thread.ended()
    assert engine._batcher._policy.ageing_s == 1.0
    assert events.batches == {"first": 2, "second": 2, "third": 2, "fourth": 2}
    assert engine.steps <= 4


async def test_what_is_held_back_for_nobody_runs_when_it_is_due(tmp_path: Path) -> None:
    engine, events = engine_of(tmp_path, 0.05), Events()
    thread = EngineThread(
        lambda: engine, AdmissionQueue(WeightedLevels()), lambda: events, 0.0, lambda _: None
    )
    thread.start()
    await thread.opened
    thread.admit([job("first"), job("second")])
    await events.until(2)
    began_s = time.monotonic()
    thread.admit([job("third")])
    await events.until(3)
    thread.stop()
    await thread.ended()
    assert events.batches["third"] == 1
    assert time.monotonic() - began_s < 5
    assert engine.steps <= 3
