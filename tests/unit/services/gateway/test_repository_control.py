"""Loading and unloading as a door sees it: made-up agents that answer in the directory."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from forebay.models.v1 import model_service_pb2 as models
from forebay.models.v1.repository_view_pb2 import HeldModel, RepositoryView
from forebay.runner.v1.runner_service_pb2 import WatchStatusResponse
from scheduler.adapters.clock import FakeClock
from scheduler.adapters.memory import MemoryStore
from scheduler.errors import DeadlinePassed, InvalidInput, ModelNotFound, ModelNotReady, ModelUnusable
from scheduler.ports.membership import REPOSITORY_ROLE, RUNNER_ROLE
from services.gateway.model_service import models_of
from services.gateway.repository_control import LOOK_S, WITHIN_S, RepositoryControl

READY = models.RUNNER_STATE_READY
FAILED = models.RUNNER_STATE_FAILED
DRAINING = models.RUNNER_STATE_DRAINING
UNSPECIFIED = models.RUNNER_STATE_UNSPECIFIED
TTL_MS = 3_600_000


class Fleet:
    """A store with agents and runners in its directory."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.store = MemoryStore(self.clock)
        self.looked: list[int] = []
        self.control = RepositoryControl(
            self.store.membership, self.store.wanted_models, self.clock, self.notice
        )

    async def notice(self) -> None:
        self.looked.append(self.clock.now_ms())

    async def agent(self, name: str, *held: HeldModel, heard: int = 0) -> None:
        card = RepositoryView(agent=name, heard=heard, models=held).SerializeToString()
        await self.store.membership.announce(REPOSITORY_ROLE, name, card, TTL_MS)

    async def runner(
        self, name: str, state: models.RunnerState.ValueType = READY, model: str = "m", version: int = 1
    ) -> None:
        runner = models.Runner(id=name, model=model, version=version, state=state)
        card = WatchStatusResponse(runner=runner).SerializeToString()
        await self.store.membership.announce(RUNNER_ROLE, name, card, TTL_MS)

    async def wish(self) -> int:
        """Return the number of what is wanted."""
        [word] = await self.store.wanted_models.wanted()
        return word.number

    async def look(self) -> None:
        """Let a call that waits look again."""
        await self.clock.until_asleep()
        self.clock.advance(LOOK_S)

    @asynccontextmanager
    async def during(
        self, call: Coroutine[Any, Any, None]
    ) -> AsyncIterator["asyncio.Task[Exception | None]"]:
        """Make a call beside the block, which begins once the call waits; the task returns what the call raised."""

        async def caught() -> Exception | None:
            try:
                await call
            except Exception as error:
                return error
            return None

        async with asyncio.timeout(10), asyncio.TaskGroup() as group:
            task = group.create_task(caught())
            await self.clock.until_asleep()
            yield task
            self.clock.advance(LOOK_S)
            await task


def entry(
    version: int = 1,
    state: models.RunnerState.ValueType = READY,
    reason: str = "",
    name: str = "m",
) -> models.RepositoryEntry:
    return models.RepositoryEntry(name=name, version=version, state=state, reason=reason)


def held(
    *entries: models.RepositoryEntry,
    number: int = 0,
    settled: bool = True,
    fault: str = "",
    runners: Sequence[str] = (),
    leaving: Sequence[str] = (),
) -> HeldModel:
    return HeldModel(
        name="m",
        entries=entries or [entry()],
        number=number,
        settled=settled,
        fault=fault,
        runners=runners,
        leaving=leaving,
    )


def told(entries: Sequence[models.RepositoryEntry]) -> list[tuple[str, int, int, str]]:
    return [(one.name, one.version, one.state, one.reason) for one in entries]


async def test_the_index_joins_agents_and_runners_without_one() -> None:
    fleet = Fleet()
    await fleet.agent("a", held(entry(1), entry(2, UNSPECIFIED, "not loaded")))
    await fleet.agent("b", held(entry(1, FAILED, "no weights"), entry(2, READY)))
    await fleet.runner("r", model="alone", version=0)
    await fleet.runner("s", model="m", version=9)
    assert told(await fleet.control.index()) == [
        ("alone", 0, READY, ""),
        ("m", 1, READY, ""),
        ("m", 2, READY, ""),
    ]
    await fleet.agent("b", held(entry(1), entry(2, FAILED, "no weights")))
    assert told(await fleet.control.index())[2] == ("m", 2, FAILED, "no weights")
    assert told(await fleet.control.index(ready=True)) == [("alone", 0, READY, ""), ("m", 1, READY, "")]
    # Whatever is told to be ready this gateway has seen too.
    assert len(fleet.looked) == 3


async def test_loading_is_over_once_every_agent_that_has_the_model_is_and_the_old_runners_take_no_more() -> (
    None
):
    fleet = Fleet()
    for agent in ("a", "b", "other"):
        await fleet.agent(agent)
    await fleet.runner("old")
    async with fleet.during(fleet.control.load("m")) as loading:
        number = await fleet.wish()
        await fleet.agent("other", heard=number)
        await fleet.agent("a", held(number=number, settled=False), heard=number)
        await fleet.agent("b", held(number=number, runners=["new-b"]), heard=number)
        await fleet.runner("new-b")
        await fleet.look()
        await fleet.agent("a", held(number=number, runners=["new-a"], leaving=["old"]), heard=number)
        await fleet.runner("new-a", models.RUNNER_STATE_WARMING)
        await fleet.look()
        await fleet.runner("new-a")
        await fleet.look()
        await fleet.clock.until_asleep()
        assert not loading.done()
        assert fleet.looked == []
        await fleet.runner("old", DRAINING)
    assert loading.result() is None
    assert len(fleet.looked) == 1


