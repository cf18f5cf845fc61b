"""Tasks of every kind that can be brought into every state, and what is asked of a system when all is over."""

import asyncio
from datetime import timedelta
from typing import Any, Final

import numpy as np

from forebay.client import AsyncClient, TaskHandle, TaskState, task_spec
from forebay.tasks.v1.task_pb2 import TaskSpec

ENDLESS: Final = 1 << 60
HOUR: Final = timedelta(hours=1)
LIMIT_S: Final = 40.0
LOOK_S: Final = 0.02


def add(value: float = 1.0, **options: Any) -> TaskSpec:
    """Return a task of no length."""
    return task_spec("add", tensors={"x": np.full((1, 4), value, np.float32)}, **options)


def countdown(turns: int, **options: Any) -> TaskSpec:
    """Return a task as long as one likes: about a millisecond for 1000 turns."""
    return task_spec("countdown", tensors={"turns": np.array([turns], np.int64)}, **options)


def picky(place: int, **options: Any) -> TaskSpec:
    """Return a task that fails for places over 3."""
    return task_spec("picky", tensors={"place": np.array([place], np.int64)}, **options)


def unserved(**options: Any) -> TaskSpec:
    """Return a task of a model that nobody serves."""
    return task_spec("nobody", tensors={"x": np.ones(1, np.float32)}, **options)


async def until(client: AsyncClient, task: TaskHandle, state: TaskState) -> None:
    """Wait until a task is in a state that it must come to."""
    async for seen in client.watch([task], timeout_s=LIMIT_S):
        if seen.state is state:
            return
    raise AssertionError(f"{task.id} ended without having been {state.value}")


async def nothing_is_left(client: AsyncClient) -> None:
    """Wait until every counter says that there is nothing, in whatever state: they are counted a moment later."""
    counts: list[tuple[int, int, int]] = []
    try:
        async with asyncio.timeout(LIMIT_S):
            while True:
                counts = [(queue.depth, queue.running, queue.waiting) for queue in await client.queues()]
                if not any(map(any, counts)):
                    return
                await asyncio.sleep(LOOK_S)
    except TimeoutError:
        raise AssertionError(f"counters say that something is left: {counts}") from None
