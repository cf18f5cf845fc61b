"""Made-up keepers of runners: a test says how far each is."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from forebay.models.v1 import model_service_pb2 as models
from inference.agent.posts import Post
from inference.agent.supervisor import Report
from inference.repository.definition import Instances
from inference.repository.listing import ListedModel

READY = models.RUNNER_STATE_READY
FAILED = models.RUNNER_STATE_FAILED
LOADING = models.RUNNER_STATE_LOADING
UNSPECIFIED = models.RUNNER_STATE_UNSPECIFIED
LONGEST_WAIT_S = 10.0


@dataclass(eq=False)
class FakeKeeper:
    """Keeps nothing up; `let_end` holds its end back until a test allows it."""

    post: Post
    report: Callable[[Report], None]
    number: int
    news: asyncio.Event
    ends: asyncio.Event
    running: bool = False
    asked_to_end: bool = False

    async def run(self) -> None:
        self.running = True
        self.news.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.asked_to_end = True
            self.news.set()
            await self.ends.wait()
            self.running = False
            self.news.set()

    def says(self, state: models.RunnerState.ValueType, reason: str = "", deaths: int = 0) -> None:
        self.report(Report(state, reason, f"r{self.number}", deaths))
        self.news.set()


@dataclass
class Keepers:
    """Makes them, in the order of `made`."""

    made: list[FakeKeeper] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)
    ends: asyncio.Event = field(default_factory=asyncio.Event)
    """While it is not set, none that was asked to end ends."""

    def __post_init__(self) -> None:
        self.ends.set()

    def keep(self, post: Post, report: Callable[[Report], None]) -> FakeKeeper:
        self.made.append(FakeKeeper(post, report, len(self.made) + 1, self.news, self.ends))
        return self.made[-1]

    def changed(self) -> None:
        self.news.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until what happened meets a condition."""
        async with asyncio.timeout(LONGEST_WAIT_S):
            while not condition():
                self.news.clear()
                await self.news.wait()

    async def runs(self, *numbers: int) -> list[FakeKeeper]:
        """Wait until exactly these run, by the order in which they were made from 1 on; returns them."""
        await self.until(lambda: [one.number for one in self.made if one.running] == list(numbers))
        return [self.made[number - 1] for number in numbers]


def listed(
    name: str = "m", versions: Sequence[int] = (1,), fault: str = "", instances: int = 1
) -> ListedModel:
    return ListedModel(
        name,
        Path("/models") / name,
        () if fault else tuple(versions),
        () if fault else tuple(versions),
        (Instances(instances),),
        fault,
    )
