"""How the agent keeps runners up: made-up processes, a clock that stands still."""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc.aio
import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

from forebay.models.v1 import model_service_pb2 as models
from forebay.runner.v1.runner_service_pb2 import WatchStatusRequest, WatchStatusResponse
from forebay.runner.v1.runner_service_pb2_grpc import (
    RunnerServiceServicer,
    add_RunnerServiceServicer_to_server,
)
from inference.agent.agent import Agent
from inference.agent.catalogue import Catalogue
from inference.agent.posts import Post
from inference.agent.process import describe_exit
from inference.agent.settings import AgentSettings
from inference.presence import EXIT_MODEL_UNUSABLE, EXIT_STUCK
from scheduler.adapters.clock import FakeClock
from scheduler.adapters.memory import MemoryStore
from services.lifecycle import Service, grpc_server

LONGEST_WAIT_S = 10.0
SETTINGS = AgentSettings(first_pause_s=1.0, longest_pause_s=8.0, retry_unusable_s=60.0, grace_s=5.0)


class FakeProcess:
    """Ends when a test says so, or when it is asked, unless it is deaf."""

    def __init__(self, model: str, runner_id: str) -> None:
        self.pid = 4711
        self.model = model
        self.runner_id = runner_id
        self.deaf = False
        self.signals: list[str] = []
        self._end: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def wait(self) -> int:
        return await asyncio.shield(self._end)

    def end(self, code: int) -> None:
        if not self._end.done():
            self._end.set_result(code)

    def terminate(self) -> None:
        self.signals.append("terminate")
        if not self.deaf:
            self.end(0)

    def kill(self) -> None:
        self.signals.append("kill")
        self.end(-9)


