"""What every Flights and every Relay must do."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import pytest

from cache.adapters.memory.flights import MemoryFlights
from cache.adapters.redis import carrying
from cache.adapters.redis.flights import RedisFlights, RedisRelay
from cache.adapters.redis.news import News
from cache.flights.relay import BEGINNING, Numbered, Relay
from cache.ports import (
    NOBODY,
    Flights,
    Following,
    Key,
    Landing,
    LandingKind,
    Leading,
    Renewed,
)
from scheduler.adapters.clock import FakeClock
from scheduler.adapters.redis import connect
from tests.conformance.stores import redis_store

LEASE_MS = 60_000
SHORT_MS = 30
BEGAN_MS = 1_700_000_000_000
STORED = Landing(LandingKind.STORED)
HIGH, NORMAL, LOW = 2, 3, 4


@dataclass(frozen=True)
class Shared:
    flights: Flights
    relay: Relay
    pass_ms: Callable[[int], Awaitable[None]]
    until_waited: Callable[[], Awaitable[None]]
    """Returns once somebody waits for the store's clock, where it stands still."""


@pytest.fixture
async def shared(store_url: str) -> AsyncIterator[Shared]:
    if not store_url:
        clock = FakeClock()
        memory = MemoryFlights(clock, most_chunks=4, most_bytes=100)

        async def pass_ms(ms: int) -> None:
            clock.advance((ms + 1) / 1000)

        yield Shared(memory, memory, pass_ms, clock.until_asleep)
        return
    client = connect(store_url, timeout_s=5.0)
    try:
        await client.flushall()
        news = News(client)
        async with carrying(client), asyncio.TaskGroup() as group:
            listening = group.create_task(news.run())
            relay = RedisRelay(client, news, most_chunks=4, most_bytes=100)
            yield Shared(
                RedisFlights(client, news), relay, redis_store(client).pass_ms, lambda: asyncio.sleep(0)
            )
            listening.cancel()
    finally:
        await client.aclose()


def new_key() -> Key:
    return Key(os.urandom(16), os.urandom(32))


async def lead(flights: Flights, key: Key, who: str = "a", lease_ms: int = LEASE_MS) -> int:
    turn = await flights.begin(key, who, lease_ms, NORMAL, BEGAN_MS)
    assert isinstance(turn, Leading)
    return turn.fence


async def test_the_first_leads_and_the_others_follow(shared: Shared) -> None:
    key = new_key()
    turns = await asyncio.gather(*(shared.flights.begin(key, f"g{n}", LEASE_MS, LOW) for n in range(50)))
    [leading] = [turn for turn in turns if isinstance(turn, Leading)]
    following = [turn for turn in turns if isinstance(turn, Following)]
    assert len(following) == 49
    leader = f"g{turns.index(leading)}"
    assert {(turn.leader, turn.fence) for turn in following} == {(leader, leading.fence)}
    assert not leading.look_again


async def test_keys_do_not_meet(shared: Shared) -> None:
    key = new_key()
    others = [Key(new_key().namespace, key.digest), Key(key.namespace, new_key().digest)]
    fence = await lead(shared.flights, key)
    for other in others:
        await lead(shared.flights, other)
    assert await shared.flights.land(key, fence, STORED)
    for other in others:
        assert isinstance(await shared.flights.begin(other, "b", LEASE_MS, LOW), Following)


async def test_when_a_lease_runs_out_exactly_one_of_all_followers_takes_over(shared: Shared) -> None:
    key = new_key()
    old = await lead(shared.flights, key, "dead", SHORT_MS)
    assert isinstance(await shared.flights.begin(key, "b", LEASE_MS, LOW), Following)
    await shared.pass_ms(SHORT_MS)
    turns = await asyncio.gather(*(shared.flights.begin(key, f"g{n}", LEASE_MS, LOW) for n in range(50)))
    [leading] = [turn for turn in turns if isinstance(turn, Leading)]
    assert leading.fence > old
    assert {turn.fence for turn in turns} == {leading.fence}


async def test_a_stale_leader_can_neither_renew_nor_land_nor_send(shared: Shared) -> None:
    key = new_key()
    old = await lead(shared.flights, key, "frozen", SHORT_MS)
    await shared.pass_ms(SHORT_MS)
    new = await lead(shared.flights, key, "b")
    assert await shared.flights.renew([(key, old), (key, new)], LEASE_MS) == [
        Renewed(False, NOBODY),
        Renewed(True, NOBODY),
    ]
    assert not await shared.flights.land(key, old, STORED)
    assert not await shared.relay.send(key, old, [Numbered(0, b"late")])
    assert await shared.flights.land(key, new, STORED)
    assert not await shared.flights.land(key, new, Landing(LandingKind.ABANDONED))


