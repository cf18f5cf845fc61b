"""How a gateway starts with a log that is there, away, slow or wrong."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from scheduler.adapters.clock import FakeClock
from scheduler.errors import LogUnavailable, StartupRefused
from services.gateway import log_opening as module
from services.gateway.log_opening import log_opening
from services.log_waiting import RETRY_S


class Log:
    """What is asked of a log at the start, answered as a test says."""

    def __init__(self, *answers: Exception | None) -> None:
        """`answers` are those of the tries to make topics, in order; None is success, and so are all later ones."""
        self.asked: list[str] = []
        self.opened = asyncio.Event()
        self._answers = list(answers)

    async def make_topics(self) -> None:
        self.asked.append("topics")
        if self._answers and (error := self._answers.pop(0)) is not None:
            raise error

    async def open_lanes(self) -> None:
        self.asked.append("lanes")
        self.opened.set()


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "START_S", 0.0)


async def silence() -> None:
    """Never answer."""
    await asyncio.get_running_loop().create_future()


async def test_a_log_that_is_there_is_ready_before_the_first_call() -> None:
    log = Log()
    async with log_opening(log.make_topics, log.open_lanes, FakeClock()):
        assert log.asked == ["topics", "lanes"]


async def test_a_log_that_is_away_keeps_nobody_from_starting_and_is_ready_when_it_is_back(
    hasty: None, caplog: pytest.LogCaptureFixture
) -> None:
    clock, log = FakeClock(), Log(LogUnavailable("away"), LogUnavailable("still away"))
    async with log_opening(log.make_topics, log.open_lanes, clock):
        for _ in range(2):
            await clock.until_asleep()
            assert not log.opened.is_set()
            clock.advance(RETRY_S)
        await log.opened.wait()
    assert log.asked == ["topics", "topics", "topics", "lanes"]
    assert [record.getMessage() for record in caplog.records] == ["the log is away, waiting for it"]


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("slow", ["topics", "lanes"])
async def test_a_log_that_does_not_answer_keeps_nobody_from_starting_or_from_ending(slow: str) -> None:
    log = Log()
    steps: list[Callable[[], Awaitable[None]]] = [log.make_topics, log.open_lanes]
    steps[("topics", "lanes").index(slow)] = silence
    async with log_opening(steps[0], steps[1], FakeClock()):
        pass
    assert slow not in log.asked


async def test_lanes_that_do_not_open_are_left_to_those_who_need_them() -> None:
    async def away() -> None:
        raise LogUnavailable("away")

    log = Log()
    async with log_opening(log.make_topics, away, FakeClock()):
        assert log.asked == ["topics"]


@pytest.mark.usefixtures("hasty")
async def test_a_log_that_refuses_ends_the_gateway_also_when_it_serves_already() -> None:
    clock, log = FakeClock(), Log(LogUnavailable("away"), StartupRefused("set lanes to 9"))
    with pytest.RaisesGroup(pytest.RaisesExc(StartupRefused, match="set lanes to 9")):
        async with log_opening(log.make_topics, log.open_lanes, clock):
            await clock.until_asleep()
            clock.advance(RETRY_S)
            await silence()
