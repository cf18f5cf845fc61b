"""What every SweepStore must do with tasks whose deadline comes near: each goes to the express lane, once."""

from scheduler.ports.records import Lease, Republication, Update, Wanted
from scheduler.ports.walk import OpenTask
from scheduler.states import Level, TaskState
from tests.conformance.lives import reach
from tests.conformance.stores import FAR_MS, OTHER_PARTITION, PARTITION, Store, new_task, new_tasks

SLACK_MS = 10_000


async def test_a_task_with_little_slack_is_promoted_under_a_new_number(store: Store) -> None:
    task = new_task(deadline_ms=await store.now_ms() + 8_000)
    await store.admission.mark_published(await store.add(task))
    [item], [ticket] = await store.sweeps.promote([PARTITION], SLACK_MS, {}, 10)
    assert item == Republication(task.id, 2, task.envelope, express=True)
    assert await store.sweeps.unpublished([PARTITION], 0, 10) == [(ticket, [item])]
    assert await store.steps(task.id) == [("QUEUED", ""), ("QUEUED", "PROMOTED")]
    assert await store.counts() == (1, 0)
    assert (await store.walk.open_tasks(PARTITION, "", 10))[0] == [OpenTask(TaskState.QUEUED, item)]
    [reply] = await store.leases.lease([Wanted(task.id, 1)], "runner-1", 60_000)
    assert reply.verdict is Lease.STALE
    await store.lease(task.id, publication=2)


async def test_a_task_is_promoted_once(store: Store) -> None:
    task = new_task(deadline_ms=await store.now_ms() + 8_000)
    await store.add(task)
    assert len((await store.sweeps.promote([PARTITION], SLACK_MS, {}, 10))[0]) == 1
    assert await store.sweeps.promote([PARTITION], SLACK_MS, {}, 10) == ([], [])
    assert (await store.read(task.id)).publication == 2


async def test_what_a_model_takes_is_no_slack(store: Store) -> None:
    deadline_ms = await store.now_ms() + 25_000
    slow, quick = (
        new_task(model="slow", deadline_ms=deadline_ms),
        new_task(model="q", deadline_ms=deadline_ms),
    )
    await store.add(slow, quick)
    items, _ = await store.sweeps.promote([PARTITION], SLACK_MS, {"slow": 20_000, "none": 99_000}, 10)
    assert [item.id for item in items] == [slow.id]


async def test_what_has_time_or_is_too_late_or_is_not_queued_is_left_alone(store: Store) -> None:
    soon_ms = await store.now_ms() + 8_000
    await store.add(new_task(), new_task(deadline_ms=1), new_task(deadline_ms=soon_ms + 60_000))
    for state in (TaskState.SCHEDULED, TaskState.BLOCKED, TaskState.RUNNING, TaskState.RETRYING):
        await reach(store, state, deadline_ms=soon_ms)
    await reach(store, TaskState.CANCELLED, deadline_ms=soon_ms)
    assert await store.sweeps.promote([PARTITION], SLACK_MS, {"add": 5_000}, 10) == ([], [])
    assert await store.sweeps.promote([], SLACK_MS, {}, 10) == ([], [])


async def test_a_promoted_task_keeps_its_place_in_line(store: Store) -> None:
    first, second = new_task(deadline_ms=await store.now_ms() + 8_000), new_task()
    await store.add(first)
    await store.pass_ms(5)
    await store.add(second)
    queued_ms = (await store.read(first.id)).queue_time_ms
    await store.pass_ms(5)
    await store.sweeps.promote([PARTITION], SLACK_MS, {}, 10)
    assert (await store.read(first.id)).queue_time_ms == queued_ms
    second_ms = (await store.read(second.id)).queue_time_ms
    assert await store.lines.place("default", second.level, second.tenant, second.model, second_ms) == 1


async def test_the_most_urgent_come_first_up_to_the_limit_of_a_model_in_each_partition(store: Store) -> None:
    now = await store.now_ms()
    tasks = [new_task(deadline_ms=now + ms) for ms in (8_000, 6_000, 7_000)]
    others = [
        new_task(model="b", deadline_ms=now + 9_000),
        new_task(partition=OTHER_PARTITION, deadline_ms=now + 9_000),
    ]
    await store.add(*tasks, *others)
    items, tickets = await store.sweeps.promote([PARTITION, OTHER_PARTITION], SLACK_MS, {}, 2)
    assert [item.id for item in items if item.id in {task.id for task in tasks}] == [tasks[1].id, tasks[2].id]
    assert {other.id for other in others} < {item.id for item in items}
    assert sorted(ticket.partition for ticket in tickets) == [PARTITION, OTHER_PARTITION]
    items, _ = await store.sweeps.promote([PARTITION, OTHER_PARTITION], SLACK_MS, {}, 2)
    assert [item.id for item in items] == [tasks[0].id]


async def test_a_promoted_task_that_is_queued_anew_can_be_promoted_again(store: Store) -> None:
    task = new_task(deadline_ms=await store.now_ms() + 8_000)
    await store.add(task)
    await store.sweeps.promote([PARTITION], SLACK_MS, {}, 10)
    [back], _ = await store.leases.give_back([await store.lease(task.id, publication=2)])
    assert (back.publication, back.express) == (3, False)
    [item], _ = await store.sweeps.promote([PARTITION], SLACK_MS, {}, 10)
    assert (item.publication, item.express) == (4, True)


async def test_a_deadline_that_is_put_off_takes_the_haste_away(store: Store) -> None:
    task, other = new_tasks(2, deadline_ms=await store.now_ms() + 8_000)
    await store.add(task, other)
    updates = [
        Update(task.id, 1, Level.NORMAL, 0, 0, b"changed"),
        Update(other.id, 1, Level.NORMAL, FAR_MS, 0, b"changed"),
    ]
    await store.queries.update(updates, "acme")
    assert await store.sweeps.promote([PARTITION], SLACK_MS, {}, 10) == ([], [])


async def test_a_shelved_task_is_promoted_and_can_be_shelved_again(store: Store) -> None:
    promoted, rests = new_task(deadline_ms=await store.now_ms() + 8_000), new_task()
    await store.add(promoted, rests)
    await store.shelves.shelve("model/a", [(promoted.id, 1), (rests.id, 1)])
    [item], _ = await store.sweeps.promote([PARTITION], SLACK_MS, {}, 10)
    assert (item.id, item.publication) == (promoted.id, 2)
    assert await store.shelves.shelve("model/a", [(promoted.id, 2)]) == [True]
    items, _ = await store.shelves.unshelve("model/a", 10)
    assert sorted((item.id, item.publication, item.express) for item in items) == sorted(
        [(promoted.id, 3, False), (rests.id, 2, False)]
    )
    assert await store.shelves.shelves() == {}


async def test_a_promoted_task_rests_on_no_shelf_that_it_was_on(store: Store) -> None:
    task = new_task(deadline_ms=await store.now_ms() + 8_000)
    await store.add(task)
    await store.shelves.shelve("model/a", [(task.id, 1)])
    await store.sweeps.promote([PARTITION], SLACK_MS, {}, 10)
    assert await store.shelves.unshelve("model/a", 10) == ([], [])
    assert (await store.read(task.id)).publication == 2
