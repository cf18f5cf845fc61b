"""Following tasks and their output across lost connections: nothing missed, nothing twice."""

import time
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from typing import Final

from forebay.client import methods
from forebay.client.calls import Calls
from forebay.client.errors import DeadlineExceeded, ForebayClientError, InternalError, Unavailable
from forebay.client.reading import TERMINAL
from forebay.client.retry import transient
from forebay.tasks.v1.task_pb2 import Task
from forebay.tasks.v1.task_service_pb2 import (
    StreamOutputRequest,
    StreamOutputResponse,
    TaskIds,
    WatchTasksRequest,
)

MOST_IDS: Final = 10_000
"""Tasks in one watch."""
STREAM_S: Final = 300.0
"""Longest life of one call; the next one goes on where it ended."""
WATCH_S: Final = 86_400.0
"""Longest life of a watch that cannot be continued."""


class _Patience:
    """Decides whether an interrupted stream is opened again, and after how long."""

    def __init__(self, calls: Calls, timeout_s: float | None, what: str) -> None:
        self._calls = calls
        self._deadline = time.monotonic() + timeout_s if timeout_s is not None else None
        self._timeout_s = timeout_s
        self._what = what
        self.heard()

    def heard(self) -> None:
        """Note that the server has answered."""
        self._heard = time.monotonic()
        self._tried = 0

    def left_s(self) -> float:
        """Return how long the next call may last. Raises DeadlineExceeded when no time is left."""
        if self._deadline is None:
            return STREAM_S
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise DeadlineExceeded(f"{self._what} did not end within {self._timeout_s:g} s")
        return min(left, STREAM_S)

    async def pause(self, error: ForebayClientError | None) -> None:
        """Wait before the stream is opened again; `error` None means that it ended too early. Raises the error when
        waiting is useless.
        """
        if isinstance(error, DeadlineExceeded):
            # The end of the call's own life; whether time is left at all, `left_s` knows.
            self.left_s()
        elif error is not None and not transient(error):
            raise error
        elif time.monotonic() - self._heard > self._calls.retry.reconnect_s:
            raise error or Unavailable(f"{self._what}: the server ended the stream again and again")
        self._tried += 1
        pause = self._calls.retry.backoff_s(self._tried, error)
        if self._deadline is not None:
            pause = min(pause, max(self._deadline - time.monotonic(), 0.0))
        await self._calls.transport.sleep(pause)


async def follow(
    calls: Calls, ids: Iterable[str], timeout_s: float | None, *, include_result: bool
) -> AsyncGenerator[list[Task], None]:
    """Yield batches of updates of at most MOST_IDS tasks until every one of them has ended.

    After a lost connection the present states come again. A terminal state comes once.
    """
    remaining = dict.fromkeys(ids)
    patience = _Patience(calls, timeout_s, f"waiting for {len(remaining)} task(s)")
    while remaining:
        request = WatchTasksRequest(tasks=TaskIds(ids=remaining), include_result=include_result)
        error: ForebayClientError | None = None
        try:
            async with aclosing(calls.stream(methods.WATCH, request, patience.left_s())) as answers:
                async for answer in answers:
                    patience.heard()
                    fresh: list[Task] = []
                    for task in answer.tasks:
                        if task.id in remaining:
                            fresh.append(task)
                            if task.state in TERMINAL:
                                del remaining[task.id]
                    if fresh:
                        yield fresh
                    if not remaining:
                        return
        except ForebayClientError as caught:
            error = caught
        await patience.pause(error)


async def outcomes(
    calls: Calls, ids: Iterable[str], timeout_s: float | None, *, include_result: bool
) -> dict[str, Task]:
    """Wait until tasks have ended; return each by its id."""
    named = list(dict.fromkeys(ids))
    parts = [named[at : at + MOST_IDS] for at in range(0, len(named), MOST_IDS)]
    found = await calls.transport.gather(
        [_outcomes(calls, part, timeout_s, include_result) for part in parts], len(parts)
    )
    return {id_: task for part in found for id_, task in part.items()}


async def _outcomes(
    calls: Calls, ids: list[str], timeout_s: float | None, include_result: bool
) -> dict[str, Task]:
    ended: dict[str, Task] = {}
    async with aclosing(follow(calls, ids, timeout_s, include_result=include_result)) as batches:
        async for batch in batches:
            for task in batch:
                if task.state in TERMINAL:
                    ended[task.id] = task
    return ended


async def watch(
    calls: Calls, request: WatchTasksRequest, timeout_s: float | None
) -> AsyncGenerator[Task, None]:
    """Yield updates of tasks that are not named one by one, for as long as the caller listens.

    A second stream would not know what happened between the two, so everything that ends the first raises.
    """
    limit = WATCH_S if timeout_s is None else timeout_s
    async with aclosing(calls.stream(methods.WATCH, request, limit)) as answers:
        async for answer in answers:
            for task in answer.tasks:
                yield task
    raise Unavailable("the server ended the watch")


async def output(
    calls: Calls, task: str, after: int, timeout_s: float | None
) -> AsyncGenerator[StreamOutputResponse, None]:
    """Yield the chunks of a task's output after a sequence number, to the last, each once and in order."""
    patience = _Patience(calls, timeout_s, f"the output of task {task}")
    while True:
        request = StreamOutputRequest(id=task, after_sequence=after)
        error: ForebayClientError | None = None
        try:
            async with aclosing(calls.stream(methods.OUTPUT, request, patience.left_s())) as answers:
                async for answer in answers:
                    patience.heard()
                    if answer.sequence <= after:
                        continue
                    if answer.sequence != after + 1:
                        raise InternalError(
                            f"the output of task {task} jumps from {after} to {answer.sequence}"
                        )
                    after = answer.sequence
                    yield answer
                    if answer.state in TERMINAL:
                        return
        except ForebayClientError as caught:
            error = caught
        await patience.pause(error)
