"""Shelving: lanes move past tasks that cannot start, and shelves are emptied as far as there is credit."""

import asyncio

import pytest

from forebay.tasks.v1.envelope_pb2 import Bundle, Envelope
from forebay.tasks.v1.task_pb2 import TaskSpec
from scheduler.adapters.clock import FakeClock
from scheduler.adapters.memory import MemoryStore
from scheduler.adapters.memory.log import MemoryLog
from scheduler.bundles import bundle_properties
from scheduler.errors import RecordsUnavailable
from scheduler.ids import new_ids
from scheduler.lanes import Lane, queue_lanes
from scheduler.policies.policy import DEFAULT_POLICY
from scheduler.ports.pauses import Pause
from scheduler.ports.records import Lease, NewTask, Wanted
from scheduler.service.entry import PoolWindow
from scheduler.service.intake import Intake
from scheduler.service.pauses import Pauses
from scheduler.service.rates import Rates
from scheduler.service.republisher import Republisher
from scheduler.service.resting import Resting
from scheduler.service.runners import Roster, RunnerStream
from scheduler.service.settlement import Settlement
from scheduler.service.shelves import Shelf
from scheduler.service.shelving import AHEAD, GRACE_S, INTERVAL_S, MOST_SHELVES, PATIENCE_S, Shelving
from scheduler.service.unreadable import Graveyard, Losses
from scheduler.states import Level, TaskState

from .costs import learning_of

PER_LANE = 4
LANE = Lane("default", Level.NORMAL, 0)