async def test_a_lease_is_as_long_as_it_is_renewed(shared: Shared) -> None:
    key = new_key()
    fence = await lead(shared.flights, key, lease_ms=SHORT_MS)
    assert await shared.flights.renew([(key, fence)], LEASE_MS) == [Renewed(True, NOBODY)]
    await shared.pass_ms(SHORT_MS)
    assert isinstance(await shared.flights.begin(key, "b", LEASE_MS, LOW), Following)
    assert await shared.flights.renew([], LEASE_MS) == []


async def test_a_late_leader_goes_on_when_nobody_took_over(shared: Shared) -> None:
    key = new_key()
    fence = await lead(shared.flights, key, lease_ms=SHORT_MS)
    await shared.pass_ms(SHORT_MS)
    assert await shared.flights.renew([(key, fence)], LEASE_MS) == [Renewed(True, NOBODY)]
    assert await shared.flights.land(key, fence, STORED)


async def test_a_leader_hears_of_the_highest_level_that_follows(shared: Shared) -> None:
    key = new_key()
    fence = await lead(shared.flights, key)
    heard = []
    for level in (LOW, HIGH, NORMAL):
        await shared.flights.begin(key, "b", LEASE_MS, level)
        heard += await shared.flights.renew([(key, fence)], LEASE_MS)
    assert heard == [Renewed(True, LOW), Renewed(True, HIGH), Renewed(True, HIGH)]


async def test_who_follows_hears_when_the_flight_began(shared: Shared) -> None:
    key = new_key()
    await shared.flights.begin(key, "a", LEASE_MS, NORMAL, 1_700_000_000_123)
    for _ in range(2):
        turn = await shared.flights.begin(key, "b", LEASE_MS, NORMAL, 1_700_000_000_456)
        assert isinstance(turn, Following)
        assert turn.began_ms == 1_700_000_000_123
    [many] = await shared.flights.begin_all([(key, NORMAL)], "c", LEASE_MS, 1_700_000_000_789)
    assert isinstance(many, Following)
    assert many.began_ms == 1_700_000_000_123


async def test_the_lead_is_taken_from_a_flight_that_must_not_be_joined(shared: Shared) -> None:
    key = new_key()
    old = await lead(shared.flights, key)
    joined = await shared.flights.begin(key, "b", LEASE_MS, NORMAL)
    assert isinstance(joined, Following)
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        follower = group.create_task(shared.flights.ended(key, old))
        await shared.until_waited()
        turn = await shared.flights.begin(key, "c", LEASE_MS, NORMAL, 7, old)
        assert isinstance(turn, Leading)
        assert turn.fence > old
        # Who followed it asks anew, and at once.
        assert await follower is None
    assert await shared.flights.renew([(key, old)], LEASE_MS) == [Renewed(False, NOBODY)]
    assert not await shared.flights.land(key, old, STORED)
    # One who is as late as the first that took over joins that.
    late = await shared.flights.begin(key, "d", LEASE_MS, NORMAL, 8, old)
    assert isinstance(late, Following)
    assert (late.fence, late.began_ms) == (turn.fence, 7)


async def test_who_begins_what_it_leads_leads_anew(shared: Shared) -> None:
    key = new_key()
    old = await lead(shared.flights, key)
    new = await lead(shared.flights, key)
    assert new > old
    assert [each.ok for each in await shared.flights.renew([(key, old), (key, new)], LEASE_MS)] == [
        False,
        True,
    ]


@pytest.mark.parametrize(
    "landing",
    [STORED, Landing(LandingKind.FAILED, b"\0status\xff"), Landing(LandingKind.ABANDONED)],
    ids=lambda landing: landing.kind.value,
)
async def test_followers_hear_how_a_flight_ended_early_and_late(shared: Shared, landing: Landing) -> None:
    key = new_key()
    fence = await lead(shared.flights, key)
    await shared.flights.begin(key, "b", LEASE_MS, LOW)
    async with asyncio.TaskGroup() as group:
        early = [group.create_task(shared.flights.ended(key, fence)) for _ in range(3)]
        await asyncio.sleep(0)
        assert await shared.flights.land(key, fence, landing)
    assert [task.result() for task in early] == [landing] * 3
    assert await shared.flights.ended(key, fence) == landing
    turn = await shared.flights.begin(key, "c", LEASE_MS, LOW)
    assert isinstance(turn, Leading) and turn.fence > fence
    assert turn.look_again == (landing == STORED)
    assert await shared.flights.ended(key, fence) is None


