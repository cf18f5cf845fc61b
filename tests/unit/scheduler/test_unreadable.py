"""Messages that cannot be read: which they are, where they are kept, and that the lane goes on behind them."""

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

import pytest
from google.rpc.status_pb2 import Status

from forebay.tasks.v1.envelope_pb2 import Bundle, Envelope
from scheduler.adapters.clock import FakeClock
from scheduler.adapters.memory import MemoryStore
from scheduler.adapters.memory.log import MemoryLog
from scheduler.bundles import (
    BUNDLE_PROPERTIES,
    CHECKSUM_PROPERTY,
    Checked,
    bundle_properties,
    check_bundle,
    is_ours,
)
from scheduler.errors import RecordsUnavailable
from scheduler.ids import create_time_ms, derived_id, is_task_id, new_ids
from scheduler.lanes import Lane
from scheduler.policies.policy import DEFAULT_POLICY
from scheduler.ports.dead_letters import UNREADABLE_TENANT, UnreadableLetter
from scheduler.ports.log import Delivery
from scheduler.ports.walk import OpenTask
from scheduler.service.entry import PoolWindow
from scheduler.service.intake import Intake
from scheduler.service.rates import Rates
from scheduler.service.settlement import Settlement
from scheduler.service.unreadable import AGAIN_S, Graveyard, Losses, letter_of
from scheduler.states import Level, TaskState

from .costs import learning_of
from .world import World, ended

LANE = Lane("default", Level.NORMAL, 0)
GOOD_ID = new_ids(7, 1, 1_700_000_000_000)[0]


def bundle(
    task_id: str = GOOD_ID, pool: str = "default", level: Level = Level.NORMAL, publication: int = 1
) -> bytes:
    envelope = Envelope(
        id=task_id,
        model="m",
        pool=pool,
        priority=int(level),  # type: ignore[arg-type]  # levels have the numbers of priorities
    )
    made = Bundle()
    made.publications.add(envelope=envelope, publication=publication)
    return made.SerializeToString()


