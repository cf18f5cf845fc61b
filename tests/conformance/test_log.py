"""What every message log must do: in memory, on the embedded broker and on Apache Pulsar."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack

import pytest

from scheduler.errors import LogUnavailable
from scheduler.lanes import Lane
from scheduler.ports.log import LogConsumer
from tests.conformance.logs import Log, connect, payloads
from tests.fixtures.pulsar import ApachePulsar, PulsarLite

EVERY_LOG = ["memory", "pulsar-lite", pytest.param("apache-pulsar", marks=pytest.mark.pulsar)]
LOGS_WITH_HANDOVER = ["memory", pytest.param("apache-pulsar", marks=pytest.mark.pulsar)]

# The first test on Apache Pulsar waits for the server to start.
pytestmark = pytest.mark.timeout(90)


Broker = PulsarLite | ApachePulsar | None


def start(name: str, request: pytest.FixtureRequest) -> Broker:
    match name:
        case "pulsar-lite":
            broker: Broker = request.getfixturevalue("pulsar_lite")
        case "apache-pulsar":
            broker = request.getfixturevalue("apache_pulsar")
        case _:
            broker = None
    return broker


@pytest.fixture(params=EVERY_LOG)
def broker(request: pytest.FixtureRequest) -> Broker:
    return start(request.param, request)


@pytest.fixture(params=LOGS_WITH_HANDOVER)
def shared_broker(request: pytest.FixtureRequest) -> Broker:
    return start(request.param, request)


@pytest.fixture
async def log(broker: Broker) -> AsyncIterator[Log]:
    async with AsyncExitStack() as stack:
        yield await connect(broker, stack)


@pytest.fixture
async def shared_log(shared_broker: Broker) -> AsyncIterator[Log]:
    async with AsyncExitStack() as stack:
        yield await connect(shared_broker, stack)


async def test_what_is_published_is_delivered_with_its_payload_and_properties(log: Log) -> None:
    publisher, consumer = await log.publisher(), await log.consumer()
    payload = bytes(range(256))
    await publisher.publish(log.lanes[3], payload, {"forebay-bundle": "1", "traceparent": "00-ab-cd-01"})
    delivery = await consumer.receive(log.lanes[3])
    assert delivery.lane == log.lanes[3]
    assert delivery.payload == payload
    assert dict(delivery.properties) == {"forebay-bundle": "1", "traceparent": "00-ab-cd-01"}


async def test_a_payload_without_properties_and_one_of_four_megabytes_are_delivered(log: Log) -> None:
    publisher, consumer = await log.publisher(), await log.consumer()
    large = b"\x00\xff" * (2 << 20)
    await publisher.publish(log.lanes[0], b"", {})
    await publisher.publish(log.lanes[0], large, {})
    assert await payloads(consumer, log.lanes[0], 2) == [b"", large]


async def test_what_was_published_before_anybody_listened_is_delivered(log: Log) -> None:
    publisher = await log.publisher()
    await publisher.publish(log.lanes[1], b"early", {})
    await publisher.close()
    consumer = await log.consumer()
    assert await payloads(consumer, log.lanes[1], 1) == [b"early"]


async def test_a_lane_keeps_its_order(log: Log) -> None:
    publisher, consumer = await log.publisher(), await log.consumer()
    sent = [b"%d" % number for number in range(100)]
    for payload in sent:
        await publisher.publish(log.lanes[0], payload, {})
    assert await payloads(consumer, log.lanes[0], 100) == sent


async def test_a_lane_that_nobody_reads_does_not_hold_up_the_others(log: Log) -> None:
    publisher, consumer = await log.publisher(), await log.consumer()
    for number in range(50):
        await publisher.publish(log.lanes[0], b"unread %d" % number, {})
    await publisher.publish(log.lanes[1], b"read", {})
    assert await payloads(consumer, log.lanes[1], 1) == [b"read"]


async def test_many_publishers_at_once_lose_nothing(log: Log) -> None:
    publisher, consumer = await log.publisher(), await log.consumer()
    turns = log.lanes * 100
    sent = [(lane, b"%d" % number) for number, lane in enumerate(turns)]
    await asyncio.gather(*(publisher.publish(lane, payload, {}) for lane, payload in sent))
    received = await asyncio.gather(*(payloads(consumer, lane, 100) for lane in log.lanes))
    assert sorted(payload for lane in received for payload in lane) == sorted(payload for _, payload in sent)


async def test_receiving_again_after_cancelling_loses_nothing(log: Log) -> None:
    publisher, consumer = await log.publisher(), await log.consumer()
    lane = log.lanes[2]
    received: set[bytes] = set()
    for number in range(60):
        waiting = asyncio.ensure_future(consumer.receive(lane))
        await publisher.publish(lane, b"%d" % number, {})
        waiting.cancel()
        done = (await asyncio.gather(waiting, return_exceptions=True))[0]
        if not isinstance(done, BaseException):
            received.add(done.payload)
    while len(received) < 60:
        received.add((await consumer.receive(lane)).payload)
    assert received == {b"%d" % number for number in range(60)}


async def test_what_is_not_acknowledged_goes_to_the_next_consumer(log: Log) -> None:
    publisher, consumer = await log.publisher(), await log.consumer()
    for payload in (b"first", b"second"):
        await publisher.publish(log.lanes[0], payload, {})
    assert (await consumer.receive(log.lanes[0])).payload == b"first"
    await consumer.close()
    following = await log.consumer()
    assert await payloads(following, log.lanes[0], 2) == [b"first", b"second"]


async def test_acknowledging_one_in_the_middle_leaves_those_around_it(log: Log) -> None:
    publisher, consumer = await log.publisher(), await log.consumer()
    for payload in (b"first", b"second", b"third"):
        await publisher.publish(log.lanes[0], payload, {})
    deliveries = [await consumer.receive(log.lanes[0]) for _ in range(3)]
    await consumer.acknowledge([deliveries[1]])
    await consumer.close()
    following = await log.consumer()
    assert await payloads(following, log.lanes[0], 2) == [b"first", b"third"]


async def test_what_is_acknowledged_straight_before_closing_never_comes_again(log: Log) -> None:
    publisher, consumer = await log.publisher(), await log.consumer()
    for lane in log.lanes:
        await publisher.publish(lane, b"done", {})
    deliveries = [await consumer.receive(lane) for lane in log.lanes]
    await consumer.acknowledge(deliveries)
    await consumer.close()
    following = await log.consumer()
    for lane in log.lanes:
        await publisher.publish(lane, b"new", {})
    assert [await payloads(following, lane, 1) for lane in log.lanes] == [[b"new"]] * len(log.lanes)


async def test_what_cannot_be_read_is_kept_with_its_fault(log: Log) -> None:
    publisher = await log.publisher()
    await publisher.set_aside(log.lanes[5], b"\xff\xfe", "not a bundle: unexpected end")
    assert await log.first_set_aside() == (b"\xff\xfe", "not a bundle: unexpected end")


async def test_a_closed_publisher_refuses(log: Log) -> None:
    publisher = await log.publisher()
    await publisher.publish(log.lanes[0], b"before", {})
    await publisher.close()
    await publisher.close()
    with pytest.raises(LogUnavailable):
        await publisher.publish(log.lanes[0], b"after", {})
    with pytest.raises(LogUnavailable):
        await publisher.set_aside(log.lanes[0], b"after", "late")


async def test_closing_a_publisher_settles_what_it_is_sending(log: Log) -> None:
    publisher, consumer = await log.publisher(), await log.consumer()
    await publisher.publish(log.lanes[0], b"0", {})
    sending = asyncio.gather(
        *(publisher.publish(log.lanes[0], b"%d" % number, {}) for number in range(1, 50))
    )
    await asyncio.sleep(0)
    await publisher.close()
    await sending
    assert sorted(await payloads(consumer, log.lanes[0], 50)) == sorted(
        b"%d" % number for number in range(50)
    )


async def test_a_consumer_can_be_closed_twice_and_while_somebody_waits(log: Log) -> None:
    consumer = await log.consumer()
    waiting = asyncio.ensure_future(consumer.receive(log.lanes[0]))
    await asyncio.sleep(0)
    await consumer.close()
    await consumer.close()
    await consumer.acknowledge([])
    waiting.cancel()
    assert isinstance((await asyncio.gather(waiting, return_exceptions=True))[0], asyncio.CancelledError)


async def test_two_consumers_divide_the_lanes_and_one_takes_over_from_the_other(shared_log: Log) -> None:
    log = shared_log
    publisher, first, second = await log.publisher(), await log.consumer(), await log.consumer()
    seen: dict[LogConsumer, set[Lane]] = {first: set(), second: set()}
    changed = asyncio.Event()

    async def watch(consumer: LogConsumer, lane: Lane) -> None:
        while True:
            await consumer.receive(lane)
            seen[consumer].add(lane)
            changed.set()

    async def until(condition: Callable[[], bool]) -> None:
        while not condition():
            changed.clear()
            await changed.wait()

    watchers = [asyncio.ensure_future(watch(each, lane)) for each in seen for lane in log.lanes]
    try:
        for lane in log.lanes:
            await publisher.publish(lane, b"both live", {})
        await until(
            lambda: min(map(len, seen.values())) >= 4 and seen[first] | seen[second] == set(log.lanes)
        )
        # Nothing was acknowledged, so when one leaves the other is given what it has not had.
        await first.close()
        await until(lambda: seen[second] == set(log.lanes))
    finally:
        for watcher in watchers:
            watcher.cancel()
        await asyncio.gather(*watchers, return_exceptions=True)