async def test_followers_hear_that_a_lease_ran_out(shared: Shared) -> None:
    key = new_key()
    fence = await lead(shared.flights, key, lease_ms=SHORT_MS)
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(shared.flights.ended(key, fence))
        await shared.until_waited()
        assert not waiting.done()
        await shared.pass_ms(SHORT_MS)
    assert waiting.result() is None
    assert await shared.flights.ended(new_key(), fence) is None


async def test_a_wait_that_is_cancelled_changes_nothing(shared: Shared) -> None:
    key = new_key()
    fence = await lead(shared.flights, key)
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(shared.flights.ended(key, fence))
        await asyncio.sleep(0)
        waiting.cancel()
    assert waiting.cancelled()
    assert isinstance(await shared.flights.begin(key, "b", LEASE_MS, LOW), Following)
    assert await shared.flights.land(key, fence, STORED)


async def test_chunks_arrive_from_the_beginning_in_order_and_once(shared: Shared) -> None:
    key = new_key()
    fence = await lead(shared.flights, key)
    assert (await shared.relay.read(key, fence, BEGINNING, wait=False))[0] == []
    assert await shared.relay.send(key, fence, [Numbered(0, b"\0a"), Numbered(1, b"")])
    chunks, cursor = await shared.relay.read(key, fence, BEGINNING, wait=True)
    assert chunks == [Numbered(0, b"\0a"), Numbered(1, b"")]
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(shared.relay.read(key, fence, cursor, wait=True))
        await asyncio.sleep(0)
        await shared.relay.send(key, fence, [Numbered(2, b"c")])
    chunks, cursor = waiting.result()
    assert chunks == [Numbered(2, b"c")]
    assert (await shared.relay.read(key, fence, cursor, wait=False))[0] == []


async def test_the_oldest_chunks_are_trimmed_and_their_places_missing(shared: Shared) -> None:
    key = new_key()
    fence = await lead(shared.flights, key)
    await shared.relay.send(key, fence, [Numbered(place, b"x") for place in range(6)])
    chunks, cursor = await shared.relay.read(key, fence, BEGINNING, wait=False)
    assert [chunk.place for chunk in chunks] == [2, 3, 4, 5]
    await shared.relay.send(key, fence, [Numbered(6, b"x")])
    assert (await shared.relay.read(key, fence, cursor, wait=False))[0] == [Numbered(6, b"x")]


async def test_a_flight_brings_no_more_bytes_than_it_may(shared: Shared) -> None:
    key = new_key()
    fence = await lead(shared.flights, key)
    assert await shared.relay.send(key, fence, [Numbered(0, b"x" * 60)])
    assert not await shared.relay.send(key, fence, [Numbered(1, b"x" * 60)])
    assert await shared.relay.send(key, fence, [Numbered(1, b"x" * 40)])


async def test_chunks_of_two_leaders_of_one_key_do_not_mix(shared: Shared) -> None:
    key = new_key()
    old = await lead(shared.flights, key, lease_ms=SHORT_MS)
    await shared.relay.send(key, old, [Numbered(0, b"old")])
    await shared.pass_ms(SHORT_MS)
    new = await lead(shared.flights, key, "b")
    await shared.relay.send(key, new, [Numbered(0, b"new")])
    assert (await shared.relay.read(key, old, BEGINNING, wait=False))[0] == [Numbered(0, b"old")]
    assert (await shared.relay.read(key, new, BEGINNING, wait=False))[0] == [Numbered(0, b"new")]
    await shared.flights.land(key, new, STORED)
    assert not await shared.relay.send(key, new, [Numbered(1, b"after the end")])


async def test_many_are_begun_and_landed_in_one_go(shared: Shared) -> None:
    led, fresh, stored = new_key(), new_key(), new_key()
    fence = await lead(shared.flights, led)
    before = await lead(shared.flights, stored, "b")
    await shared.flights.land(stored, before, STORED)
    turns = await shared.flights.begin_all([(led, LOW), (fresh, NORMAL), (stored, NORMAL)], "b", LEASE_MS)
    assert turns[0] == Following("a", fence, BEGAN_MS)
    assert [turn.look_again for turn in turns if isinstance(turn, Leading)] == [False, True]
    assert await shared.flights.renew([(led, fence)], LEASE_MS) == [Renewed(True, LOW)]
    ends = [(fresh, turns[1].fence, STORED), (led, fence + 1, STORED), (stored, turns[2].fence, STORED)]
    assert await shared.flights.land_all(ends) == [True, False, True]
    assert await shared.flights.ended(fresh, turns[1].fence) == STORED
    assert await shared.flights.begin_all([], "b", LEASE_MS) == []
    assert await shared.flights.land_all([]) == []
