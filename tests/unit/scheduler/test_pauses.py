"""Pauses: what they hold back, when they are known, and what happens when the record store is away."""

import asyncio
import logging

import pytest

from forebay.queues.v1.queue_service_pb2 import ListQueuesResponse
from forebay.tasks.v1.envelope_pb2 import Envelope
from forebay.tasks.v1.task_pb2 import TaskSpec
from scheduler.adapters.clock import FakeClock
from scheduler.adapters.memory import MemoryStore
from scheduler.errors import RecordsUnavailable
from scheduler.lanes import Lane
from scheduler.policies.policy import DEFAULT_POLICY
from scheduler.ports.log import Delivery
from scheduler.ports.membership import QUEUES_ROLE
from scheduler.ports.pauses import Pause, StandingPause
from scheduler.ports.records import Written
from scheduler.service.entry import OpenBundle, PoolWindow, Waiting
from scheduler.service.pauses import Pauses, labels_of
from scheduler.states import Level, TaskState
from scheduler.window import WaitingTask

from .world import World

CREDIT = {"m": 99, "other": 99}


def waiting(
    name: str, level: Level = Level.NORMAL, model: str = "m", spec: bytes | None = None, **labels: str
) -> Waiting:
    lane = Lane("default", level, 0)
    body = TaskSpec(model=model, labels=labels).SerializeToString() if spec is None else spec
    bundle = OpenBundle(Delivery(lane, b"", {}, None), 1)
    return WaitingTask(name, 1, model, lane, 0, Envelope(id=name, spec=body), bundle)


