"""What topics keep and how it is read back: in memory, on the embedded broker and on Apache Pulsar."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, aclosing
from uuid import uuid4

import pytest

from forebay.tasks.v1.envelope_pb2 import Ended, Endings
from scheduler.ports.log import Kept
from tests.conformance.logs import Log, connect, payloads
from tests.conformance.test_log import EVERY_LOG, Broker, start

# The first test on Apache Pulsar waits for the server to start.
pytestmark = pytest.mark.timeout(90)


@pytest.fixture(params=EVERY_LOG)
def broker(request: pytest.FixtureRequest) -> Broker:
    return start(request.param, request)


@pytest.fixture
async def log(broker: Broker) -> AsyncIterator[Log]:
    async with AsyncExitStack() as stack:
        yield await connect(broker, stack)


async def everything(reading: AsyncGenerator[Kept, None]) -> list[bytes]:
    async with aclosing(reading):
        return [kept.payload async for kept in reading]


async def test_a_lane_is_read_from_its_beginning_to_its_end_with_properties(log: Log) -> None:
    publisher, reader = await log.publisher(), await log.reader()
    sent = [b"%d" % number for number in range(500)]
    for payload in sent:
        await publisher.publish(log.lanes[0], payload, {"forebay-bundle": "1"})
    await publisher.publish(log.lanes[1], b"elsewhere", {})
    async with aclosing(reader.lane(log.lanes[0])) as reading:
        read = [kept async for kept in reading]
    assert {kept.payload for kept in read} == set(sent)
    assert all(dict(kept.properties) == {"forebay-bundle": "1"} for kept in read)


async def test_a_lane_that_nobody_ever_used_has_nothing_and_ends(log: Log) -> None:
    reader = await log.reader()
    assert await everything(reader.lane(log.lanes[7])) == []
    assert await everything(reader.parked(log.lanes[0].pool)) == []


async def test_what_was_acknowledged_is_still_kept(log: Log) -> None:
    publisher, consumer = await log.publisher(), await log.consumer()
    for payload in (b"first", b"second", b"third"):
        await publisher.publish(log.lanes[2], payload, {})
    assert await payloads(consumer, log.lanes[2], 2) == [b"first", b"second"]
    reader = await log.reader()
    for _ in range(2):
        assert set(await everything(reader.lane(log.lanes[2]))) == {b"first", b"second", b"third"}


async def test_reading_disturbs_nobody_who_consumes(log: Log) -> None:
    publisher, consumer, reader = await log.publisher(), await log.consumer(), await log.reader()
    lane = log.lanes[3]
    for number in range(50):
        await publisher.publish(lane, b"%d" % number, {})
    assert await payloads(consumer, lane, 25) == [b"%d" % number for number in range(25)]
    read, consumed = await asyncio.gather(everything(reader.lane(lane)), payloads(consumer, lane, 25))
    assert set(read) == {b"%d" % number for number in range(50)}
    assert consumed == [b"%d" % number for number in range(25, 50)]
    await publisher.publish(lane, b"after", {})
    assert await payloads(consumer, lane, 1) == [b"after"]


async def test_a_reading_ends_although_more_is_published_all_the_time(log: Log) -> None:
    publisher, reader = await log.publisher(), await log.reader()
    lane = log.lanes[4]
    await publisher.publish(lane, b"before", {})
    read: list[bytes] = []
    async with aclosing(reader.lane(lane)) as reading:
        async for kept in reading:
            read.append(kept.payload)
            if len(read) < 20:
                await publisher.publish(lane, b"meanwhile", {})
    assert b"before" in read


async def test_a_reading_can_be_left_in_the_middle(log: Log) -> None:
    publisher, reader = await log.publisher(), await log.reader()
    for number in range(100):
        await publisher.publish(log.lanes[5], b"%d" % number, {})
    reading = reader.lane(log.lanes[5])
    assert (await anext(reading)).payload == b"0"
    await reading.aclose()
    assert len(set(await everything(reader.lane(log.lanes[5])))) == 100


async def test_parked_bundles_are_kept_by_pool(log: Log) -> None:
    publisher, reader = await log.publisher(), await log.reader()
    pool = log.lanes[0].pool
    await publisher.park(pool, b"waits for noon")
    await publisher.park(f"{pool}-other", b"another pool's")
    assert await everything(reader.parked(pool)) == [b"waits for noon"]


async def test_the_journal_keeps_endings(log: Log) -> None:
    publisher, reader = await log.publisher(), await log.reader()
    # As it is read elsewhere: the tests of a session share a broker, and a broker has one journal.
    mine = [Endings(ended=[Ended(ids=[uuid4().hex])]).SerializeToString() for _ in range(3)]
    for payload in mine:
        await publisher.journal(payload)
    # The journal is one for all pools: other tests write to it too.
    assert [payload for payload in await everything(reader.journal()) if payload in mine] == mine
