import asyncio
from collections.abc import Sequence
from contextlib import aclosing

import pytest

from cache.flights import Abandoned, Answered, Chunk, FlightFailed, Restarted, SingleFlight
from cache.flights.chunks import ChunkBuffer, Outrun
from cache.flights.resuming import Delivered
from tests.unit.cache.flights.gateways import KEY, NORMAL, SteeredCall, Store, gateways, settle

Told = list[Chunk | Restarted | Answered[str]]
PIECES = [b"one@1", b"two@2", b"three@3"]
WHOLE: Told = [*(Chunk(place, body) for place, body in enumerate(PIECES)), Answered("answer")]


class Reader:
    """Reads a stream into a list."""

    def __init__(self, flights: SingleFlight[str], call: SteeredCall) -> None:
        self.flights, self.call = flights, call
        self.told: Told = []
        self.error: Exception | None = None

    async def read(self) -> None:
        try:
            async with aclosing(self.flights.stream(KEY, NORMAL, self.call)) as events:
                async for event in events:
                    self.told.append(event)
        except Exception as error:
            self.error = error


async def publish(call: SteeredCall, count: int) -> None:
    for _ in range(count):
        call.publish_next.release()
    await settle()


async def test_one_who_joins_late_sees_exactly_the_leaders_chunks_from_the_first() -> None:
    store = Store()
    async with gateways(2) as several, asyncio.TaskGroup() as group:
        first = SteeredCall(store, chunks=PIECES)
        readers = [Reader(several.each[0], first)]
        group.create_task(readers[0].read())
        await settle()
        await publish(first, 2)
        for place in (0, 1):
            readers.append(Reader(several.each[place], SteeredCall(store, chunks=PIECES)))
            group.create_task(readers[-1].read())
        await several.tick()
        assert [reader.told for reader in readers] == [WHOLE[:2]] * 3
        await publish(first, 1)
        assert [reader.told for reader in readers] == [WHOLE[:3]] * 3
        first.go.set()
        await settle()
        assert [reader.told for reader in readers] == [WHOLE] * 3
        assert sum(reader.call.computed for reader in readers) == 1


async def test_one_who_joins_after_the_last_chunk_gets_all_of_them() -> None:
    store = Store()
    async with gateways(2) as several, asyncio.TaskGroup() as group:
        call = SteeredCall(store, chunks=PIECES)
        leader = Reader(several.each[0], call)
        group.create_task(leader.read())
        await settle()
        follower = Reader(several.each[1], SteeredCall(store, chunks=PIECES))
        group.create_task(follower.read())
        await publish(call, 3)
        call.go.set()
        await settle()
        # It never heard of a chunk before the end: nothing was sent before the first renewal.
        assert follower.told == leader.told == WHOLE


async def test_when_the_leader_dies_the_stream_goes_on_behind_what_was_delivered() -> None:
    store = Store()
    async with gateways(2) as several, asyncio.TaskGroup() as group:
        first, second = (
            SteeredCall(store, chunks=PIECES),
            SteeredCall(store, chunks=[b"one@7", b"two@8", b"three@3"]),
        )
        leader, follower = Reader(several.each[0], first), Reader(several.each[1], second)
        group.create_task(leader.read())
        await settle()
        group.create_task(follower.read())
        await publish(first, 2)
        await several.tick()
        assert follower.told == WHOLE[:2]
        several.cables[0].cut = True
        for _ in range(9):
            await several.tick()
        assert second.computed == 1
        await publish(second, 2)
        assert follower.told == WHOLE[:2]
        await publish(second, 1)
        second.go.set()
        await settle()
        assert follower.told == WHOLE
        first.publish_next.release()
        first.go.set()


async def test_when_who_takes_over_says_something_else_the_stream_says_from_where_it_is_void() -> None:
    store = Store()
    async with gateways(2) as several, asyncio.TaskGroup() as group:
        first = SteeredCall(store, chunks=PIECES)
        second = SteeredCall(store, "another", chunks=[b"one@1", b"2", b"3"])
        leader, follower = Reader(several.each[0], first), Reader(several.each[1], second)
        group.create_task(leader.read())
        await settle()
        group.create_task(follower.read())
        await publish(first, 2)
        await several.tick()
        several.cables[0].cut = True
        for _ in range(9):
            await several.tick()
        second.go.set()
        await publish(second, 3)
        assert follower.told == [
            *WHOLE[:2],
            Restarted(1),
            Chunk(1, b"2"),
            Chunk(2, b"3"),
            Answered("another"),
        ]
        first.publish_next.release()
        first.go.set()


async def test_a_stream_that_wants_nothing_so_old_is_given_no_chunk_of_it_and_computes_itself() -> None:
    old, new = Store(), Store()
    async with gateways(3) as several, asyncio.TaskGroup() as group:
        began_ms = several.clock.now_ms()
        before = Reader(several.each[0], SteeredCall(old, "old", [b"old@1", b"words@2"]))
        group.create_task(before.read())
        await settle()
        await publish(before.call, 1)
        await several.tick(2.0)
        after = [Reader(several.each[place], SteeredCall(new, chunks=PIECES)) for place in (1, 2)]
        for reader in after:
            reader.call.since_ms = began_ms + 1_000
            group.create_task(reader.read())
        await several.tick()
        # The first takes the lead from it, and the other follows that one.
        assert [reader.call.offered for reader in after] == [[began_ms], [began_ms + 2_000]]
        assert [reader.told for reader in after] == [[], []]
        await publish(after[0].call, 3)
        after[0].call.go.set()
        await several.tick()
        await publish(before.call, 1)
        before.call.go.set()
        await several.tick()
        assert [reader.told for reader in after] == [WHOLE] * 2
    assert [event for event in before.told if isinstance(event, Restarted)] == []
    assert before.told[-1] == Answered("old")
    assert [reader.call.computed for reader in (before, *after)] == [1, 1, 0]