class Depot:
    """One lane, its window, and the shelving of one scheduler, without a dispatcher: the test takes tasks itself."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.store = MemoryStore(self.clock)
        self.log = MemoryLog()
        self.publisher = self.log.publisher()
        wake = asyncio.Event()
        lanes = [lane for level in Level for lane in queue_lanes("default", level, 1)]
        self.consumer = self.log.consumer(lanes)
        self.window = PoolWindow(PER_LANE, DEFAULT_POLICY)
        windows = {"default": self.window}
        self.settlement = Settlement(self.consumer)
        self.roster = Roster()
        self.pauses = Pauses(self.store.pauses, windows, wake, self.clock)
        losses = Losses(self.settlement)
        graveyard = Graveyard(self.publisher, self.store.dead_letters, self.settlement, losses, self.clock)
        rates = Rates(self.clock)
        self.intake = Intake(
            self.consumer,
            graveyard,
            self.settlement,
            self.window,
            wake,
            self.clock,
            learning_of(self.clock, rates),
            rates,
            8,
        )
        self.resting = Resting(1.0, self.clock, self.window.add)
        self.shelving = Shelving(
            self.store.shelves,
            windows,
            {"default": self.intake},
            self.roster,
            self.pauses,
            self.settlement,
            self.resting,
            Republisher(self.publisher, self.store.records, self.store.records, 1),
            self.clock,
        )

    def runner(self, model: str, credits: int) -> RunnerStream:
        stream = RunnerStream(f"runner-of-{model}", model, "default", credits)
        self.roster.add(stream)
        return stream

    async def submit(self, model: str, count: int, level: Level = Level.NORMAL, **labels: str) -> list[str]:
        """Record tasks and put each on the lane in a bundle of its own."""
        ids = new_ids(7, count, self.clock.now_ms())
        spec = TaskSpec(model=model, labels=labels).SerializeToString()
        for task_id in ids:
            envelope = Envelope(
                id=task_id,
                tenant="t",
                spec=spec,
                model=model,
                pool="default",
                priority=int(level),  # type: ignore[arg-type]  # levels have the numbers of priorities
            )
            new = NewTask(task_id, "t", "default", level, envelope.SerializeToString(), 3)
            _, tickets = await self.store.records.create([new])
            bundle = Bundle()
            bundle.publications.add(envelope=envelope, publication=1)
            payload, lane = bundle.SerializeToString(), Lane("default", level, 0)
            await self.publisher.publish(lane, payload, bundle_properties(lane, payload))
            await self.store.records.mark_published(tickets)
        return ids

    async def drained(self, level: Level = Level.NORMAL) -> None:
        """Let the lane fill its share of the window as far as it goes."""
        async with asyncio.TaskGroup() as group:
            lane = group.create_task(self.intake.drain(Lane("default", level, 0)))
            for _ in range(50):
                await asyncio.sleep(0)
            lane.cancel()

    async def rounds(self, seconds: float) -> None:
        """Shelve and read the lane by turns while time passes, as the loops would."""
        for _ in range(round(seconds / INTERVAL_S)):
            await self.shelving.shelve()
            await self.drained()
            self.clock.advance(INTERVAL_S)

    async def open(self) -> bool:
        self.shelving._shelves = await self.store.shelves.shelves()
        return await self.shelving.unshelve()

    async def shelved(self) -> dict[str, int]:
        return await self.store.shelves.shelves()

    def take(self, **credits: int) -> list[str]:
        return [task.id for task in self.window.take(credits, 99)]


@pytest.fixture
def depot() -> Depot:
    return Depot()


async def test_a_model_that_nobody_serves_does_not_stand_in_the_way_of_one_that_waits_for_work(
    depot: Depot,
) -> None:
    depot.runner("served", 5)
    gone = await depot.submit("gone", 3 * PER_LANE)
    served = await depot.submit("served", 2)
    await depot.rounds(GRACE_S)
    assert await depot.shelved() == {}
    await depot.rounds(2)
    assert depot.take(served=5) == served
    shelved = sum((await depot.shelved()).values())
    assert shelved >= len(gone) - PER_LANE
    await depot.settlement.flush()
    assert depot.log.unacknowledged(LANE) == len(gone) - shelved + len(served)
    assert {record.state for record in await depot.store.records.get(gone, False) if record} == {
        TaskState.QUEUED
    }


async def test_a_paused_model_is_passed_and_a_paused_label_too(depot: Depot) -> None:
    depot.runner("served", 5)
    depot.runner("paused", 5)
    await depot.store.pauses.pause(Pause(model="paused"), "")
    await depot.store.pauses.pause(Pause(label_key="team", label_value="a/b=c"), "")
    await depot.pauses.refresh()
    await depot.submit("paused", PER_LANE)
    await depot.submit("served", PER_LANE, team="a/b=c")
    free = await depot.submit("served", 1)
    await depot.rounds(GRACE_S + 2)
    assert depot.take(served=5, paused=5) == free
    assert await depot.shelved() == {
        "model/default/normal/paused": PER_LANE,
        "label/default/normal/served/team=a%2Fb%3Dc": PER_LANE,
    }


@pytest.mark.parametrize("pause", [Pause(pool="default"), Pause(level=Level.NORMAL)])
async def test_what_a_pause_of_pool_or_level_holds_stays_on_its_lane(depot: Depot, pause: Pause) -> None:
    depot.runner("served", 5)
    await depot.store.pauses.pause(pause, "")
    await depot.pauses.refresh()
    await depot.submit("served", 2 * PER_LANE)
    await depot.submit("gone", PER_LANE)
    await depot.rounds(PATIENCE_S + 5)
    assert await depot.shelved() == {}
    assert depot.log.unacknowledged(LANE) == 3 * PER_LANE
    assert not depot.window.has_room(LANE)


async def test_nothing_is_shelved_while_that_would_help_nobody(depot: Depot) -> None:
    await depot.submit("gone", 2 * PER_LANE)
    await depot.rounds(PATIENCE_S + 5)
    assert await depot.shelved() == {}


async def test_nothing_is_shelved_while_the_lane_has_room(depot: Depot) -> None:
    depot.runner("served", 5)
    await depot.submit("gone", PER_LANE - 1)
    await depot.rounds(PATIENCE_S + 5)
    assert await depot.shelved() == {}


async def test_busy_runners_of_others_are_given_more_time(depot: Depot) -> None:
    depot.runner("served", 0)
    await depot.submit("gone", PER_LANE)
    await depot.rounds(PATIENCE_S)
    assert await depot.shelved() == {}
    await depot.rounds(2)
    assert await depot.shelved() == {"model/default/normal/gone": PER_LANE}


async def test_a_runner_that_restarts_in_time_finds_its_tasks_in_the_window(depot: Depot) -> None:
    depot.runner("served", 5)
    stream = depot.runner("slow", 5)
    ids = await depot.submit("slow", PER_LANE)
    await depot.rounds(PATIENCE_S)
    for _ in range(3):
        depot.roster.remove(stream)
        await depot.rounds(GRACE_S - INTERVAL_S)
        depot.roster.add(stream)
        await depot.rounds(INTERVAL_S)
    assert await depot.shelved() == {}
    assert depot.take(slow=9) == ids


async def test_a_shelf_is_emptied_as_far_as_there_is_credit(depot: Depot) -> None:
    depot.runner("served", 5)
    ids = await depot.submit("gone", 3 * PER_LANE)
    await depot.rounds(GRACE_S + 3)
    shelved = (await depot.shelved())["model/default/normal/gone"]
    assert not await depot.open()
    depot.take(gone=99)
    stream = depot.runner("gone", 2)
    assert await depot.open()
    await depot.drained()
    assert (await depot.shelved()).get("model/default/normal/gone", 0) == shelved - AHEAD * 2
    assert await depot.open()
    assert (await depot.shelved()).get("model/default/normal/gone", 0) == shelved - AHEAD * 2
    window = depot.window.take({"gone": 99}, 99)
    replies = await depot.store.records.lease([Wanted(t.id, t.publication) for t in window], "r", 1000)
    assert {reply.verdict for reply in replies} == {Lease.GRANTED}
    assert {t.publication for t in window} == {2}
    stream.credits = 99
    await depot.open()
    assert await depot.shelved() == {}
    assert len(ids) == 3 * PER_LANE


async def test_a_shelf_stays_closed_while_a_pause_holds_and_opens_after_it(depot: Depot) -> None:
    depot.runner("served", 5)
    depot.runner("m", 5)
    pauses = [Pause(label_key="team", label_value="a"), Pause(model="m")]
    for pause in pauses:
        await depot.store.pauses.pause(pause, "")
    await depot.pauses.refresh()
    ids = await depot.submit("m", PER_LANE, team="a")
    await depot.rounds(GRACE_S + 1)
    assert sum((await depot.shelved()).values()) == PER_LANE
    assert not await depot.open()
    for pause in pauses:
        await depot.store.pauses.resume(pause)
    await depot.pauses.refresh()
    assert await depot.open()
    await depot.drained()
    assert depot.take(m=9) == ids


async def test_levels_on_shelves_share_what_credit_there_is(depot: Depot) -> None:
    for level in (Level.HIGH, Level.LOW):
        ids = await depot.submit("m", 10, level)
        await depot.store.shelves.shelve(Shelf("default", level, "m").name, [(i, 1) for i in ids])
    depot.runner("m", 4)
    await depot.open()
    assert await depot.shelved() == {"model/default/high/m": 6, "model/default/low/m": 6}


async def test_two_schedulers_that_open_one_shelf_publish_each_task_once(depot: Depot) -> None:
    ids = await depot.submit("m", 3)
    await depot.store.shelves.shelve(Shelf("default", Level.NORMAL, "m").name, [(i, 1) for i in ids])
    depot.runner("m", 9)
    before = depot.log.unacknowledged(LANE)
    depot.shelving._shelves = await depot.shelved()
    await asyncio.gather(depot.shelving.unshelve(), depot.shelving.unshelve())
    assert depot.log.unacknowledged(LANE) - before == 1
    assert [r.publication for r in await depot.store.records.get(ids, False) if r] == [2, 2, 2]


async def test_a_task_that_runs_rests_and_a_stale_message_is_settled(depot: Depot) -> None:
    depot.runner("served", 5)
    ids = await depot.submit("gone", PER_LANE)
    await depot.store.records.lease([Wanted(ids[0], 1)], "r", 60_000)
    await depot.store.records.cancel([ids[1]], "t", b"", b"")
    await depot.rounds(GRACE_S + 1)
    assert (await depot.shelved())["model/default/normal/gone"] == PER_LANE - 2
    await depot.settlement.flush()
    assert depot.log.unacknowledged(LANE) == 1
    assert [task.id for _, task in depot.resting._tasks] == [ids[0]]


async def test_tasks_that_could_not_be_shelved_wait_as_before(
    depot: Depot, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(shelf: str, tasks: object) -> list[bool]:
        raise RecordsUnavailable("away")

    depot.runner("served", 5)
    ids = await depot.submit("gone", PER_LANE)
    monkeypatch.setattr(depot.store.shelves, "shelve", away)
    await depot.rounds(GRACE_S + INTERVAL_S)
    with pytest.raises(RecordsUnavailable):
        await depot.shelving.shelve()
    assert not depot.window.has_room(LANE)
    assert sorted(depot.take(gone=9)) == sorted(ids)


async def test_a_flood_of_made_up_models_begins_no_shelves_without_end(depot: Depot) -> None:
    depot.runner("served", 5)
    await depot.submit("gone", PER_LANE)
    depot.shelving._shelves = {f"model/default/normal/{n}": 1 for n in range(MOST_SHELVES)}
    await depot.rounds(GRACE_S + 1)
    assert await depot.shelved() == {}


async def test_the_loop_survives_records_that_are_away_and_shelves_of_unknown_form(
    depot: Depot, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = await depot.submit("m", 2)
    await depot.store.shelves.shelve("something/else", [(ids[0], 1)])
    await depot.store.shelves.shelve(Shelf("default", Level.NORMAL, "m").name, [(ids[1], 1)])
    depot.runner("m", 1)
    shelves = depot.store.shelves.shelves
    calls = 0

    async def away_once() -> dict[str, int]:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise RecordsUnavailable("away")
        return await shelves()

    monkeypatch.setattr(depot.store.shelves, "shelves", away_once)
    async with asyncio.TaskGroup() as group:
        loop = group.create_task(depot.shelving.run())
        for _ in range(3):
            await depot.clock.until_asleep()
            depot.clock.advance(INTERVAL_S)
        await depot.clock.until_asleep()
        loop.cancel()
    assert await shelves() == {"something/else": 1}


@pytest.mark.parametrize(
    "shelf",
    [
        Shelf("default", Level.CRITICAL, "m"),
        Shelf("gpu", Level.LOW, "a.b_c-D", "team", ""),
        Shelf("gpu", Level.LOW, "m", "a=b/c", "d=e/ü %"),
    ],
)
def test_the_name_of_a_shelf_says_what_is_on_it(shelf: Shelf) -> None:
    assert Shelf.parse(shelf.name) == shelf


@pytest.mark.parametrize(
    "name", ["", "model/default/m", "model/default/urgent/m", "label/p/low/m/x", "x/p/low/m"]
)
def test_other_names_are_left_to_whoever_made_them(name: str) -> None:
    assert Shelf.parse(name) is None
