"""Looking who is there, by several who want to know at the same time."""

import asyncio
from typing import Any, cast

import pytest

from forebay.models.v1 import model_service_pb2 as models
from forebay.runner.v1.runner_service_pb2 import WatchStatusResponse
from scheduler.adapters.clock import FakeClock
from scheduler.errors import ModelNotFound
from services.gateway.direct.fleet import Fleet


class SlowDirectory:
    """Answers each look when the test says so, with what the test says."""

    def __init__(self) -> None:
        self.asked: list[asyncio.Future[list[tuple[str, bytes]]]] = []
        self.asking = asyncio.Event()
        """Set by the next look."""

    async def members(self, role: str) -> list[tuple[str, bytes]]:
        answer: asyncio.Future[list[tuple[str, bytes]]] = asyncio.get_running_loop().create_future()
        self.asked.append(answer)
        self.asking.set()
        return await answer


def card(version: int) -> tuple[str, bytes]:
    runner = models.Runner(
        id=f"r{version}", model="m", version=version, state=models.RUNNER_STATE_READY, address="h:1"
    )
    return runner.id, WatchStatusResponse(runner=runner).SerializeToString()


async def looking(fleet: Fleet, directory: SlowDirectory) -> "asyncio.Task[None]":
    """Begin a look, and return once it has asked."""
    directory.asking.clear()
    look = asyncio.ensure_future(fleet.look())
    await directory.asking.wait()
    return look


def fleet_of(directory: SlowDirectory) -> Fleet:
    nobody: Any = None
    return Fleet(cast(Any, directory), FakeClock(), nobody, nobody, nobody)


async def test_a_look_that_takes_long_does_not_bring_back_what_a_later_one_saw_go() -> None:
    directory = SlowDirectory()
    fleet = fleet_of(directory)
    slow = await looking(fleet, directory)
    quick = await looking(fleet, directory)
    directory.asked[1].set_result([card(2)])
    await quick
    directory.asked[0].set_result([card(1)])
    await slow
    assert fleet.model("m").version == 2
    with pytest.raises(ModelNotFound):
        fleet.model("m", 1)


async def test_a_look_that_failed_leaves_room_for_an_earlier_one() -> None:
    directory = SlowDirectory()
    fleet = fleet_of(directory)
    slow = await looking(fleet, directory)
    failing = await looking(fleet, directory)
    directory.asked[1].set_exception(OSError("away"))
    with pytest.raises(OSError):
        await failing
    directory.asked[0].set_result([card(1)])
    await slow
    assert fleet.model("m").version == 1
