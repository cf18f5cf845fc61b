"""Five hundred identical cold requests at three gateways, each a process of its own, on one real server."""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager

import pytest
from redis.asyncio import Redis

from cache.adapters.redis import carrying
from cache.adapters.redis import flights as redis_flights
from cache.adapters.redis import purges as redis_purges
from cache.adapters.redis.flights import RedisFlights, RedisRelay
from cache.adapters.redis.news import News
from cache.adapters.redis.purges import RedisPurges
from cache.flights import BEGINNING, Answered, Chunk, Numbered, Restarted, Sharing, single_flight
from cache.ports import FlightsAway, Following, Key, Landing, LandingKind, Leading, Purge
from scheduler.adapters.clock import SystemClock
from scheduler.adapters.redis import connect
from services.embedded import valkey as embedded
from tests.fixtures.valkey import ValkeyServer
from tests.unit.cache.flights.gateways import KEY, NORMAL, SteeredCall, Store

EACH = (167, 167, 166)


class Gateway:
    """A process of `flight_gateway`."""

    def __init__(self, process: Process, heard: asyncio.Queue[tuple["Gateway", str]]) -> None:
        self.process, self._heard = process, heard
        self.computed: Counter[str] = Counter()

    def tell(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line.encode() + b"\n")

    async def listen(self) -> None:
        assert self.process.stdout is not None
        while line := (await self.process.stdout.readline()).decode().strip():
            if line.startswith("computing"):
                self.computed[line.split()[1]] += 1
            self._heard.put_nowait((self, line))

    def kill(self) -> None:
        os.kill(self.process.pid, signal.SIGKILL)


@asynccontextmanager
async def three_gateways(
    url: str,
) -> AsyncIterator[tuple[list[Gateway], asyncio.Queue[tuple[Gateway, str]]]]:
    heard: asyncio.Queue[tuple[Gateway, str]] = asyncio.Queue()
    gateways: list[Gateway] = []
    async with asyncio.TaskGroup() as group:
        try:
            for number in range(3):
                process = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-m", "tests.integration.flight_gateway", url, f"gateway-{number}"),
                    stdin=PIPE,
                    stdout=PIPE,
                )
                gateways.append(Gateway(process, heard))
                group.create_task(gateways[-1].listen())
            for _ in gateways:
                assert (await heard.get())[1] == "ready"
            yield gateways, heard
        finally:
            for gateway in gateways:
                if gateway.process.returncode is None:
                    gateway.kill()
                await gateway.process.wait()


@pytest.mark.timeout(60)
async def test_one_computation_and_at_most_two_when_the_leader_is_killed_half_way(
    valkey: Redis, valkey_url: str
) -> None:
    async with three_gateways(valkey_url) as (gateways, heard):
        for gateway, count in zip(gateways, EACH, strict=True):
            gateway.tell(f"ask calm {count}")
        leader, line = await heard.get()
        assert line == "computing calm"
        leader.tell("go calm")
        answered = dict([await heard.get() for _ in gateways])
        assert answered == {
            gateway: f"answered calm {{'answer-to-calm': {count}}}"
            for gateway, count in zip(gateways, EACH, strict=True)
        }
        assert sum(gateway.computed["calm"] for gateway in gateways) == 1

        for gateway, count in zip(gateways, EACH, strict=True):
            gateway.tell(f"ask stormy {count}")
        leader, line = await heard.get()
        assert line == "computing stormy"
        leader.kill()
        second, line = await heard.get()
        assert line == "computing stormy" and second is not leader
        second.tell("go stormy")
        others = [gateway for gateway in gateways if gateway is not leader]
        answered = dict([await heard.get() for _ in others])
        assert answered == {
            gateway: f"answered stormy {{'answer-to-stormy': {count}}}"
            for gateway, count in zip(gateways, EACH, strict=True)
            if gateway is not leader
        }
        assert sum(gateway.computed["stormy"] for gateway in gateways) == 2


