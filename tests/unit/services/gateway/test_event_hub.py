import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from forebay.tasks.v1 import inputs_pb2, task_pb2, task_service_pb2
from scheduler.adapters.clock import SystemClock
from scheduler.adapters.memory import MemoryStore
from scheduler.errors import Overloaded, RecordsUnavailable, ShuttingDown, TaskNotFound
from scheduler.ids import new_ids
from scheduler.ports.events import TaskChange
from scheduler.ports.records import Ending, NewTask, Record, Wanted
from scheduler.states import Level, TaskState
from services.gateway import convert
from services.gateway import watcher as watching
from services.gateway.event_hub import event_hub
from services.gateway.watch import Watch
from services.gateway.watcher import Watcher, rank_of


class Feed:
    """Events as the test says."""

    def __init__(self) -> None:
        self.batches: asyncio.Queue[list[TaskChange]] = asyncio.Queue()
        self.followers = 0
        self.started = asyncio.Event()

    async def changes(self) -> AsyncIterator[list[TaskChange]]:
        self.followers += 1
        self.started.set()
        try:
            yield []
            while True:
                yield await self.batches.get()
        finally:
            self.followers -= 1

    def cancellations(self) -> AsyncIterator[list[str]]:
        raise AssertionError


def new_task(task_id: str) -> NewTask:
    spec = task_pb2.TaskSpec(model="m", generate=inputs_pb2.GenerateInput(prompt="p"))
    envelope = convert.seal(
        task_id,
        "default",
        spec,
        spec.SerializeToString(),
        pool="default",
        level=Level.NORMAL,
        create_time_ms=1,
        deadline_ms=0,
        max_attempts=3,
        traceparent="",
    )
    return NewTask(task_id, "default", "default", Level.NORMAL, envelope, 3)


class CountingStore:
    """The store in memory, with a count of reads and a switch that makes them fail."""

    def __init__(self, store: MemoryStore) -> None:
        self.inner = store.records
        self.reads: list[list[str]] = []
        self.failures = 0
        self.reading = asyncio.Event()
        self.answers = asyncio.Event()
        self.answers.set()

    async def get(self, ids: Sequence[str], include_result: bool) -> list[Record | None]:
        self.reads.append(list(ids))
        self.reading.set()
        await self.answers.wait()
        if self.failures:
            self.failures -= 1
            raise RecordsUnavailable("away")
        return await self.inner.get(ids, include_result)

    def __getattr__(self, name: str) -> object:
        return getattr(self.inner, name)


class System:
    """A store, events by hand, and a hub."""

    def __init__(self) -> None:
        self.store = MemoryStore(SystemClock())
        self.queries = CountingStore(self.store)
        self.feed = Feed()

    async def create(self, count: int) -> list[str]:
        ids = new_ids(7, count, 1_700_000_000_000)
        await self.store.records.create([new_task(task_id) for task_id in ids])
        return ids

    async def end(self, *ids: str) -> None:
        await self.store.records.lease([Wanted(task_id, 1) for task_id in ids], "r", 60_000)
        result = task_pb2.Result(generate=inputs_pb2.GenerateOutput(text="answer")).SerializeToString()
        await self.store.records.finish([Ending(i, 1, TaskState.SUCCEEDED, result=result) for i in ids])

    def tell(self, *ids: str, state: TaskState = TaskState.SUCCEEDED) -> None:
        self.feed.batches.put_nowait([TaskChange(task_id, state, 1) for task_id in ids])


def named(*ids: str) -> task_service_pb2.WatchTasksRequest:
    return task_service_pb2.WatchTasksRequest(tasks=task_service_pb2.TaskIds(ids=ids))


EVERYTHING = task_service_pb2.WatchTasksRequest(all=task_service_pb2.AllTasks())


async def test_nothing_is_read_while_nobody_watches() -> None:
    system = System()
    async with event_hub(system.feed, system.queries, SystemClock()):  # type: ignore[arg-type]
        await asyncio.sleep(0)
        assert system.feed.followers == 0
    assert system.queries.reads == []