class Host:
    """Starts made-up processes for an agent, whose directory is in memory."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        store = MemoryStore(self.clock)
        self.membership = store.membership
        self.wanted = store.wanted_models
        self.started: list[FakeProcess] = []
        self.journals: list[Path] = []
        self.deaths: list[tuple[int, bool]] = []
        self.suspects = False
        self.fault: OSError | None = None
        self.tried = 0
        self._news = asyncio.Event()

    async def spawn(self, post: Post, runner_id: str, journal: Path) -> FakeProcess:
        self.tried += 1
        self._news.set()
        if self.fault is not None:
            raise self.fault
        self.started.append(FakeProcess(post.model, runner_id))
        self.journals.append(journal)
        return self.started[-1]

    def memory_kills(self) -> int:
        return 0

    async def examine(self, journal: Path, code: int, kills_before: int, *, blameless: bool = False) -> bool:
        assert journal in self.journals
        assert journal.parent.is_dir()
        self.deaths.append((code, blameless))
        return self.suspects

    async def starts(self, count: int) -> FakeProcess:
        async with asyncio.timeout(LONGEST_WAIT_S):
            while len(self.started) < count:
                self._news.clear()
                await self._news.wait()
        return self.started[count - 1]

    async def tries(self, count: int) -> None:
        async with asyncio.timeout(LONGEST_WAIT_S):
            while self.tried < count:
                self._news.clear()
                await self._news.wait()

    async def passes(self, seconds: float) -> None:
        await self.settles()
        await self.clock.until_asleep()
        self.clock.advance(seconds)
        await self.settles()

    async def settles(self) -> None:
        """Let everything happen that waits for nothing."""
        for _ in range(30):
            await asyncio.sleep(0)

    async def announce(self, status: WatchStatusResponse) -> None:
        await self.membership.announce("runner", status.runner.id, status.SerializeToString(), 600_000)

    async def cards(self) -> list[WatchStatusResponse]:
        return [WatchStatusResponse.FromString(card) for _, card in await self.membership.members("runner")]


@asynccontextmanager
async def agent_of(host: Host, *names: str) -> AsyncIterator[Agent]:
    stop = asyncio.Event()
    agent = Agent(
        SETTINGS,
        Catalogue({name: Path(name) for name in names}),
        host.spawn,
        host.membership,
        host.wanted,
        host,
        host.clock,
    )
    async with asyncio.TaskGroup() as group:
        group.create_task(agent.run(stop))
        try:
            yield agent
        finally:
            stop.set()


def events(caplog: pytest.LogCaptureFixture, name: str) -> list[dict[str, object]]:
    return [vars(record) for record in caplog.records if record.getMessage() == name]


async def test_a_runner_that_dies_is_started_again_after_pauses_that_double(
    caplog: pytest.LogCaptureFixture,
) -> None:
    host = Host()
    async with agent_of(host, "m"):
        pauses = []
        for count, pause in enumerate((1.0, 2.0, 4.0, 8.0, 8.0), start=1):
            process = await host.starts(count)
            process.end(-9)
            await host.passes(pause - 0.01)
            assert len(host.started) == count
            await host.passes(0.02)
            await host.starts(count + 1)
            pauses.append(pause)
    told = events(caplog, "runner died")
    assert [one["restart_in_s"] for one in told] == pauses
    assert {one["how"] for one in told} == {"signal SIGKILL"}
    assert len({process.runner_id for process in host.started}) == 6


async def test_deaths_of_which_tasks_are_suspected_do_not_lengthen_the_pauses() -> None:
    host = Host()
    host.suspects = True
    async with agent_of(host, "m"):
        for count in range(1, 8):
            (await host.starts(count)).end(-11)
            await host.passes(1.02)
        await host.starts(8)
        host.suspects = False
        for count, pause in enumerate((1.0, 2.0), start=8):
            (await host.starts(count)).end(-11)
            await host.passes(pause - 0.01)
            assert len(host.started) == count
            await host.passes(0.02)
    assert host.deaths[:9] == [(-11, False)] * 9
    assert len(set(host.journals)) == len(host.journals)


async def test_a_runner_that_ended_itself_over_a_stuck_task_is_started_again_at_once() -> None:
    host = Host()
    async with agent_of(host, "m"):
        for count in range(1, 5):
            (await host.starts(count)).end(EXIT_STUCK)
        await host.starts(5)


async def test_a_runner_that_cannot_be_started_is_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    host = Host()
    host.fault = FileNotFoundError(2, "No such file or directory")
    async with agent_of(host, "m"):
        await host.tries(1)
        await host.passes(0.5)
        host.fault = None
        await host.passes(0.6)
        await host.starts(1)
    assert events(caplog, "runner died")[0]["how"] == "not started: No such file or directory"


async def test_an_unusable_model_is_shown_with_its_reason_and_left_alone_for_long(
    caplog: pytest.LogCaptureFixture,
) -> None:
    host = Host()
    async with agent_of(host, "bad", "good"):
        await host.starts(2)
        bad, good = sorted(host.started, key=lambda process: process.model)
        runner = models.Runner(
            id=bad.runner_id, model="bad", state=models.RUNNER_STATE_FAILED, reason="no weights"
        )
        await host.announce(WatchStatusResponse(runner=runner))
        bad.end(EXIT_MODEL_UNUSABLE)
        for _ in range(59):
            await host.passes(1.0)
            assert [card.runner.reason for card in await host.cards()] == ["no weights"]
        assert len(host.started) == 2
        for _ in range(3):
            await host.passes(1.0)
        again = await host.starts(3)
        assert again.model == "bad"
        assert await host.cards() == []
        assert good.signals == []
    assert events(caplog, "model unusable")[0]["reason"] == "no weights"
    assert events(caplog, "runner died") == []


async def test_an_unusable_model_is_reported_once_and_tried_at_growing_intervals(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    host = Host()
    async with agent_of(host, "bad"):
        for count, (pause, reason) in enumerate(
            [(60, "x"), (120, "x"), (240, "y"), (480, "y"), (900, "y"), (900, "x")], start=1
        ):
            process = await host.starts(count)
            runner = models.Runner(
                id=process.runner_id, model="bad", state=models.RUNNER_STATE_FAILED, reason=reason
            )
            await host.announce(WatchStatusResponse(runner=runner))
            process.end(EXIT_MODEL_UNUSABLE)
            # It looks at its clock once before it sleeps for the last time.
            await host.passes(pause - 0.1)
            assert len(host.started) == count
            await host.passes(1.0)
        await host.starts(7)
    told = events(caplog, "model unusable")
    assert [one["retry_in_s"] for one in told] == [60, 120, 240, 480, 900, 900]
    assert [one["levelname"] for one in told] == ["ERROR", "INFO", "ERROR", "INFO", "INFO", "INFO"]


async def test_a_runner_that_dies_of_its_model_before_it_can_tell_why_is_shown_too() -> None:
    host = Host()
    async with agent_of(host, "bad"):
        (await host.starts(1)).end(EXIT_MODEL_UNUSABLE)
        await host.passes(0.5)
        [card] = await host.cards()
    assert card.runner.state == models.RUNNER_STATE_FAILED
    assert card.runner.reason


async def test_runners_drain_when_the_agent_stops() -> None:
    host = Host()
    async with agent_of(host, "a", "b"):
        await host.starts(2)
    assert [process.signals for process in host.started] == [["terminate"], ["terminate"]]
    assert host.deaths == []


async def test_a_runner_that_does_not_end_in_time_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{__name__}.SETTINGS", AgentSettings(grace_s=0.01))
    host = Host()
    async with agent_of(host, "a"):
        (await host.starts(1)).deaf = True
    assert host.started[0].signals == ["terminate", "kill"]
    assert host.deaths == [(-9, True)]


async def test_health_says_serving_once_every_model_is_ready_or_known_to_be_unusable() -> None:
    host = Host()
    async with runner_says(models.RUNNER_STATE_READY) as address, agent_of(host, "bad", "good") as agent:
        await host.starts(2)
        bad, good = sorted(host.started, key=lambda process: process.model)
        health = await healths(agent)
        assert await anext(health) == HealthCheckResponse.NOT_SERVING
        bad.end(EXIT_MODEL_UNUSABLE)
        runner = models.Runner(id=good.runner_id, address=address, state=models.RUNNER_STATE_LOADING)
        await host.announce(WatchStatusResponse(runner=runner))
        await host.passes(0.5)
        assert await anext(health) == HealthCheckResponse.SERVING
        await health.aclose()


async def test_an_agent_without_models_serves() -> None:
    host = Host()
    async with agent_of(host) as agent:
        health = await healths(agent)
        states = [await anext(health)]
        if states[-1] != HealthCheckResponse.SERVING:
            states.append(await anext(health))
        assert states[-1] == HealthCheckResponse.SERVING
        await health.aclose()


@pytest.mark.parametrize(
    ("code", "text"), [(0, "exit code 0"), (1, "exit code 1"), (-15, "signal SIGTERM"), (-250, "signal 250")]
)
def test_an_exit_is_described_in_words(code: int, text: str) -> None:
    assert describe_exit(code) == text


@asynccontextmanager
async def runner_says(state: models.RunnerState.ValueType) -> AsyncIterator[str]:
    class Says(RunnerServiceServicer):
        async def WatchStatus(
            self,
            request: WatchStatusRequest,
            context: "grpc.aio.ServicerContext[WatchStatusRequest, WatchStatusResponse]",
        ) -> AsyncIterator[WatchStatusResponse]:
            yield WatchStatusResponse(runner=models.Runner(state=state))

    def register(server: grpc.aio.Server) -> None:
        add_RunnerServiceServicer_to_server(Says(), server)  # type: ignore[abstract]  # what is asked

    async with grpc_server(
        "127.0.0.1:0", [Service("forebay.runner.v1.RunnerService", register)], grace_s=0
    ) as server:
        yield server.address


async def healths(agent: Agent) -> AsyncGenerator[int, None]:
    """Follow the health of an agent that is about to listen."""
    async with asyncio.timeout(LONGEST_WAIT_S):
        await agent.listening.wait()

    async def follow() -> AsyncGenerator[int, None]:
        async with grpc.aio.insecure_channel(agent.address) as channel:
            async for response in HealthStub(channel).Watch(HealthCheckRequest(), timeout=LONGEST_WAIT_S):
                yield response.status

    return follow()
