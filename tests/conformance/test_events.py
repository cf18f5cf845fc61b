"""What every EventFeed must do."""

from collections.abc import AsyncIterator
from typing import TypeVar

from scheduler.ports.events import TaskChange
from scheduler.ports.records import Ending, OutputChunk, Wanted
from scheduler.states import TaskState
from tests.conformance.stores import PARTITION, Store, new_task, new_tasks

T = TypeVar("T")


async def take(feed: AsyncIterator[list[T]], count: int) -> list[T]:
    """Return the next `count` items of a feed."""
    items: list[T] = []
    while len(items) < count:
        items += await anext(feed)
    return items


async def test_a_feed_begins_with_an_empty_batch_and_then_misses_nothing(store: Store) -> None:
    feed = store.events.changes()
    await store.add(new_task())
    assert await anext(feed) == []
    tasks = [new_task(partition=number * 9) for number in range(7)]
    await store.add(*tasks)
    seen = await take(feed, 7)
    assert sorted(change.id for change in seen) == sorted(task.id for task in tasks)
    assert {(change.state, change.attempt, change.output) for change in seen} == {
        (TaskState.QUEUED, 0, False)
    }


async def test_every_change_of_state_is_told_in_order(store: Store) -> None:
    feed = store.events.changes()
    await anext(feed)
    task, late, lost, dropped = [*new_tasks(3), new_task(max_attempts=1)]
    overdue = new_task(deadline_ms=1)
    hold = await store.start(task)
    await store.leases.give_back([hold])
    await store.lease(task.id, publication=2)
    await store.outcomes.append_output(
        [OutputChunk(task.id, 2, b"a"), OutputChunk(task.id, 2, b"b", after=1)]
    )
    await store.outcomes.finish([Ending(task.id, 2, TaskState.SUCCEEDED)])
    await store.start(late, lease_ms=1)
    await store.start(dropped, lease_ms=1)
    await store.pass_ms(5)
    await store.sweeps.expire_leases([PARTITION], 10, b"")
    await store.add(lost)
    await store.queries.cancel([lost.id], "acme", b"", b"")
    await store.add(overdue)
    await store.leases.lease([Wanted(overdue.id, 1)], "runner-1", 1)
    seen = await take(feed, 16)
    told = {
        one.id: [(change.state.name, change.attempt, change.output) for change in seen if change.id == one.id]
        for one in (task, late, dropped, lost, overdue)
    }
    assert told == {
        task.id: [
            ("QUEUED", 0, False),
            ("RUNNING", 1, False),
            ("QUEUED", 1, False),
            ("RUNNING", 2, False),
            ("RUNNING", 2, True),
            ("SUCCEEDED", 2, False),
        ],
        late.id: [("QUEUED", 0, False), ("RUNNING", 1, False), ("QUEUED", 1, False)],
        dropped.id: [("QUEUED", 0, False), ("RUNNING", 1, False), ("FAILED", 1, False)],
        lost.id: [("QUEUED", 0, False), ("CANCELLED", 0, False)],
        overdue.id: [("QUEUED", 0, False), ("EXPIRED", 0, False)],
    }


async def test_a_write_that_changes_nothing_tells_nothing(store: Store) -> None:
    task = new_task()
    await store.start(task)
    feed = store.events.changes()
    await anext(feed)
    await store.add(task)
    await store.leases.lease([Wanted(task.id, 1)], "runner-2", 1_000)
    await store.outcomes.finish([Ending(task.id, 5, TaskState.SUCCEEDED)])
    await store.queries.cancel([task.id], "other", b"", b"")
    await store.outcomes.finish([Ending(task.id, 1, TaskState.SUCCEEDED)])
    assert await take(feed, 1) == [TaskChange(task.id, TaskState.SUCCEEDED, 1)]


async def test_followers_do_not_disturb_each_other(store: Store) -> None:
    first, second = store.events.changes(), store.events.changes()
    await anext(first)
    await store.add(new_task())
    await anext(second)
    [task] = new_tasks(1)
    await store.add(task)
    assert len(await take(first, 2)) == 2
    assert [change.id for change in await take(second, 1)] == [task.id]


async def test_only_tasks_cancelled_while_running_are_told_to_runners(store: Store) -> None:
    feed = store.events.cancellations()
    assert await anext(feed) == []
    waiting, running = new_task(), new_task(partition=3)
    await store.add(waiting)
    await store.start(running)
    await store.queries.cancel([waiting.id, running.id], "acme", b"", b"")
    assert await take(feed, 1) == [running.id]


async def test_a_follower_that_falls_behind_gets_everything_or_is_told_that_it_did_not(store: Store) -> None:
    feed = store.events.changes()
    await anext(feed)
    tasks = new_tasks(1_500)
    for task in tasks:
        await store.add(task)
    batches: list[list[TaskChange]] = []
    while not (batches and any(change.id == tasks[-1].id for change in batches[-1])):
        batches.append(await anext(feed))
    assert [] in batches or sum(len(batch) for batch in batches) == 1_500