async def test_one_reader_and_one_read_serve_all_watchers() -> None:
    system = System()
    ids = await system.create(3)
    async with event_hub(system.feed, system.queries, SystemClock()) as hub:  # type: ignore[arg-type]
        streams = [Watch(hub)("default", named(*ids)) for _ in range(4)]
        for stream in streams:
            await anext(stream)
        assert system.feed.followers == 1
        system.queries.reads.clear()
        await system.end(*ids)
        system.tell(*ids)
        for stream in streams:
            ended = [task.id async for response in stream for task in response.tasks]
            assert sorted(ended) == sorted(ids)
        assert [sorted(read) for read in system.queries.reads] == [sorted(ids)]
    assert system.feed.followers == 0


async def test_changes_of_tasks_that_nobody_watches_are_not_read() -> None:
    system = System()
    mine, other = await system.create(2)
    async with event_hub(system.feed, system.queries, SystemClock()) as hub:  # type: ignore[arg-type]
        stream = Watch(hub)("default", named(mine))
        await anext(stream)
        await system.end(mine, other)
        system.tell(other)
        system.tell(mine)
        _ = [response async for response in stream]
    assert system.queries.reads == [[mine], [mine]]


async def test_after_a_gap_named_tasks_are_read_again() -> None:
    system = System()
    (task_id,) = await system.create(1)
    async with event_hub(system.feed, system.queries, SystemClock()) as hub:  # type: ignore[arg-type]
        stream = Watch(hub)("default", named(task_id))
        await anext(stream)
        await system.end(task_id)
        system.feed.batches.put_nowait([])
        states = [task.state async for response in stream for task in response.tasks]
    assert states == [task_pb2.TASK_STATE_SUCCEEDED]


async def test_after_a_gap_a_watch_of_everything_ends_rather_than_miss_something() -> None:
    system = System()
    async with event_hub(system.feed, system.queries, SystemClock()) as hub:  # type: ignore[arg-type]
        stream = Watch(hub)("default", EVERYTHING)
        assert not (await anext(stream)).tasks
        system.feed.batches.put_nowait([])
        with pytest.raises(RecordsUnavailable):
            await anext(stream)


async def test_a_read_that_fails_is_made_again_for_named_tasks() -> None:
    system = System()
    (task_id,) = await system.create(1)
    async with event_hub(system.feed, system.queries, SystemClock()) as hub:  # type: ignore[arg-type]
        stream = Watch(hub)("default", named(task_id))
        await anext(stream)
        system.queries.failures = 1
        await system.end(task_id)
        system.tell(task_id)
        states = [task.state async for response in stream for task in response.tasks]
    assert states == [task_pb2.TASK_STATE_SUCCEEDED]


async def test_a_watch_with_results_that_begins_during_a_read_without_them_gets_the_result() -> None:
    system = System()
    (task_id,) = await system.create(1)
    async with event_hub(system.feed, system.queries, SystemClock()) as hub:  # type: ignore[arg-type]
        plain = Watch(hub)("default", named(task_id))
        await anext(plain)
        await system.end(task_id)
        system.queries.reading.clear()
        system.queries.answers.clear()
        system.tell(task_id)
        await system.queries.reading.wait()
        watcher = Watcher("default", ids=[task_id], labels={}, include_result=True)
        async with hub.watching(watcher):
            system.queries.answers.set()
            await watcher.changed.wait()
            assert [task.result.generate.text for task in watcher.take()] == ["answer"]
        assert [task.id async for response in plain for task in response.tasks] == [task_id]


async def test_a_task_that_is_missing_ends_the_watch() -> None:
    system = System()
    async with event_hub(system.feed, system.queries, SystemClock()) as hub:  # type: ignore[arg-type]
        with pytest.raises(TaskNotFound):
            await anext(Watch(hub)("default", named(*new_ids(7, 1, 1))))