class Door:
    """An intake of one lane, and where it puts things."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.store = MemoryStore(self.clock)
        self.log = MemoryLog()
        self.publisher = self.log.publisher()
        self.consumer = self.log.consumer([LANE])
        self.settlement = Settlement(self.consumer)
        self.window = PoolWindow(256, DEFAULT_POLICY)
        self.arrived, self.losses = asyncio.Event(), Losses(self.settlement)
        self.graveyard = Graveyard(
            self.publisher, self.store.dead_letters, self.settlement, self.losses, self.clock
        )
        rates = Rates(self.clock)
        self.intake = Intake(
            self.consumer,
            self.graveyard,
            self.settlement,
            self.window,
            self.arrived,
            self.clock,
            learning_of(self.clock, rates),
            rates,
            8,
        )

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self.intake.drain(LANE)), group.create_task(self.settlement.run())]
            try:
                yield
            finally:
                for task in tasks:
                    task.cancel()

    async def letters(self) -> list[str]:
        return await self.store.dead_letters.dead_letters(UNREADABLE_TENANT, "", 99)

    async def put(self, payload: bytes, properties: Mapping[str, str]) -> None:
        await self.publisher.publish(LANE, payload, properties)


@pytest.fixture
def door() -> Door:
    return Door()


GOOD = bundle()


@pytest.mark.parametrize(
    ("payload", "properties", "repaired"),
    [
        (b"\xff\xff\xff", {}, False),
        (b"\xff\xff\xff", BUNDLE_PROPERTIES, True),
        (b"", {}, False),
        (bundle("not-an-id"), BUNDLE_PROPERTIES, True),
        (bundle("64" + GOOD_ID[2:]), {}, False),
        (bundle(pool="gpu"), {}, False),
        (bundle(level=Level.HIGH), {}, False),
        (bundle(publication=0), {}, False),
        (GOOD + b"\x00", bundle_properties(LANE, GOOD), True),
        (GOOD.replace(b"default", b"defaulT"), bundle_properties(LANE, GOOD), True),
        (GOOD, bundle_properties(Lane("default", Level.HIGH, 0), GOOD), True),
        (GOOD, {CHECKSUM_PROPERTY: "x"}, True),
    ],
)
async def test_what_cannot_be_read_is_a_dead_letter_and_the_lane_goes_on(
    door: Door,
    payload: bytes,
    properties: Mapping[str, str],
    repaired: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.ERROR):
        async with door.open():
            await door.put(payload, properties)
            await door.put(GOOD, bundle_properties(LANE, GOOD))
            await door.arrived.wait()
            assert [task.id for task in door.window.take({"m": 9}, 9)] == [GOOD_ID]
    [letter] = await door.letters()
    assert is_task_id(letter)
    assert await door.store.dead_letters.raw([letter]) == [(payload, "tasks.default.normal-partition-0")]
    [record] = await door.store.records.get([letter], False)
    assert record is not None
    assert record.state is TaskState.FAILED
    assert Status.FromString(record.error).message
    assert [aside.payload for aside in door.log.set_aside] == [payload]
    # A message of ours stays until what it carried is on the log again.
    await door.settlement.flush()
    assert door.log.unacknowledged(LANE) == 1 + repaired
    if repaired:
        door.losses.made_up_for(await door.losses.next())
        await door.settlement.flush()
        assert door.log.unacknowledged(LANE) == 1
    assert len([r for r in caplog.records if r.levelno == logging.ERROR]) == 1


async def test_a_message_without_a_checksum_is_read_when_it_makes_sense(door: Door) -> None:
    async with door.open():
        await door.put(GOOD, {})
        await door.arrived.wait()
    assert [task.id for task in door.window.take({"m": 9}, 9)] == [GOOD_ID]


async def test_a_message_that_comes_again_is_no_second_letter(door: Door) -> None:
    async with door.open():
        await door.put(b"\xff", {})
        await door.put(GOOD, {})
        await door.arrived.wait()
    await door.graveyard.bury(Delivery(LANE, b"\xff", {}, None), "again")
    assert len(await door.letters()) == 1


async def test_the_lane_waits_until_the_message_is_kept(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    bury = door.store.dead_letters.bury
    calls = 0

    async def away_once(letters: Sequence[UnreadableLetter]) -> list[bool]:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise RecordsUnavailable("away")
        return await bury(letters)

    monkeypatch.setattr(door.store.dead_letters, "bury", away_once)
    async with door.open():
        await door.put(b"\xff", BUNDLE_PROPERTIES)
        await door.put(GOOD, {})
        await door.clock.until_asleep()
        assert not door.arrived.is_set()
        door.log.available = False
        door.clock.advance(AGAIN_S)
        await door.clock.until_asleep()
        assert not door.arrived.is_set()
        door.log.available = True
        door.clock.advance(AGAIN_S)
        await door.arrived.wait()
    assert len(await door.letters()) == 1
    assert len(await door.losses.next()) == 1


def test_a_letter_has_the_same_id_at_every_delivery_and_the_time_of_its_message() -> None:
    first = letter_of(Delivery(LANE, b"x", {}, 1, publish_time_ms=1_700_000_000_123), "one")
    again = letter_of(Delivery(LANE, b"x", {"p": "q"}, 2, publish_time_ms=1_700_000_000_123), "two")
    assert first.id == again.id
    assert is_task_id(first.id)
    assert create_time_ms(first.id) == 1_700_000_000_123


def test_letters_differ_by_payload_and_by_lane() -> None:
    other = Lane("default", Level.NORMAL, 1)
    ids = {
        letter_of(Delivery(lane, payload, {}, 1), "").id for lane in (LANE, other) for payload in (b"x", b"y")
    }
    assert len(ids) == 4


@pytest.mark.parametrize("time_ms", [0, 1, 2**48 - 1, 2**63 - 1])
def test_an_id_made_from_a_digest_is_one_of_a_task_whatever_the_time(time_ms: int) -> None:
    for byte in (0, 63, 64, 255):
        assert is_task_id(derived_id(bytes([byte]) * 32, time_ms))


def test_a_checksum_holds_for_the_lanes_of_one_queue_only() -> None:
    properties = bundle_properties(LANE, b"payload")
    assert check_bundle(LANE, b"payload", properties) is Checked.WHOLE
    assert check_bundle(Lane("default", Level.NORMAL, 1), b"payload", properties) is Checked.WHOLE
    assert check_bundle(Lane("default", Level.LOW, 0), b"payload", properties) is Checked.DAMAGED
    assert check_bundle(Lane("gpu", Level.NORMAL, 0), b"payload", properties) is Checked.DAMAGED
    assert check_bundle(LANE, b"pAyload", properties) is Checked.DAMAGED
    assert check_bundle(LANE, b"payload", BUNDLE_PROPERTIES) is Checked.UNKNOWN


def test_a_message_of_ours_is_known_by_its_properties() -> None:
    assert is_ours(bundle_properties(LANE, b""))
    assert is_ours(BUNDLE_PROPERTIES)
    assert not is_ours({"traceparent": "00"})


async def test_tasks_whose_message_was_damaged_run_all_the_same() -> None:
    world = World()
    ids = await world.submit(2, publish=False)
    async with world.scheduler() as scheduler, world.attached(scheduler, credits=9) as runner:
        await world.publisher.publish(LANE, b"\xff", BUNDLE_PROPERTIES)
        assert sorted(await runner.assigned(2)) == sorted((task_id, 1) for task_id in ids)
        assert len(world.log.set_aside) == 1


async def test_a_scheduler_that_dies_before_the_repair_leaves_the_message_to_its_successor() -> None:
    world = World()
    ids = await world.submit(1, publish=False)
    walk = world.store.walk.open_tasks
    asked = asyncio.Event()

    async def away(partition: int, after: str, limit: int) -> tuple[list[OpenTask], str]:
        asked.set()
        raise RecordsUnavailable("away")

    world.store.walk.open_tasks = away  # type: ignore[method-assign]
    await world.publisher.publish(LANE, b"\xff", BUNDLE_PROPERTIES)
    async with world.scheduler():
        await asked.wait()
    assert world.log.unacknowledged(LANE) == 1
    world.store.walk.open_tasks = walk  # type: ignore[method-assign]
    async with world.scheduler("s2") as scheduler, world.attached(scheduler, credits=9) as runner:
        held = await runner.assigned(1)
        assert [task_id for task_id, _ in held] == ids
        await world.finish(held)
        runner.settle(*ended(held))
        await world.acknowledged()
    assert len(await world.store.dead_letters.dead_letters(UNREADABLE_TENANT, "", 9)) == 1
