"""What every Purges must do."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from itertools import product
from typing import Any

import pytest
from redis.asyncio import Redis

from cache.adapters.memory.purges import MemoryPurges
from cache.adapters.redis import purges as module_of_purges
from cache.adapters.redis.news import News
from cache.adapters.redis.purges import MARKERS, RedisPurges
from cache.adapters.redis.scripts import load_script
from cache.ports import Purge, Purges, PurgesAway
from cache.purge_board import PurgeBoard
from cache.purges import MOST_PER_NAMESPACE
from scheduler.adapters.clock import SystemClock
from scheduler.adapters.redis import connect
from scheduler.adapters.redis.connection import Argument
from scheduler.adapters.redis.scripts import Script, run_script
from services.embedded import valkey as embedded
from tests.fixtures.valkey import ValkeyServer

Views = Callable[[], Purges]
FAR_MS = 9_000_000_000_000
OURS, LABEL, DIGEST = b"\0{:}" * 4, b"label\0{}", b"\xff" * 32
THEIRS = b"t" * 16


@pytest.fixture
async def views(store_url: str) -> AsyncIterator[Views]:
    """Makes one gateway's side of the markers after another."""
    if not store_url:
        yield MemoryPurges().view
        return
    client = connect(store_url, timeout_s=5.0)
    try:
        await client.flushall()
        news = News(client)
        async with asyncio.TaskGroup() as group:
            listening = group.create_task(news.run())
            yield lambda: RedisPurges(client, news)
            listening.cancel()
    finally:
        await client.aclose()


async def test_markers_of_every_kind_are_read_as_they_were_added(views: Views) -> None:
    here, there = views(), views()
    assert await there.read(0) == []
    purges = [
        Purge(number, *selector)
        for number, selector in enumerate(
            product((None, OURS), (None, "", "m\0{}:\xfc"), (None, LABEL), (None, DIGEST)), start=1
        )
    ]
    for purge in purges:
        await here.add(purge, FAR_MS)
    assert sorted(await there.read(0), key=lambda purge: purge.before_ms) == purges


async def test_the_later_of_two_markers_stays(views: Views) -> None:
    purges = views()
    for before_ms in (5, 9, 7):
        await purges.add(Purge(before_ms, OURS), FAR_MS)
    assert await purges.read(0) == [Purge(9, OURS)]


async def test_a_marker_for_all_of_a_namespace_takes_the_place_of_what_it_covers(views: Views) -> None:
    purges = views()
    later = Purge(30, OURS, digest=DIGEST)
    for purge in (Purge(10, OURS, "m"), later, Purge(10, None, "m"), Purge(10, THEIRS, "m"), Purge(20, OURS)):
        await purges.add(purge, FAR_MS)
    await purges.add(Purge(15, OURS, "n"), FAR_MS)
    assert set(await purges.read(0)) == {
        later,
        Purge(10, None, "m"),
        Purge(10, THEIRS, "m"),
        Purge(20, OURS),
    }


async def test_a_namespace_with_too_many_markers_has_one_that_covers_all_of_them(views: Views) -> None:
    purges, more = views(), 20
    await purges.add(Purge(50, THEIRS, "m"), FAR_MS)
    for start in range(0, MOST_PER_NAMESPACE + more, 256):
        await asyncio.gather(
            *(
                purges.add(Purge(100 + number % 2, OURS, digest=number.to_bytes(32, "big")), FAR_MS + number)
                for number in range(start, min(start + 256, MOST_PER_NAMESPACE + more))
            )
        )
    found = await purges.read(0)
    assert Purge(50, THEIRS, "m") in found and Purge(101, OURS) in found
    # What came behind is covered, too.
    assert len(found) == 2
    for number in range(3):
        await purges.add(Purge(200, OURS, digest=bytes([number]) * 32), FAR_MS)
    assert len(await purges.read(0)) == 5
    assert len(await purges.read(FAR_MS + MOST_PER_NAMESPACE)) in (0, 1)


async def test_markers_of_many_namespaces_are_bounded_and_their_numbers_go_with_them(
    valkey_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module_of_purges, "MOST_IN_ALL", 100)
    client = connect(valkey_url, timeout_s=5.0)
    try:
        await client.delete(MARKERS)
        purges = RedisPurges(client, News(client))
        for tenant in range(5):
            for number in range(50):
                await purges.add(Purge(1, bytes([tenant]) * 16, digest=bytes([number]) * 32), 100)
        assert await client.hlen(MARKERS) < 100 + 5 * 17
        assert {purge.namespace for purge in await purges.read(0)} == {bytes([n]) * 16 for n in range(5)}
        assert await purges.read(200) == []
        assert list(await client.hgetall(MARKERS)) == [b""]
    finally:
        await client.aclose()


async def test_markers_whose_time_is_over_are_forgotten(views: Views) -> None:
    purges = views()
    await purges.add(Purge(1, OURS), 100)
    await purges.add(Purge(2, OURS, "m"), 200)
    assert await purges.read(100) == [Purge(2, OURS, "m")]
    assert await purges.read(0) == [Purge(2, OURS, "m")]
    assert await purges.read(200) == []