async def test_closing_ends_watches_and_refuses_new_ones() -> None:
    system = System()
    ids = await system.create(1)
    async with event_hub(system.feed, system.queries, SystemClock()) as hub:  # type: ignore[arg-type]
        stream = Watch(hub)("default", named(*ids))
        await anext(stream)
        hub.close()
        with pytest.raises(ShuttingDown):
            await anext(stream)
        with pytest.raises(ShuttingDown):
            await anext(Watch(hub)("default", named(*ids)))


async def test_a_watch_that_is_left_is_forgotten() -> None:
    system = System()
    ids = await system.create(1)
    async with event_hub(system.feed, system.queries, SystemClock()) as hub:  # type: ignore[arg-type]
        stream = Watch(hub)("default", named(*ids))
        await anext(stream)
        await stream.aclose()  # type: ignore[attr-defined]
        assert not hub._by_id and not hub._broad
        assert hub._with_result == 0


def record(number: int, state: TaskState = TaskState.SUCCEEDED, result: bytes = b"") -> Record:
    return Record(
        id=f"07-{number:026d}",
        tenant="default",
        state=state,
        attempt=1,
        publication=1,
        envelope=b"",
        create_time_ms=1,
        queue_time_ms=1,
        start_time_ms=1,
        end_time_ms=1,
        runner="r",
        error=b"",
        result=result,
        history=(),
    )


def offer(one: Watcher, item: Record) -> None:
    one.offer(item, task_pb2.Task(id=item.id, state=task_pb2.TaskState.ValueType(item.state)))


def test_a_state_that_was_passed_is_not_sent_after_a_newer_one() -> None:
    one = Watcher("default", ids=[record(1).id], labels={}, include_result=False)
    offer(one, record(1))
    offer(one, record(1, TaskState.RUNNING))
    assert [task.state for task in one.take()] == [task_pb2.TASK_STATE_SUCCEEDED]
    assert one.finished
    offer(one, record(1, TaskState.RUNNING)._replace(publication=1))
    assert one.take() == []


def test_updates_of_one_task_take_the_place_of_each_other() -> None:
    one = Watcher("default", ids=None, labels={}, include_result=False)
    for state in (TaskState.QUEUED, TaskState.RUNNING, TaskState.SUCCEEDED):
        offer(one, record(1, state))
    assert [task.state for task in one.take()] == [task_pb2.TASK_STATE_SUCCEEDED]
    assert not one.finished


def test_a_watcher_keeps_few_bytes_and_reads_the_rest_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "MAX_BYTES", 10_000)
    items = [record(number, result=bytes(4_000)) for number in range(5)]
    one = Watcher("default", ids=[item.id for item in items], labels={}, include_result=True)
    for item in items:
        offer(one, item)
    assert one.to_reread() == []
    assert [task.id for task in one.take()] == [item.id for item in items[:2]]
    again = one.to_reread()
    assert again == [item.id for item in items[2:]]
    for item in items[2:4]:
        offer(one, item)
    assert len(one.take()) == 2
    assert not one.finished
    offer(one, items[4])
    assert len(one.take()) == 1
    assert one.finished


def test_a_watch_of_everything_that_nobody_reads_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "MAX_TASKS", 10)
    one = Watcher("default", ids=None, labels={}, include_result=False)
    for number in range(11):
        offer(one, record(number))
    with pytest.raises(Overloaded):
        one.take()


def test_no_step_of_a_waiting_task_is_taken_for_an_older_one() -> None:
    steps = [
        (TaskState.BLOCKED, 0, 0),
        (TaskState.SCHEDULED, 0, 0),
        (TaskState.QUEUED, 1, 0),
        (TaskState.SCHEDULED, 1, 0),
        (TaskState.QUEUED, 2, 0),
        (TaskState.RUNNING, 2, 1),
        (TaskState.RETRYING, 2, 1),
        (TaskState.SCHEDULED, 2, 1),
        (TaskState.EXPIRED, 2, 1),
    ]
    ranks = [
        rank_of(record(1)._replace(state=state, publication=publication, attempt=attempt))
        for state, publication, attempt in steps
    ]
    assert ranks == sorted(set(ranks))