async def test_a_follower_at_another_gateway_sees_the_leaders_chunks_while_they_are_made(
    valkey: Redis,
) -> None:
    pieces = [b"one", b"two", b"three"]
    store = Store()
    first, second = SteeredCall(store, chunks=pieces), SteeredCall(store, chunks=pieces)
    async with asyncio.TaskGroup() as group, AsyncExitStack() as stack:
        await stack.enter_async_context(carrying(valkey))
        news = [News(valkey), News(valkey)]
        listening = [group.create_task(each.run()) for each in news]
        here, there = [
            await stack.enter_async_context(
                single_flight(
                    Sharing(
                        RedisFlights(valkey, each),
                        RedisRelay(valkey, each),
                        SystemClock(),
                        name,
                        renew_s=0.05,
                    ),
                    str,
                )
            )
            for name, each in zip(("here", "there"), news, strict=True)
        ]
        leading = group.create_task(here.do(KEY, NORMAL, first))
        await first.computing.wait()
        first.publish_next.release()
        told: list[Chunk | Restarted | Answered[str]] = []
        async with aclosing(there.stream(KEY, NORMAL, second)) as events:
            for _ in pieces:
                told.append(await anext(events))
                # The next one is made only when the last has arrived.
                first.publish_next.release()
            first.go.set()
            told.append(await anext(events))
        assert told == [*(Chunk(place, body) for place, body in enumerate(pieces)), Answered("answer")]
        assert await leading == "answer"
        assert second.computed == 0
        for task in listening:
            task.cancel()


class LandedFlights(RedisFlights):
    """Shared flights that tell when one was landed, or could not be."""

    def __init__(self, client: Redis, news: News) -> None:
        super().__init__(client, news)
        self.landed = asyncio.Event()

    async def land(self, key: Key, fence: int, outcome: Landing) -> bool:
        try:
            return await super().land(key, fence, outcome)
        finally:
            self.landed.set()


async def test_without_its_server_a_gateway_goes_on_alone_and_shares_again_when_it_is_back(
    valkey_server: ValkeyServer,
) -> None:
    client = connect(valkey_server.url, timeout_s=5.0)
    news = News(client)
    flights, relay = LandedFlights(client, news), RedisRelay(client, news)
    sharing = Sharing(flights, relay, SystemClock(), "here", renew_s=0.05)
    try:
        async with carrying(client), single_flight(sharing, str) as here:
            store = Store()
            calls = [SteeredCall(store) for _ in range(3)]
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(here.do(KEY, NORMAL, calls[0]))]
                await calls[0].computing.wait()
                valkey_server.kill()
                with pytest.raises(FlightsAway):
                    await flights.begin(KEY, "there", 1_000, NORMAL)
                with pytest.raises(FlightsAway):
                    await flights.ended(KEY, 1)
                with pytest.raises(FlightsAway):
                    await relay.read(KEY, 1, b"", wait=True)
                tasks.append(group.create_task(here.do(KEY, NORMAL, calls[1])))
                calls[0].go.set()
            assert [task.result() for task in tasks] == ["answer"] * 2
            assert (calls[0].computed, calls[1].computed) == (1, 0)
            # Others are told after those who wait here: before that nothing need have gone wrong, and what goes wrong
            # later would let the next call be alone again.
            await flights.landed.wait()
            assert sharing.outages >= 1
            store.answer = None
            calls[2].go.set()
            assert await here.do(KEY, NORMAL, calls[2]) == "answer"
            valkey_server.start()
            await embedded.wait_ready(valkey_server.socket, 10.0)
            sharing.away_until_s = 0.0
            again = SteeredCall(Store())
            async with asyncio.TaskGroup() as group:
                leading = group.create_task(here.do(KEY, NORMAL, again))
                await again.computing.wait()
                assert isinstance(await flights.begin(KEY, "there", 1_000, NORMAL), Following)
                again.go.set()
            assert leading.result() == "answer"
    finally:
        await client.aclose()


async def test_followers_and_gateways_are_told_by_messages_and_need_no_poll(
    valkey: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (redis_flights, redis_purges):
        monkeypatch.setattr(module, "POLL_S", 3_600.0)
    news = News(valkey)
    flights, relay = RedisFlights(valkey, news), RedisRelay(valkey, news)
    here, there = RedisPurges(valkey, news), RedisPurges(valkey, news)
    await there.read(0)
    async with asyncio.TaskGroup() as group:
        with news.of("anything") as subscribed:
            listening = group.create_task(news.run())
            await subscribed.wait()
        turn = await flights.begin(KEY, "here", 3_600_000, NORMAL)
        assert isinstance(turn, Leading)
        await flights.begin(KEY, "there", 3_600_000, NORMAL)
        ended = group.create_task(flights.ended(KEY, turn.fence))
        chunks = group.create_task(relay.read(KEY, turn.fence, BEGINNING, wait=True))
        changed = group.create_task(there.changed())
        # Each has looked once when the server has answered as many commands since.
        for _ in range(3):
            await valkey.ping()
        await relay.send(KEY, turn.fence, [Numbered(0, b"chunk")])
        assert (await chunks)[0] == [Numbered(0, b"chunk")]
        await flights.land(KEY, turn.fence, Landing(LandingKind.STORED))
        assert await ended == Landing(LandingKind.STORED)
        await here.add(Purge(1), 9_000_000_000_000)
        await changed
        listening.cancel()