async def test_a_load_that_failed_anywhere_is_told_with_the_reason() -> None:
    fleet = Fleet()
    await fleet.agent("a")
    async with fleet.during(fleet.control.load("m")) as loading:
        number = await fleet.wish()
        await fleet.agent("a", held(number=number, fault="config.pbtxt:3:1: no such type"), heard=number)
    error = loading.result()
    assert isinstance(error, ModelUnusable) and "no such type" in str(error)


async def test_a_model_that_nobody_has_is_not_found_and_the_wish_is_forgotten() -> None:
    fleet = Fleet()
    await fleet.agent("a", held())
    async with fleet.during(fleet.control.load("nobody")) as loading:
        await fleet.agent("a", held(), heard=await fleet.wish())
    error = loading.result()
    assert isinstance(error, ModelNotFound) and str(error) == "no model repository has a model nobody"
    assert await fleet.store.wanted_models.wanted() == []


async def test_without_any_agent_nothing_is_found() -> None:
    with pytest.raises(ModelNotFound):
        await Fleet().control.unload("m")


async def test_when_the_agents_that_had_the_model_go_the_call_can_be_tried_again() -> None:
    fleet = Fleet()
    await fleet.agent("a")
    async with fleet.during(fleet.control.load("m")) as loading:
        number = await fleet.wish()
        await fleet.agent("a", held(number=number, settled=False), heard=number)
        await fleet.look()
        await fleet.clock.until_asleep()
        await fleet.store.membership.withdraw(REPOSITORY_ROLE, "a")
    assert isinstance(loading.result(), ModelNotReady)


async def test_unloading_waits_until_the_runners_have_gone() -> None:
    fleet = Fleet()
    await fleet.agent("a")
    await fleet.runner("old")
    async with fleet.during(fleet.control.unload("m")) as unloading:
        number = await fleet.wish()
        await fleet.agent("a", held(number=number, settled=False, leaving=["old"]), heard=number)
        await fleet.look()
        await fleet.clock.until_asleep()
        assert not unloading.done()
        await fleet.store.membership.withdraw(RUNNER_ROLE, "old")
        await fleet.agent("a", held(entry(state=UNSPECIFIED), number=number), heard=number)
    assert unloading.result() is None
    [word] = await fleet.store.wanted_models.wanted()
    assert (word.model, word.loaded) == ("m", False)


@pytest.mark.parametrize("loaded", [True, False])
async def test_what_an_agent_never_gets_done_is_not_waited_for_without_end(loaded: bool) -> None:
    fleet = Fleet()
    await fleet.agent("a")
    call = fleet.control.load("m") if loaded else fleet.control.unload("m")
    async with fleet.during(call) as waiting:
        number = await fleet.wish()
        await fleet.agent("a", held(number=number, settled=False), heard=number)
        await fleet.look()
        await fleet.clock.until_asleep()
        assert not waiting.done()
        fleet.clock.advance(WITHIN_S)
    error = waiting.result()
    assert isinstance(error, DeadlinePassed) and "600 s" in str(error)
    [word] = await fleet.store.wanted_models.wanted()
    assert word.loaded is loaded


async def test_runners_that_never_go_are_not_waited_for_without_end() -> None:
    fleet = Fleet()
    await fleet.agent("a")
    await fleet.runner("old")
    async with fleet.during(fleet.control.unload("m")) as waiting:
        number = await fleet.wish()
        await fleet.agent("a", held(entry(state=UNSPECIFIED), number=number, leaving=["old"]), heard=number)
        await fleet.look()
        await fleet.clock.until_asleep()
        fleet.clock.advance(WITHIN_S)
    assert isinstance(waiting.result(), DeadlinePassed)


async def test_a_card_that_cannot_be_read_hides_no_other() -> None:
    fleet = Fleet()
    await fleet.agent("a", held(entry(1)))
    await fleet.runner("r", model="alone", version=0)
    for role in (REPOSITORY_ROLE, RUNNER_ROLE):
        await fleet.store.membership.announce(role, "broken", b"\xff\xff", TTL_MS)
    assert told(await fleet.control.index()) == [("alone", 0, READY, ""), ("m", 1, READY, "")]


@pytest.mark.parametrize("name", ["", "a b", "m@x", "a/b", "x" * 200])
async def test_what_cannot_be_a_name_is_refused_before_anything_is_wanted(name: str) -> None:
    fleet = Fleet()
    with pytest.raises(InvalidInput):
        await fleet.control.load(name)
    assert await fleet.store.wanted_models.wanted() == []


def test_models_are_listed_by_version_as_their_newest_ready_runner_read_them() -> None:
    def status(version: int, generation: int, digest: str) -> WatchStatusResponse:
        runner = models.Runner(
            id=f"{version}-{generation}", model="m", version=version, generation=generation, state=READY
        )
        return WatchStatusResponse(runner=runner, model=models.Model(name="m", digest=digest))

    found = models_of([status(2, 1, "old"), status(2, 2, "new"), status(1, 1, "first")])
    assert [(one.version, one.digest, one.ready_runners) for one in found] == [(1, "first", 1), (2, "new", 2)]
