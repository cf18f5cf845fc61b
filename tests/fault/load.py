"""Work for a system that is about to be hurt: tasks of known answers, submitted in a closed loop.

A worker submits a batch, waits for its results, and submits the next. So at any moment a known number of tasks is on
its way, and "after so many results" is always in the middle of the work.
"""

import asyncio
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

import numpy as np

from forebay.client import (
    AsyncClient,
    ForebayClientError,
    SubmitManyError,
    TaskHandle,
    TaskInfo,
    TaskState,
    task_spec,
)
from forebay.tasks.v1.task_pb2 import TaskSpec
from tests.fault.history import RUN_LABEL, History

LEVELS = ("critical", "high", "normal", "low")


@dataclass(frozen=True, slots=True)
class Refusal:
    """A submit that was not answered OK."""

    error: ForebayClientError
    took_s: float


@dataclass(slots=True)
class Load:
    """A number of tasks for the models `add` and `countdown`."""

    client: AsyncClient
    history: History
    tasks: int
    slow_every: int = 10
    """One in so many is a countdown; 0 for none, 1 for all."""
    turns: int = 30_000
    """Length of a countdown: about 25 ms."""
    batch: int = 12
    workers: int = 8
    submit_s: float = 30.0
    """Longest time that one submit may take."""
    wait_s: float = 60.0
    """Longest wait for the results of one batch, outages included."""
    refusals: list[Refusal] = field(default_factory=list)

    async def run(self) -> None:
        """Submit everything and wait until all of it has ended well, with the right answers."""
        numbers = iter(range(self.tasks))
        async with asyncio.TaskGroup() as group:
            for _ in range(self.workers):
                group.create_task(self.work(numbers))

    async def work(self, numbers: Iterator[int]) -> None:
        """Submit the tasks of these numbers and wait for their answers, batch after batch."""
        while batch := list(islice(numbers, self.batch)):
            handles = await self._submit([self.spec(number) for number in batch])
            for number, info in zip(batch, await self.client.wait_many(handles, self.wait_s), strict=True):
                self.history.observe("its client", info)
                self._check_answer(number, info)

    async def _submit(self, specs: Sequence[TaskSpec]) -> list[TaskHandle]:
        """Submit until everything is accepted: the same tasks with the same keys, as a careful client does."""
        accepted: dict[str, TaskHandle] = {}
        while left := [spec for spec in specs if spec.idempotency_key not in accepted]:
            began_s = time.monotonic()
            try:
                answers: Sequence[TaskHandle | ForebayClientError] = await self.client.submit_many(
                    left, timeout_s=self.submit_s
                )
            except SubmitManyError as partly:
                answers = partly.results
            except ForebayClientError as error:
                answers = [error] * len(left)
            took_s = time.monotonic() - began_s
            for spec, answer in zip(left, answers, strict=True):
                if isinstance(answer, TaskHandle):
                    accepted[spec.idempotency_key] = answer
                    self.history.accept(spec.idempotency_key, answer)
            errors = [answer for answer in answers if isinstance(answer, ForebayClientError)]
            if errors:
                self.refusals += [Refusal(error, took_s) for error in errors]
                # What the server asks for.
                await asyncio.sleep(errors[0].retry_after_s or 0.1)
        return [accepted[spec.idempotency_key] for spec in specs]

    def _is_slow(self, number: int) -> bool:
        return self.slow_every > 0 and number % self.slow_every == 0

    async def refused(self, number: int) -> None:
        """Submit one task that must be refused, because something is known to be away."""
        began_s = time.monotonic()
        try:
            await self.client.submit_many([self.spec(number)], timeout_s=self.submit_s)
        except ForebayClientError as error:
            self.refusals.append(Refusal(error, time.monotonic() - began_s))
        else:
            raise AssertionError("it was accepted")

    def spec(self, number: int) -> TaskSpec:
        """Return the task of a number; always the same, with the same key."""
        slow = self._is_slow(number)
        return task_spec(
            "countdown" if slow else "add",
            tensors={"turns": np.array([self.turns + number], np.int64)}
            if slow
            else {"x": np.full((1, 4), number, np.float32)},
            priority=LEVELS[number % len(LEVELS)],
            labels={RUN_LABEL: self.history.run},
            idempotency_key=f"{self.history.run}-{number}",
        )

    def _check_answer(self, number: int, info: TaskInfo) -> None:
        assert info.state is TaskState.SUCCEEDED, (info.id, info.state, info.error, info.events)
        if self._is_slow(number):
            assert info.tensors["done"].tolist() == [self.turns + number]
        else:
            assert info.tensors["y"].tolist() == [[2.0 * number] * 4]
