"""Questions that go together, by a server that answers when the test lets it."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.exceptions import OutOfMemoryError, ResponseError

from cache.adapters.redis import carrier, gathering, waiting
from cache.adapters.redis.gathering import Trips, carrying, trips_of
from cache.adapters.redis.question import Question
from scheduler.adapters.redis import connect
from scheduler.adapters.redis.scripts import Script
from scheduler.errors import RecordsUnavailable

SCRIPT = Script(b"", "sha")


class Server:
    """Takes the place of lines: each question is answered with the keys of its calls."""

    def __init__(self) -> None:
        self.trips: list[list[str]] = []
        self.lines = 0
        self.go = asyncio.Semaphore(0)
        self.away: Exception | None = None
        self.refusals: dict[str, ResponseError] = {}

    async def open(self, client: Redis) -> "Server":
        self.lines += 1
        return self

    async def carry(self, batch: Sequence[Question]) -> None:
        self.trips.append([str(command[3]) for question in batch for command in question.commands])
        await self.go.acquire()
        if self.away is not None:
            raise self.away
        for question in batch:
            keys = [str(command[3]) for command in question.commands]
            question.tell([self.refusals.get(key, key) for key in keys])

    async def close(self) -> None:
        self.lines -= 1


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    server = Server()
    monkeypatch.setattr(carrier, "Line", server)
    # However long the machine takes for a turn of the loop.
    monkeypatch.setattr(carrier, "PATIENCE_S", 3_600.0)
    return server


@pytest.fixture
def impatient(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let who waits go by another line after a moment."""
    monkeypatch.setattr(carrier, "PATIENCE_S", 0.01)


@pytest.fixture
async def trips(server: Server) -> AsyncIterator[Trips]:
    client = connect("unix:///nowhere", timeout_s=1.0)
    async with carrying(client) as trips:
        yield trips
    await client.aclose()


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def start(trips: Trips, *keys: str, **fields: Any) -> list[asyncio.Task[Any]]:
    return [asyncio.ensure_future(trips.run(SCRIPT, [(key, [])], **fields)) for key in keys]


async def test_what_is_asked_in_one_turn_goes_together_and_what_comes_meanwhile_goes_next(
    server: Server, trips: Trips
) -> None:
    tasks = start(trips, "a", "b")
    await settle()
    tasks += start(trips, "c", "d")
    await settle()
    assert server.trips == [["a", "b"]]
    server.go.release()
    await settle()
    assert server.trips == [["a", "b"], ["c", "d"]]
    server.go.release()
    assert await asyncio.gather(*tasks) == [["a"], ["b"], ["c"], ["d"]]
    await settle()
    assert server.lines == 0


async def test_all_who_use_one_client_share_its_trips() -> None:
    client, other = connect("unix:///nowhere", timeout_s=1.0), connect("unix:///nowhere", timeout_s=1.0)
    assert trips_of(client) is (mine := trips_of(client))
    assert trips_of(other) is not mine


async def test_a_trip_that_fails_fails_its_own_questions_and_the_next_goes(
    server: Server, trips: Trips
) -> None:
    tasks = start(trips, "a", "b")
    await settle()
    tasks += start(trips, "c")
    await settle()
    server.away = RecordsUnavailable("the connection was lost")
    server.go.release()
    await settle()
    server.away = None
    server.go.release()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(answer) for answer in answers[:2]] == [RecordsUnavailable] * 2
    assert answers[2] == ["c"]


async def test_what_came_while_a_trip_was_late_is_not_late_itself(server: Server, trips: Trips) -> None:
    tasks = start(trips, "a")
    await settle()
    tasks += start(trips, "b")
    await settle()
    server.away = RecordsUnavailable("late")
    server.away.__cause__ = TimeoutError()
    server.go.release()
    await settle()
    server.away = None
    server.go.release()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(answers[0], RecordsUnavailable)
    assert answers[1] == ["b"]
    assert server.trips == [["a"], ["b"]]


async def test_what_waited_as_long_as_a_trip_that_was_too_late_fails_with_it(server: Server) -> None:
    async with carrying(connect("unix:///nowhere", timeout_s=0.000_001)) as trips:
        tasks = start(trips, "a")
        await settle()
        tasks += start(trips, "b")
        await settle()
        server.away = RecordsUnavailable("late")
        server.away.__cause__ = TimeoutError()
        server.go.release()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(answer) for answer in answers] == [RecordsUnavailable] * 2
    assert server.trips == [["a"]]


async def test_what_carries_much_takes_a_way_of_its_own(server: Server, trips: Trips) -> None:
    large = [start(trips, f"large {number}", carries=waiting.MOST_BYTES)[0] for number in range(9)]
    await settle()
    small = start(trips, "small")
    await settle()
    assert server.trips == [["large 0"], ["small"]]
    for _ in range(20):
        server.go.release()
    assert await small[0] == ["small"]
    await asyncio.gather(*large)


async def test_a_fault_of_a_trip_fails_its_questions_and_no_others(server: Server, trips: Trips) -> None:
    tasks = start(trips, "a", "b")
    await settle()
    server.away = ValueError("what is that")
    server.go.release()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(answer) for answer in answers] == [RecordsUnavailable] * 2
    server.away = None
    server.go.release()
    assert await trips.run(SCRIPT, [("c", [])]) == ["c"]


async def test_a_refusal_is_that_of_its_own_question(server: Server, trips: Trips) -> None:
    server.refusals = {"a": ResponseError("no"), "b": OutOfMemoryError("full")}
    tasks = start(trips, "a", "b", "c")
    server.go.release()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(answer) for answer in answers] == [ResponseError, RecordsUnavailable, list]


