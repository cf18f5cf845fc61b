"""A real model whose one kernel does not come back in time."""

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np

from inference.engine import Engine, TensorRequest
from inference.runner.admission import AdmissionQueue
from inference.runner.engine_thread import EngineThread
from inference.runner.stuck import EngineStuck
from inference.settings import EngineSettings
from inference.tensor.engine import TensorEngine
from scheduler.policies.levels import WeightedLevels
from tests.unit.inference.tensor import onnx_models

from .fakes import LONGEST_WAIT_S, held

SIDE = 3000
"""54 billion operations: far longer than the thread is given, on any core."""


class Deaf:
    """Hears nothing."""

    def updated(self, updates: object) -> None: ...

    def returned(self, keys: object) -> None: ...


async def test_a_kernel_that_no_interrupt_stops_makes_the_thread_give_the_engine_up(tmp_path: Path) -> None:
    path = onnx_models.product(tmp_path / "product.onnx")
    engine = TensorEngine.open(
        path, EngineSettings(providers=("cpu",), threads=1, batching="never"), lambda _: None
    )
    closed = threading.Event()
    thread = EngineThread(
        lambda: watched(engine, closed),
        AdmissionQueue(WeightedLevels()),
        Deaf,
        0.0,
        lambda tasks: None,
        hard_kill_after_s=0.05,
    )
    thread.start()
    await thread.opened
    x = np.ones((SIDE, SIDE), np.float32)
    for number in range(50):
        key = f"long{number}"
        thread.admit([held(key, request=TensorRequest({"x": x}))])
        await until(lambda key=key: engine.runs(key))  # type: ignore[misc]
        thread.cancel([key])
        # An interrupt that comes before the kernel begins is obeyed: then once more.
        await until(lambda key=key: thread._ended.done() or not engine.runs(key))  # type: ignore[misc]
        if thread._ended.done():
            break
    error = thread._ended.exception()
    assert isinstance(error, EngineStuck)
    thread.stop()
    assert await asyncio.to_thread(closed.wait, LONGEST_WAIT_S)


def watched(engine: TensorEngine, closed: threading.Event) -> Engine:
    close = engine.close

    def tell() -> None:
        close()
        closed.set()

    engine.close = tell  # type: ignore[method-assign]
    return engine


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(LONGEST_WAIT_S):
        # The engine tells nobody when it enters a kernel.
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.001)
