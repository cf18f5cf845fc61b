"""What the Pulsar adapters do when a broker or a consuming process dies, and what their topics look like."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from scheduler.adapters.pulsar import PulsarConsumer, PulsarPublisher, ensure_topics
from scheduler.bundles import MAX_BUNDLE_BYTES
from scheduler.errors import LogUnavailable, StartupRefused
from scheduler.lanes import Lane, queue_lanes
from scheduler.states import Level
from services.embedded import pulsar_lite as embedded
from tests.conformance.logs import LANES, NAMESPACE, connect, new_pool, payloads
from tests.fixtures.pulsar import ApachePulsar, PulsarLite

pytestmark = pytest.mark.timeout(90)


@asynccontextmanager
async def both_ends(
    broker: PulsarLite, lanes: list[Lane]
) -> AsyncIterator[tuple[PulsarPublisher, PulsarConsumer]]:
    async with AsyncExitStack() as stack:
        publisher = PulsarPublisher(broker.url, NAMESPACE, timeout_s=20, grace_s=0.2)
        stack.push_async_callback(publisher.close)
        consumer = PulsarConsumer(broker.url, NAMESPACE, lanes, "shared")
        stack.push_async_callback(consumer.close)
        await asyncio.gather(publisher.open(lanes), consumer.open())
        yield publisher, consumer


async def test_thirty_two_lanes_open_together(own_pulsar_lite: PulsarLite) -> None:
    lanes = [lane for level in Level for lane in queue_lanes("default", level, LANES)]
    async with both_ends(own_pulsar_lite, lanes) as (publisher, consumer):
        await asyncio.gather(*(publisher.publish(lane, str(lane).encode(), {}) for lane in lanes))
        received = await asyncio.gather(*(payloads(consumer, lane, 1) for lane in lanes))
    assert received == [[str(lane).encode()] for lane in lanes]


async def test_a_killed_broker_comes_back_with_what_it_had_and_publishing_goes_on(
    own_pulsar_lite: PulsarLite,
) -> None:
    broker = own_pulsar_lite
    lanes = queue_lanes("default", Level.HIGH, 2)
    async with both_ends(broker, lanes) as (publisher, consumer):
        for number in range(20):
            await publisher.publish(lanes[0], b"before %d" % number, {})
        broker.kill()
        during = asyncio.ensure_future(publisher.publish(lanes[1], b"during", {}))
        await asyncio.sleep(0)
        broker.launch()
        await embedded.wait_ready(broker.port)
        await during
        await publisher.publish(lanes[1], b"after", {})
        # Redelivery is allowed; loss is not.
        wanted = {lanes[0]: {b"before %d" % number for number in range(20)}, lanes[1]: {b"during", b"after"}}
        for lane, missing in wanted.items():
            while missing:
                missing.difference_update(await payloads(consumer, lane, 1))


async def test_a_broker_that_is_away_makes_publishing_fail_in_time_and_closing_still_works(
    own_pulsar_lite: PulsarLite,
) -> None:
    lane = Lane("default", Level.LOW, 0)
    async with AsyncExitStack() as stack:
        publisher = PulsarPublisher(
            own_pulsar_lite.url, NAMESPACE, timeout_s=0.5, max_in_flight=4, grace_s=0.1
        )
        stack.push_async_callback(publisher.close)
        await publisher.publish(lane, b"while it lives", {})
        own_pulsar_lite.kill()
        # More than may be in flight: the rest runs into its deadline without ever reaching the client.
        answers = await asyncio.gather(
            *(publisher.publish(lane, b"into the void", {}) for _ in range(10)), return_exceptions=True
        )
        assert [type(answer) for answer in answers] == [LogUnavailable] * 10
        with pytest.raises(LogUnavailable):
            await publisher.publish(Lane("default", Level.LOW, 1), b"a lane never opened", {})


async def test_nothing_is_put_on_topics_that_are_not_made_yet(pulsar_lite: PulsarLite) -> None:
    made, lane = asyncio.Event(), Lane(new_pool(), Level.LOW, 0)
    async with AsyncExitStack() as stack:
        publisher = PulsarPublisher(pulsar_lite.url, NAMESPACE, timeout_s=0.5, topics_made=made)
        stack.push_async_callback(publisher.close)
        with pytest.raises(LogUnavailable):
            await publisher.publish(lane, b"too soon", {})
        made.set()
        await publisher.publish(lane, b"now", {})
        consumer = PulsarConsumer(pulsar_lite.url, NAMESPACE, [lane], "shared")
        stack.push_async_callback(consumer.close)
        await consumer.open()
        assert await payloads(consumer, lane, 1) == [b"now"]


async def test_closing_with_sends_pending_fails_them(own_pulsar_lite: PulsarLite) -> None:
    lane = Lane("default", Level.LOW, 0)
    publisher = PulsarPublisher(own_pulsar_lite.url, NAMESPACE, timeout_s=30, grace_s=0.1)
    await publisher.publish(lane, b"while it lives", {})
    own_pulsar_lite.kill()
    pending = [asyncio.ensure_future(publisher.publish(lane, b"pending", {})) for _ in range(20)]
    await asyncio.sleep(0)
    await publisher.close()
    answers = await asyncio.gather(*pending, return_exceptions=True)
    assert [type(answer) for answer in answers] == [LogUnavailable] * 20


async def test_nobody_at_the_address_is_an_error_in_time(tmp_path: Path) -> None:
    port = PulsarLite(tmp_path).port
    consumer = PulsarConsumer(embedded.url(port), NAMESPACE, [Lane("default", Level.LOW, 0)], timeout_s=0.5)
    with pytest.raises(LogUnavailable):
        await consumer.open()
    await consumer.close()
    with pytest.raises(LogUnavailable):
        await embedded.wait_ready(port, timeout_s=0.2)


@pytest.mark.parametrize("url", ["", "127.0.0.1:6650", "http://127.0.0.1:8080", "pulsar://"])
def test_an_address_that_is_not_a_brokers_is_refused_at_once(url: str) -> None:
    with pytest.raises(StartupRefused):
        PulsarPublisher(url)


def test_an_unknown_subscription_type_is_refused_at_once() -> None:
    with pytest.raises(StartupRefused, match="failover or shared"):
        PulsarConsumer("pulsar://127.0.0.1:1", NAMESPACE, [], "exclusive")


KILLED_CONSUMER = """
import asyncio, sys
from scheduler.adapters.pulsar import PulsarConsumer
from scheduler.lanes import queue_lanes
from scheduler.states import Level

