"""What every PauseStore and ShelfStore must do."""

from scheduler.ports.pauses import Pause
from scheduler.ports.records import Ending, Lease, Update, Wanted
from scheduler.states import Level, TaskState
from tests.conformance.lives import reach
from tests.conformance.stores import PARTITION, Store, new_task, new_tasks


async def test_pauses_stand_until_exactly_they_are_taken_back(store: Store) -> None:
    pool, level = Pause(pool="gpu"), Pause(pool="gpu", level=int(Level.LOW))
    label = Pause(label_key="team:a", label_value="b\0;{c}")
    first = await store.pauses.pause(pool, "repair")
    assert (first.pause, first.reason, first.since_ms > 0) == (pool, "repair", True)
    await store.pass_ms(2)
    second = await store.pauses.pause(level, "")
    await store.pass_ms(2)
    third = await store.pauses.pause(label, "ü")
    assert await store.pauses.pauses() == [first, second, third]
    assert await store.pauses.resume(Pause(level=int(Level.LOW))) is None
    assert await store.pauses.resume(pool) == first
    assert await store.pauses.resume(pool) is None
    assert await store.pauses.pauses() == [second, third]


async def test_pausing_again_keeps_the_pause_that_stands(store: Store) -> None:
    first = await store.pauses.pause(Pause(model="m"), "one")
    await store.pass_ms(5)
    assert await store.pauses.pause(Pause(model="m"), "two") == first
    assert await store.pauses.pauses() == [first]


async def test_no_pauses_are_an_empty_list(store: Store) -> None:
    assert await store.pauses.pauses() == []
    assert await store.pauses.resume(Pause(model="m")) is None


async def test_shelved_tasks_rest_queued_and_come_back_under_a_new_number(store: Store) -> None:
    tasks = new_tasks(3)
    await store.admission.mark_published(await store.add(*tasks))
    assert await store.shelves.shelve("model/a", [(task.id, 1) for task in tasks]) == [True] * 3
    assert await store.shelves.shelves() == {"model/a": 3}
    assert await store.counts() == (3, 0)
    items, [ticket] = await store.shelves.unshelve("model/a", 2)
    assert [(item.id, item.publication, item.envelope) for item in items] == [
        (task.id, 2, task.envelope) for task in tasks[:2]
    ]
    assert await store.sweeps.unpublished([PARTITION], 0, 10) == [(ticket, items)]
    assert await store.shelves.shelves() == {"model/a": 1}
    assert (await store.steps(tasks[0].id))[-1] == ("QUEUED", "UNSHELVED")
    assert await store.counts() == (3, 0)
    [reply] = await store.leases.lease([Wanted(tasks[0].id, 1)], "runner-1", 60_000)
    assert reply.verdict is Lease.STALE
    await store.lease(tasks[0].id, publication=2)
    items, _ = await store.shelves.unshelve("model/a", 2)
    assert [item.id for item in items] == [tasks[2].id]
    assert await store.shelves.shelves() == {}
    assert await store.shelves.unshelve("model/a", 2) == ([], [])


async def test_shelving_twice_is_shelving_once(store: Store) -> None:
    task = new_task()
    await store.add(task)
    for _ in range(2):
        assert await store.shelves.shelve("model/a", [(task.id, 1)]) == [True]
    assert await store.shelves.shelves() == {"model/a": 1}
    assert len((await store.shelves.unshelve("model/a", 10))[0]) == 1
    assert await store.shelves.unshelve("model/a", 10) == ([], [])


async def test_a_message_that_is_worth_nothing_needs_no_shelf(store: Store) -> None:
    ended, scheduled = await reach(store, TaskState.SUCCEEDED), await reach(store, TaskState.SCHEDULED)
    again = await reach(store, TaskState.RUNNING)
    queued = new_task()
    await store.add(queued)
    answers = await store.shelves.shelve(
        "model/a",
        [(ended.id, 1), (scheduled.id, 1), (again.id, 7), (queued.id, 2), (new_task().id, 1)],
    )
    assert answers == [True] * 5
    assert await store.shelves.shelves() == {}
    assert await store.shelves.shelve("model/a", []) == []


async def test_a_task_that_runs_is_not_shelved(store: Store) -> None:
    task = await reach(store, TaskState.RUNNING)
    assert await store.shelves.shelve("model/a", [(task.id, 1)]) == [False]
    assert await store.shelves.shelves() == {}
    assert (await store.read(task.id)).state is TaskState.RUNNING


async def test_what_left_the_queue_from_its_shelf_does_not_come_back(store: Store) -> None:
    cancelled, changed, leased, left = new_tasks(4)
    await store.add(cancelled, changed, leased, left)
    await store.shelves.shelve("a", [(task.id, 1) for task in (cancelled, changed, leased, left)])
    await store.queries.cancel([cancelled.id], "acme", b"", b"")
    await store.queries.update([Update(changed.id, 1, Level.LOW, 0, 0, b"changed")], "acme")
    hold = await store.lease(leased.id)
    items, _ = await store.shelves.unshelve("a", 10)
    assert [(item.id, item.publication) for item in items] == [(left.id, 2)]
    assert await store.outcomes.finish([Ending(*hold, TaskState.SUCCEEDED)])
    assert (await store.read(changed.id)).publication == 2
    assert await store.shelves.shelves() == {}


async def test_shelves_span_partitions_and_do_not_meet(store: Store) -> None:
    tasks = [new_task(partition=number * 9, now_ms=1_700_000_000_000 + number) for number in range(7)]
    others = new_tasks(2)
    await store.add(*tasks, *others)
    await store.shelves.shelve("label/a:b{c}", [(task.id, 1) for task in tasks])
    await store.shelves.shelve("label/a", [(task.id, 1) for task in others])
    assert await store.shelves.shelves() == {"label/a:b{c}": 7, "label/a": 2}
    taken: list[str] = []
    while (page := await store.shelves.unshelve("label/a:b{c}", 3))[0]:
        assert len(page[0]) <= 3
        assert {ticket.partition for ticket in page[1]} == {int(item.id[:2]) for item in page[0]}
        taken += [item.id for item in page[0]]
    assert sorted(taken) == sorted(task.id for task in tasks)
    assert await store.shelves.shelves() == {"label/a": 2}