async def test_when_the_leaders_own_gateway_computes_anew_followers_elsewhere_are_told_too() -> None:
    store = Store()
    async with gateways(2) as several, asyncio.TaskGroup() as group:
        first = SteeredCall(store, chunks=PIECES)
        first.failure = Abandoned("its caller's deadline passed")
        second = SteeredCall(store, "another", chunks=[b"one@1", b"2", b"3"])
        follower = Reader(several.each[1], SteeredCall(store, chunks=second.pieces))
        for reader in (Reader(several.each[0], first), Reader(several.each[0], second), follower):
            group.create_task(reader.read())
            await settle()
        await several.tick()
        await publish(first, 3)
        assert follower.told == WHOLE[:3]
        first.go.set()
        await publish(second, 3)
        second.go.set()
        await settle()
        assert follower.told == [
            *WHOLE[:3],
            Restarted(1),
            Chunk(1, b"2"),
            Chunk(2, b"3"),
            Answered("another"),
        ]
        assert follower.call.computed == 0


async def test_a_failure_in_the_middle_of_a_stream_reaches_its_followers() -> None:
    store = Store()
    async with gateways(2) as several, asyncio.TaskGroup() as group:
        first = SteeredCall(store, chunks=PIECES)
        first.failure = RuntimeError("out of memory")
        leader, follower = (
            Reader(several.each[0], first),
            Reader(several.each[1], SteeredCall(store, chunks=PIECES)),
        )
        group.create_task(leader.read())
        await settle()
        group.create_task(follower.read())
        await several.tick()
        await publish(first, 3)
        first.go.set()
        await settle()
        assert leader.told == follower.told == WHOLE[:3]
        assert leader.error is first.failure
        assert isinstance(follower.error, FlightFailed)
        assert follower.error.status == b"status of out of memory"


async def test_a_stream_that_is_left_costs_its_leader_nothing_and_others_go_on() -> None:
    store = Store()
    async with gateways() as several, asyncio.TaskGroup() as group:
        call = SteeredCall(store, chunks=PIECES)
        leader = Reader(several.each[0], call)
        leaving = group.create_task(leader.read())
        await settle()
        follower = Reader(several.each[0], SteeredCall(store, chunks=PIECES))
        group.create_task(follower.read())
        await publish(call, 1)
        leaving.cancel()
        await publish(call, 2)
        call.go.set()
        await settle()
        assert follower.told == WHOLE
        assert leader.told == WHOLE[:1]


async def test_one_who_waits_for_the_whole_answer_and_one_who_streams_share_a_computation() -> None:
    store = Store()
    async with gateways() as several, asyncio.TaskGroup() as group:
        unary = SteeredCall(store)
        waiting = group.create_task(several.each[0].do(KEY, NORMAL, unary))
        await settle()
        follower = Reader(several.each[0], SteeredCall(store, chunks=PIECES))
        group.create_task(follower.read())
        await settle()
        unary.go.set()
        await settle()
        assert await waiting == "answer"
        # The leader published nothing: the chunks are those of the answer.
        assert follower.told == WHOLE


def test_a_buffer_keeps_the_newest_chunks_and_tells_who_is_behind() -> None:
    buffer = ChunkBuffer(most_bytes=10, most_chunks=3)
    for body in (b"aaaa", b"bbbb", b"cc", b"d"):
        buffer.append(body)
    assert (buffer.first, buffer.end) == (1, 4)
    assert buffer.read(2, 9) == [(2, b"cc"), (3, b"d")]
    assert buffer.read(2, 1) == [(2, b"cc")]
    with pytest.raises(Outrun):
        buffer.read(0, 9)
    buffer.append(b"e" * 11)
    assert (buffer.first, buffer.end, buffer.read(5, 9)) == (5, 5, [])


async def test_one_who_reads_too_slowly_gets_the_rest_from_the_answer() -> None:
    pieces = [b"%d" % number for number in range(40_000)]
    store = Store()
    async with gateways() as several, asyncio.TaskGroup() as group:
        call = SteeredCall(store, chunks=pieces)
        told: Told = []
        async with aclosing(several.each[0].stream(KEY, NORMAL, call)) as events:

            async def read_one() -> None:
                told.append(await anext(events))

            reading = group.create_task(read_one())
            await settle()
            await publish(call, 1)
            await reading
            for _ in pieces[1:]:
                call.publish_next.release()
            call.go.set()
            while store.answer is None:
                await settle()
            async for event in events:
                told.append(event)  # what was told before belongs to it
    assert told == [*(Chunk(place, body) for place, body in enumerate(pieces)), Answered("answer")]


def told_of(delivered: Delivered, bodies: Sequence[bytes]) -> list[Chunk | Restarted]:
    return [event for place, body in enumerate(bodies) for event in delivered.take(place, body)]


def test_a_second_computation_that_agrees_is_not_noticed() -> None:
    delivered = Delivered(lambda chunk: chunk)
    assert told_of(delivered, [b"a", b"b"]) == [Chunk(0, b"a"), Chunk(1, b"b")]
    assert told_of(delivered, [b"a", b"b", b"c"]) == [Chunk(2, b"c")]
    assert delivered.end(3) == []


def test_a_second_computation_that_ends_earlier_takes_the_rest_back() -> None:
    delivered = Delivered(lambda chunk: chunk)
    told_of(delivered, [b"a", b"b", b"c"])
    assert told_of(delivered, [b"a"]) == []
    assert delivered.end(1) == [Restarted(1)]
    assert delivered.count == 1