async def main(url, pool, kind):
    lanes = queue_lanes(pool, Level.NORMAL, 8)
    consumer = PulsarConsumer(url, "public/default", lanes, kind)
    await consumer.open()
    for lane in lanes:
        await consumer.receive(lane)
    sys.stdout.write("holding\\n")
    sys.stdout.flush()
    await asyncio.sleep(3600)

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.parametrize("name", ["pulsar_lite", pytest.param("apache_pulsar", marks=pytest.mark.pulsar)])
class TestKilledConsumer:
    @pytest.fixture
    def broker(self, name: str, request: pytest.FixtureRequest) -> PulsarLite | ApachePulsar:
        found: PulsarLite | ApachePulsar = request.getfixturevalue(name)
        return found

    async def test_what_a_killed_process_held_goes_to_the_next(
        self, broker: PulsarLite | ApachePulsar
    ) -> None:
        async with AsyncExitStack() as stack:
            log = await connect(broker, stack)
            publisher = await log.publisher()
            for lane in log.lanes:
                await publisher.publish(lane, str(lane).encode(), {})
            kind = "shared" if isinstance(broker, PulsarLite) else "failover"
            holder = await asyncio.create_subprocess_exec(
                *(sys.executable, "-c", KILLED_CONSUMER, broker.url, log.lanes[0].pool, kind),
                stdout=asyncio.subprocess.PIPE,
                cwd=Path(__file__).parents[2],
            )
            assert holder.stdout is not None
            assert await holder.stdout.readline() == b"holding\n"
            holder.kill()
            await holder.wait()
            following = await log.consumer()
            received = await asyncio.gather(*(payloads(following, lane, 1) for lane in log.lanes))
        assert received == [[str(lane).encode()] for lane in log.lanes]


STOPPED_CONSUMER = """
import asyncio, sys
from scheduler.adapters.pulsar import PulsarConsumer
from scheduler.lanes import queue_lanes
from scheduler.states import Level

async def main(url, pool, kind, each):
    lanes = queue_lanes(pool, Level.NORMAL, 8)
    consumer = PulsarConsumer(url, "public/default", lanes, kind)
    await consumer.open()
    sys.stdout.write("open\\n")
    sys.stdout.flush()

    async def read(lane):
        for _ in range(int(each)):
            await consumer.acknowledge([await consumer.receive(lane)])

    await asyncio.gather(*map(read, lanes))
    await consumer.close()

asyncio.run(main(*sys.argv[1:]))
"""
EACH = 6
"""Bundles of the largest size for each lane: 12 MiB for a process that reads none of them."""


@pytest.mark.parametrize("name", ["pulsar_lite", pytest.param("apache_pulsar", marks=pytest.mark.pulsar)])
async def test_a_consumer_that_stood_still_gets_everything_published_meanwhile_and_nothing_more_is_needed(
    name: str, request: pytest.FixtureRequest
) -> None:
    broker: PulsarLite | ApachePulsar = request.getfixturevalue(name)
    async with AsyncExitStack() as stack:
        log = await connect(broker, stack)
        publisher = await log.publisher()
        kind = "shared" if isinstance(broker, PulsarLite) else "failover"
        consumer = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", STOPPED_CONSUMER, broker.url, log.lanes[0].pool, kind, str(EACH)),
            stdout=asyncio.subprocess.PIPE,
            cwd=Path(__file__).parents[2],
        )
        try:
            assert consumer.stdout is not None
            assert await consumer.stdout.readline() == b"open\n"
            consumer.send_signal(signal.SIGSTOP)
            bundle = bytes(MAX_BUNDLE_BYTES)
            await asyncio.gather(
                *(publisher.publish(lane, bundle, {}) for lane in log.lanes for _ in range(EACH))
            )
            consumer.send_signal(signal.SIGCONT)
            async with asyncio.timeout(20):
                assert await consumer.wait() == 0
        finally:
            if consumer.returncode is None:
                consumer.kill()
                await consumer.wait()


@pytest.mark.pulsar
async def test_topics_are_made_once_and_grow_and_do_not_shrink(
    apache_pulsar: ApachePulsar,
) -> None:
    pool = new_pool()
    queues = [(pool, level) for level in Level]
    await ensure_topics(apache_pulsar.admin_url, NAMESPACE, queues, LANES)
    await ensure_topics(apache_pulsar.admin_url, NAMESPACE, queues, LANES)
    async with asyncio.TaskGroup() as group:
        for _ in range(3):
            group.create_task(ensure_topics(apache_pulsar.admin_url, NAMESPACE, queues, LANES + 1))
    with pytest.raises(StartupRefused, match="10 partitions"):
        await ensure_topics(apache_pulsar.admin_url, NAMESPACE, queues, LANES)


async def test_an_admin_api_that_does_not_answer_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(LogUnavailable):
        await ensure_topics(f"http://127.0.0.1:{PulsarLite(tmp_path).port}", NAMESPACE, [], LANES)