class Yard:
    """A window of pool `default` and the pauses that are kept for it."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.store = MemoryStore(self.clock).pauses
        self.window = PoolWindow(256, DEFAULT_POLICY)
        self.wake = asyncio.Event()
        self.pauses = Pauses(self.store, {"default": self.window}, self.wake, self.clock)

    async def pause(self, pause: Pause) -> None:
        await self.store.pause(pause, "")
        await self.pauses.refresh()

    async def resume(self, pause: Pause) -> None:
        await self.store.resume(pause)
        await self.pauses.refresh()

    def startable(self) -> list[str]:
        return [task.id for task in self.window.take(CREDIT, 99)]


@pytest.fixture
def yard() -> Yard:
    return Yard()


@pytest.mark.parametrize(
    ("pause", "starts"),
    [
        (Pause(pool="default"), []),
        (Pause(pool="gpu"), ["high", "low", "other", "blue"]),
        (Pause(level=Level.LOW), ["high", "other", "blue"]),
        (Pause(pool="default", level=Level.LOW), ["high", "other", "blue"]),
        (Pause(model="m"), ["other"]),
        (Pause(level=Level.LOW, model="m"), ["high", "other", "blue"]),
        (Pause(label_key="colour", label_value="blue"), ["high", "low", "other"]),
        (Pause(label_key="colour", label_value="red"), ["high", "low", "other", "blue"]),
        (Pause(label_key="colour"), ["high", "low", "other", "blue"]),
        (Pause(model="other", label_key="colour", label_value="blue"), ["high", "low", "other", "blue"]),
    ],
)
@pytest.mark.parametrize("paused_first", [True, False])
async def test_a_pause_holds_back_what_meets_all_its_conditions(
    yard: Yard, pause: Pause, starts: list[str], paused_first: bool
) -> None:
    tasks = [
        waiting("high", Level.HIGH),
        waiting("low", Level.LOW),
        waiting("other", model="other"),
        waiting("blue", colour="blue"),
    ]
    if paused_first:
        await yard.pause(pause)
    for task in tasks:
        yard.window.add(task)
    if not paused_first:
        await yard.pause(pause)
    assert sorted(yard.startable()) == sorted(starts)
    await yard.resume(pause)
    assert sorted(yard.startable()) == sorted({task.id for task in tasks} - set(starts))


async def test_a_resume_wakes_the_dispatcher_and_an_unchanged_answer_does_not(yard: Yard) -> None:
    await yard.pause(Pause(model="m"))
    yard.wake.clear()
    await yard.pauses.refresh()
    assert not yard.wake.is_set()
    await yard.resume(Pause(model="m"))
    assert yard.wake.is_set()


async def test_two_pauses_must_both_be_taken_back(yard: Yard) -> None:
    await yard.pause(Pause(model="m"))
    await yard.pause(Pause(level=Level.NORMAL))
    yard.window.add(waiting("a"))
    await yard.resume(Pause(model="m"))
    assert yard.startable() == []
    await yard.resume(Pause(level=Level.NORMAL))
    assert yard.startable() == ["a"]


async def test_labels_are_read_only_while_a_pause_by_label_could_match(yard: Yard) -> None:
    await yard.pause(Pause(model="other", label_key="colour", label_value="blue"))
    task, suspect = waiting("a", colour="blue"), waiting("b", model="other", colour="blue")
    yard.window.add(task)
    yard.window.add(suspect)
    assert task.labels is None
    assert suspect.labels == {"colour": "blue"}


def test_a_spec_that_cannot_be_read_has_no_labels() -> None:
    assert labels_of(waiting("a", spec=b"\xff\xff")) == {}


async def test_a_whole_queue_is_told_from_a_part_of_it(yard: Yard) -> None:
    await yard.pause(Pause(pool="default", level=Level.HIGH))
    await yard.pause(Pause(level=Level.LOW, model="m"))
    await yard.pause(Pause(label_key="colour", label_value="blue"))
    pauses = yard.pauses.of("default")
    assert [level for level in Level if pauses.whole_queue(level)] == [Level.HIGH]


async def test_the_age_of_a_pause_counts_from_when_it_was_first_known_here(yard: Yard) -> None:
    pause = Pause(model="m")
    await yard.pause(pause)
    yard.clock.advance(3)
    await yard.pause(Pause(model="other"))
    assert yard.pauses.age_s(pause) == 3
    assert yard.pauses.age_s(Pause(model="other")) == 0
    assert yard.pauses.age_s(Pause(model="unknown")) == 0


class Flaky:
    """A pause store that is away when it is told to be."""

    def __init__(self) -> None:
        self.away = False
        self.standing: list[StandingPause] = []

    async def pause(self, pause: Pause, reason: str) -> StandingPause:
        raise NotImplementedError

    async def resume(self, pause: Pause) -> StandingPause | None:
        raise NotImplementedError

    async def pauses(self) -> list[StandingPause]:
        if self.away:
            raise RecordsUnavailable("away")
        return self.standing


async def test_while_the_records_are_away_the_last_pauses_hold_and_it_is_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock, store, wake = FakeClock(), Flaky(), asyncio.Event()
    window = PoolWindow(256, DEFAULT_POLICY)
    pauses = Pauses(store, {"default": window}, wake, clock)
    store.standing = [StandingPause(Pause(model="m"), "", 0)]
    async with asyncio.TaskGroup() as group:
        view = group.create_task(pauses.run())
        await pauses.known.wait()
        store.away = True
        with caplog.at_level(logging.WARNING):
            for _ in range(3):
                await clock.until_asleep()
                clock.advance(0.5)
        window.add(waiting("a"))
        assert window.take(CREDIT, 9) == []
        assert len([r for r in caplog.records if "pauses not read" in r.message]) == 1
        store.away, store.standing = False, []
        wake.clear()
        await clock.until_asleep()
        clock.advance(0.5)
        await wake.wait()
        assert [task.id for task in window.take(CREDIT, 9)] == ["a"]
        view.cancel()


async def test_nothing_is_known_before_the_records_have_answered() -> None:
    clock, store = FakeClock(), Flaky()
    store.away = True
    pauses = Pauses(store, {}, asyncio.Event(), clock)
    async with asyncio.TaskGroup() as group:
        view = group.create_task(pauses.run())
        await clock.until_asleep()
        assert not pauses.known.is_set()
        store.away = False
        clock.advance(0.5)
        await pauses.known.wait()
        view.cancel()


async def test_a_paused_queue_accepts_and_keeps_while_running_work_goes_on_and_a_resume_starts_it() -> None:
    world = World()
    running = await world.submit(1)
    async with world.scheduler() as scheduler, world.attached(scheduler, credits=9) as runner:
        held = await runner.assigned(1)
        await world.store.pauses.pause(Pause(level=Level.NORMAL), "maintenance")
        await world.pass_time(0.5)
        kept = await world.submit(2)
        urgent = await world.submit(1, Level.HIGH)
        assert [i for i, _ in await runner.assigned(1)] == urgent
        assert await world.finish(held) == [Written.WRITTEN]
        await world.pass_time(2)
        assert await world.states([*running, *kept]) == [
            TaskState.SUCCEEDED,
            TaskState.QUEUED,
            TaskState.QUEUED,
        ]
        await world.store.pauses.resume(Pause(level=Level.NORMAL))
        world.clock.advance(0.5)
        assert [i for i, _ in await runner.assigned(2)] == kept


async def test_a_scheduler_that_starts_knows_the_pauses_before_it_assigns() -> None:
    world = World()
    await world.store.pauses.pause(Pause(model="m"), "")
    await world.submit(1)
    async with world.scheduler() as scheduler, world.attached(scheduler, credits=9) as runner:
        await world.pass_time(2)
        assert runner.answers.empty()
        [(_, card)] = await world.store.membership.members(QUEUES_ROLE)
        view = ListQueuesResponse.FromString(card)
        assert not any(queue.paused for queue in view.queues)
        await world.store.pauses.pause(Pause(pool="default", level=Level.LOW), "")
        await world.pass_time(1)
        [(_, card)] = await world.store.membership.members(QUEUES_ROLE)
        view = ListQueuesResponse.FromString(card)
        assert [queue.priority for queue in view.queues if queue.paused] == [int(Level.LOW)]