async def test_a_marker_wakes_everybody_who_has_not_read_it(views: Views) -> None:
    here, there = views(), views()
    await there.read(0)
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(there.changed())
        await asyncio.sleep(0)
        assert not waiting.done()
        await here.add(Purge(1, OURS), FAR_MS)
    await there.changed()
    assert await there.read(0) == [Purge(1, OURS)]
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(there.changed())
        await asyncio.sleep(0)
        waiting.cancel()
    assert waiting.cancelled()


async def test_markers_that_come_while_one_is_written_go_in_one_round_trip(
    valkey_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    trips: list[int] = []

    async def counted(client: Redis, script: Script, calls: Sequence[tuple[str, Sequence[Argument]]]) -> Any:
        trips.append(len(calls))
        return await run_script(client, script, calls)

    monkeypatch.setattr(module_of_purges, "run_script", counted)
    client = connect(valkey_url, timeout_s=5.0)
    try:
        await client.delete(MARKERS)
        purges = RedisPurges(client, News(client))
        markers = [Purge(number, OURS, digest=number.to_bytes(32, "big")) for number in range(1, 301)]
        adding = [asyncio.ensure_future(purges.add(marker, FAR_MS)) for marker in markers]
        await asyncio.sleep(0)
        # One that is cancelled takes no other's along.
        adding[7].cancel()
        await asyncio.gather(*adding, return_exceptions=True)
        assert sum(trips) == len(markers) and len(trips) == 2
        assert sorted(await purges.read(0), key=lambda purge: purge.before_ms) == markers
        # Nor does one who is, while all are written.
        adding = [asyncio.ensure_future(purges.add(Purge(number, THEIRS), FAR_MS)) for number in (1, 2)]
        await asyncio.sleep(0)
        adding[0].cancel()
        await adding[1]
        assert Purge(2, THEIRS) in await purges.read(0)
    finally:
        await client.aclose()


async def test_markers_that_cannot_be_written_fail_together_and_later_ones_are_written(
    valkey_server: ValkeyServer,
) -> None:
    client = connect(valkey_server.url, timeout_s=5.0)
    try:
        purges = RedisPurges(client, News(client))
        valkey_server.kill()
        failed = await asyncio.gather(
            *(purges.add(Purge(number, OURS), FAR_MS) for number in range(1, 9)), return_exceptions=True
        )
        assert {type(each) for each in failed} == {PurgesAway}
        valkey_server.start()
        await embedded.wait_ready(valkey_server.socket, 10.0)
        await purges.add(Purge(9, OURS), FAR_MS)
        assert await purges.read(0) == [Purge(9, OURS)]
    finally:
        await client.aclose()


async def test_a_purge_reaches_every_gateway_within_a_second_also_when_nobody_listens(
    valkey_url: str,
) -> None:
    client = connect(valkey_url, timeout_s=5.0)
    try:
        await client.delete(MARKERS)
        # Their subscriptions are not there: the poll has to do it.
        here, there = (RedisPurges(client, News(client)) for _ in range(2))
        board = PurgeBoard(there, SystemClock(), longest_ttl_ms=60_000)
        await board.refresh()
        waiting = asyncio.ensure_future(there.changed())
        await asyncio.sleep(0)
        async with asyncio.timeout(1.0):
            await here.add(Purge(1, OURS), FAR_MS)
            await waiting
            await board.refresh()
    finally:
        await client.aclose()


async def test_a_marker_that_is_renewed_just_before_it_would_be_forgotten_stays(valkey_url: str) -> None:
    client = connect(valkey_url, timeout_s=5.0)
    try:
        await client.delete(MARKERS)
        purges = RedisPurges(client, News(client))
        await purges.add(Purge(1, OURS), 100)
        [name] = [name for name in await client.hgetall(MARKERS) if name and name[:1] != b"#"]
        await purges.add(Purge(2, OURS), FAR_MS)
        forget = load_script("forget_purges")
        assert await run_script(client, forget, [(MARKERS, [name, b"1;100", b"#" + OURS])]) == [0]
        assert await purges.read(1_000) == [Purge(2, OURS)]
    finally:
        await client.aclose()


async def test_markers_are_lost_with_a_server_and_come_back_with_the_first_gateway(
    valkey_server: ValkeyServer,
) -> None:
    client = connect(valkey_server.url, timeout_s=1.0)
    try:
        news = News(client)
        here = PurgeBoard(RedisPurges(client, news), SystemClock(), longest_ttl_ms=60_000)
        there = PurgeBoard(RedisPurges(client, News(client)), SystemClock(), longest_ttl_ms=60_000)
        async with asyncio.TaskGroup() as group:
            listening, following = group.create_task(news.run()), group.create_task(here.follow())
            await here.purge(namespace=OURS)
            valkey_server.kill()
            with pytest.raises(PurgesAway):
                await there.refresh()
            for file in (valkey_server.folder / "data").rglob("*"):
                if file.is_file():
                    file.unlink()
            valkey_server.start()
            await embedded.wait_ready(valkey_server.socket, 10.0)
            while not len(there.markers):
                await there.refresh()
                await asyncio.sleep(0.01)
            assert there.current
            listening.cancel()
            following.cancel()
        assert [purge.namespace for purge in there.markers] == [OURS]
    finally:
        await client.aclose()
