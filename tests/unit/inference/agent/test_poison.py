"""A task that kills its runner: real runner processes, an agent, and a made-up scheduler that keeps the records."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import grpc.aio

from forebay.dispatch.v1.dispatch_service_pb2 import AttachRequest, AttachResponse
from forebay.dispatch.v1.dispatch_service_pb2_grpc import (
    DispatchServiceServicer,
    add_DispatchServiceServicer_to_server,
)
from inference.agent.agent import Agent
from inference.agent.catalogue import Catalogue
from inference.agent.memory_kills import MemoryKills
from inference.agent.post_mortem import PostMortem
from inference.agent.posts import Post
from inference.agent.process import RunnerProcess
from inference.agent.settings import AgentSettings
from scheduler.adapters.clock import SystemClock
from scheduler.adapters.memory import MemoryStore
from scheduler.ports.sweeps import Death
from services.lifecycle import PARENT_VARIABLE, Service, grpc_server
from tests.unit.inference.runner.fakes import assignment, tensor_spec

ROOT = Path(__file__).parents[4]
LONGEST_WAIT_S = 18.0


@dataclass
class Task:
    """The record of one task."""

    value: float
    attempt: int = 1
    charged: int = 0
    isolation: str = ""
    state: str = "running"


class Scheduler(DispatchServiceServicer):
    """Gives each runner all open tasks at once; hears of deaths. One charged attempt is all that a task has."""

    def __init__(self, values: Mapping[str, float]) -> None:
        self.tasks = {task_id: Task(value) for task_id, value in values.items()}
        self.deaths: list[Sequence[Death]] = []
        self.over = asyncio.Event()

    async def Attach(
        self,
        request_iterator: AsyncIterator[AttachRequest],
        context: "grpc.aio.ServicerContext[AttachRequest, AttachResponse]",
    ) -> AsyncIterator[AttachResponse]:
        response = AttachResponse(lease_ms=10_000)
        for task_id, task in self.tasks.items():
            if task.state == "running":
                sent = assignment(tensor_spec(task.value), task_id, task.attempt)
                sent.isolation = task.isolation
                response.assignments.append(sent)
        yield response
        async for request in request_iterator:
            for settled in request.settled:
                self.tasks[settled.id].state = "succeeded"
            self._look()

    async def runner_died(self, deaths: Sequence[Death], reason: str, error: bytes) -> int:
        assert reason == "RUNNER_CRASHED"
        self.deaths.append([one for one in deaths if self.tasks[one.id].state == "running"])
        for death in self.deaths[-1]:
            task = self.tasks[death.id]
            assert task.attempt == death.attempt
            task.attempt += 1
            task.charged += death.charged
            task.isolation = death.isolation
            if task.charged:
                task.state = "failed"
        self._look()
        return len(deaths)

    def _look(self) -> None:
        if all(task.state != "running" for task in self.tasks.values()):
            self.over.set()


async def test_a_task_that_kills_its_runner_is_found_by_halves_and_its_neighbours_succeed_uncharged() -> None:
    scheduler = Scheduler({"a": 1.0, "b": 2.0, "poison": 666.0, "c": 3.0})
    service = Service(
        "forebay.dispatch.v1.DispatchService",
        lambda server: add_DispatchServiceServicer_to_server(scheduler, server),
    )
    clock, stop = SystemClock(), asyncio.Event()
    async with grpc_server("127.0.0.1:0", [service], grace_s=0) as server:

        async def spawn(post: Post, runner_id: str, journal: Path) -> RunnerProcess:
            return await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "tests.unit.inference.agent.poisonable_runner",
                cwd=ROOT,
                env={
                    **os.environ,
                    "GRPC_ENABLE_FORK_SUPPORT": "0",
                    "FOREBAY_RUNNER_MODEL": post.model,
                    "FOREBAY_RUNNER_PATH": str(post.path),
                    "FOREBAY_RUNNER_ID": runner_id,
                    "FOREBAY_RUNNER_JOURNAL": str(journal),
                    "FOREBAY_TEST_SCHEDULER": server.address,
                    PARENT_VARIABLE: str(os.getpid()),
                },
            )

        store = MemoryStore(clock)
        agent = Agent(
            AgentSettings(first_pause_s=0.01, grace_s=5.0),
            Catalogue({"m": Path("m")}),
            spawn,
            store.membership,
            store.wanted_models,
            PostMortem(cast(Any, scheduler), clock, MemoryKills()),
            clock,
        )
        async with asyncio.timeout(LONGEST_WAIT_S), asyncio.TaskGroup() as group:
            group.create_task(agent.run(stop))
            await scheduler.over.wait()
            stop.set()
    assert {task_id: task.state for task_id, task in scheduler.tasks.items()} == {
        "a": "succeeded",
        "b": "succeeded",
        "poison": "failed",
        "c": "succeeded",
    }
    assert [sum(death.charged for death in deaths) for deaths in scheduler.deaths] == [0, 0, 1]
    assert len(scheduler.deaths[0]) == 4
