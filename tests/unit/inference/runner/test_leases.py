"""Who keeps the leases."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from inference.runner.held import Held
from inference.runner.leases import LeaseKeeper
from scheduler.adapters.clock import FakeClock
from scheduler.errors import RecordsUnavailable
from scheduler.ports.records import Hold, LeaseReply, PublishTicket, Republication, Wanted

from .fakes import held


class Store:
    """Renews what is not lost; keeps every batch."""

    def __init__(self) -> None:
        self.renewed: list[tuple[list[str], int]] = []
        self.lost: set[str] = set()
        self.away = False
        self.asked = asyncio.Event()

    async def renew(self, holds: Sequence[Hold], lease_ms: int) -> list[bool]:
        if self.away:
            raise RecordsUnavailable("away")
        self.renewed.append(([hold.id for hold in holds], lease_ms))
        self.asked.set()
        return [hold.id not in self.lost for hold in holds]

    async def lease(self, wanted: Sequence[Wanted], runner: str, lease_ms: int) -> list[LeaseReply]:
        raise NotImplementedError

    async def give_back(self, holds: Sequence[Hold]) -> tuple[list[Republication], list[PublishTicket]]:
        raise NotImplementedError


class Bench:
    """A keeper with its store and clock, and the tasks that it keeps."""

    def __init__(self) -> None:
        self.tasks: list[Held] = []
        self.lost: list[str] = []
        self.store = Store()
        self.clock = FakeClock()
        self.keeper = LeaseKeeper(self.store, self.clock, self)

    def held(self) -> Sequence[Held]:
        return self.tasks

    def fenced(self, tasks: Sequence[Held]) -> None:
        self.lost += [task.id for task in tasks]

    async def passes(self, seconds: float) -> None:
        await self.clock.until_asleep()
        self.clock.advance(seconds)
        await asyncio.sleep(0)
        await self.clock.until_asleep()


@asynccontextmanager
async def bench(lease_ms: int) -> AsyncIterator[Bench]:
    made = Bench()
    made.keeper.lease_lasts(lease_ms)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(made.keeper.run())
        yield made
        running.cancel()


async def test_everything_held_is_renewed_in_one_batch_at_a_third_of_the_lease() -> None:
    async with bench(3000) as b:
        b.tasks = [held("a"), held("b")]
        await b.passes(0.9)
        assert b.store.renewed == []
        await b.passes(0.1)
        await b.passes(1.0)
    assert b.store.renewed == [(["a", "b"], 3000)] * 2


async def test_a_refused_renewal_gives_the_task_up() -> None:
    async with bench(3000) as b:
        b.tasks = [held("a"), held("b")]
        b.store.lost = {"b"}
        await b.passes(1.0)
    assert b.lost == ["b"]


async def test_a_task_whose_ending_is_being_written_needs_no_lease() -> None:
    async with bench(3000) as b:
        task = held("a")
        task.ending = True
        b.tasks = [task]
        await b.passes(1.0)
    assert b.store.renewed == []


async def test_a_store_that_is_away_is_asked_again_soon_and_nothing_is_given_up() -> None:
    async with bench(30_000) as b:
        b.tasks = [held("a")]
        b.store.away = True
        await b.passes(10.0)
        b.store.away = False
        await b.passes(0.5)
    assert b.store.renewed == [(["a"], 30_000)]
    assert b.lost == []


async def test_leases_that_turn_out_shorter_than_the_pause_going_on_are_renewed_in_time() -> None:
    async with bench(30_000) as b:
        await b.clock.until_asleep()
        b.tasks = [held("a")]
        b.keeper.lease_lasts(1500)
        await b.store.asked.wait()
        # Not the sleeper that the change has woken.
        await asyncio.sleep(0)
        await b.passes(0.5)
    assert b.store.renewed == [(["a"], 1500)] * 2