async def test_one_that_is_cancelled_takes_no_other_question_along(server: Server, trips: Trips) -> None:
    tasks = start(trips, "a", "b")
    await settle()
    tasks += start(trips, "c", "d")
    await settle()
    for place in (0, 2):
        tasks[place].cancel()
    await settle()
    server.go.release()
    await settle()
    assert server.trips == [["a", "b"], ["d"]]
    server.go.release()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(answers[place]) for place in (0, 2)] == [asyncio.CancelledError] * 2
    assert [answers[place] for place in (1, 3)] == [["b"], ["d"]]


async def test_a_question_with_a_time_of_its_own_does_not_wait_for_the_trip(
    server: Server, trips: Trips
) -> None:
    hurried, patient = start(trips, "a", within_s=0.01), start(trips, "b")
    with pytest.raises(RecordsUnavailable):
        await hurried[0]
    assert not patient[0].done()
    server.go.release()
    assert await patient[0] == ["b"]


async def test_a_trip_takes_no_more_bytes_than_it_may_but_always_one_question(
    server: Server, trips: Trips
) -> None:
    tasks = start(trips, "a", "b", "c", carries=waiting.MOST_BYTES // 2 + 1)
    for _ in tasks:
        server.go.release()
    await asyncio.gather(*tasks)
    assert server.trips == [["a"], ["b"], ["c"]]
    numbers = [str(number) for number in range(20)]
    tasks = start(trips, *numbers, carries=gathering.MUCH_BYTES - 1)
    for _ in tasks:
        server.go.release()
    await asyncio.gather(*tasks)
    assert server.trips[3:] == [numbers[:16], numbers[16:]]


@pytest.mark.usefixtures("impatient")
async def test_who_waits_for_a_trip_that_takes_long_goes_by_another(server: Server, trips: Trips) -> None:
    slow = start(trips, "slow")
    await settle()
    async with asyncio.timeout(5):
        quick = start(trips, "quick", within_s=5.0)
        while len(server.trips) < 2:  # noqa: ASYNC110  # the loop's own timer
            await asyncio.sleep(0)
    assert server.trips == [["slow"], ["quick"]]
    server.go.release()
    server.go.release()
    await asyncio.gather(*slow, *quick)


OURS, THEIRS = "fb:c:{ours}:", "fb:c:{theirs}:"


async def under_way(server: Server, count: int) -> None:
    """Wait until so many trips have left, by the loop's own timer."""
    async with asyncio.timeout(5):
        while len(server.trips) < count:  # noqa: ASYNC110  # a trip tells nobody that it leaves
            await asyncio.sleep(0)


async def let_all_go(server: Server, tasks: list[asyncio.Task[Any]]) -> None:
    for _ in range(50):
        server.go.release()
    await asyncio.gather(*tasks)


@pytest.mark.usefixtures("impatient")
async def test_one_tenants_slow_replies_do_not_take_every_line(server: Server, trips: Trips) -> None:
    tasks = []
    for number in range(gathering.LINES + 1):
        tasks += start(trips, f"{OURS}{number}")
        await settle()
        await under_way(server, min(number + 1, waiting.LINES_OF_ONE))
    theirs = start(trips, f"{THEIRS}a")
    await under_way(server, waiting.LINES_OF_ONE + 1)
    assert server.trips == [[f"{OURS}0"], [f"{OURS}1"], [f"{THEIRS}a"]]
    await let_all_go(server, tasks + theirs)


@pytest.mark.usefixtures("impatient")
async def test_what_brings_much_and_what_carries_much_leaves_the_lines_of_others_free(
    server: Server, trips: Trips
) -> None:
    tasks = []
    for way in ("carries", "brings"):
        for number in range(6):
            tasks += start(trips, f"{OURS}{way} {number}", **{way: gathering.MUCH_BYTES})
            await settle()
    left = len(server.trips)
    theirs = start(trips, f"{THEIRS}small")
    await settle()
    assert server.trips[left:] == [[f"{THEIRS}small"]]
    # Nor are all lines for what is large one tenant's.
    for way in ("carries", "brings"):
        theirs += start(trips, f"{THEIRS}{way}", **{way: gathering.MUCH_BYTES})
    async with asyncio.timeout(5):
        while not {f"{THEIRS}carries", f"{THEIRS}brings"} <= {key for trip in server.trips for key in trip}:  # noqa: ASYNC110  # as above
            await asyncio.sleep(0)
    assert not any(task.done() for task in tasks)
    await let_all_go(server, tasks + theirs)


async def test_tenants_take_turns_where_more_waits_than_one_trip_takes(server: Server, trips: Trips) -> None:
    first = start(trips, f"{OURS}first")
    await settle()
    most = waiting.MOST_AT_ONCE
    # In one turn: what goes when does not depend on how long the first is under way.
    many = start(trips, *(f"{OURS}{number}" for number in range(2 * most)))
    theirs = start(trips, f"{THEIRS}a", f"{THEIRS}b")
    await settle()
    server.go.release()
    await under_way(server, 2)
    assert {f"{THEIRS}a", f"{THEIRS}b"} <= set(server.trips[1])
    assert len(server.trips[1]) == most
    await let_all_go(server, first + many + theirs)


async def test_when_carrying_ends_what_is_under_way_or_waits_fails_and_nothing_is_left(
    server: Server,
) -> None:
    client = connect("unix:///nowhere", timeout_s=1.0)
    async with carrying(client) as trips:
        tasks = start(trips, "a")
        await settle()
        tasks += start(trips, "b")
        tasks += start(trips, "large", carries=gathering.MUCH_BYTES)
        await settle()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(answer) for answer in answers] == [RecordsUnavailable] * 3
    assert server.lines == 0
    with pytest.raises(RecordsUnavailable, match="closed"):
        await trips.run(SCRIPT, [("c", [])])
    await client.aclose()
