"""What every store must do with changes of tasks that wait."""

from hashlib import sha1

import pytest

from scheduler.ports.records import Ending, Lease, NewTask, Republication, Update, Updated, Wanted
from scheduler.states import Level, TaskState
from tests.conformance.lives import reach
from tests.conformance.stores import FAR_MS, PARTITION, Store, new_task, new_tasks


def _change(
    task: NewTask,
    publication: int = 1,
    *,
    level: Level = Level.NORMAL,
    deadline_ms: int = 0,
    not_before_ms: int = 0,
) -> Update:
    return Update(task.id, publication, level, deadline_ms, not_before_ms, b"changed")


async def _levels(store: Store) -> dict[str, tuple[int, int]]:
    return {
        count.level.label: (count.queued, count.waiting)
        for count in await store.queries.queue_counts()
        if (count.queued, count.waiting) != (0, 0)
    }


async def test_a_queued_task_goes_to_its_new_lane_under_a_new_number(store: Store) -> None:
    task = new_task()
    await store.admission.mark_published(await store.add(task))
    answers, items, tickets = await store.queries.update([_change(task, level=Level.CRITICAL)], "acme")
    assert (answers, items) == ([Updated.UPDATED], [Republication(task.id, 2, b"changed")])
    assert await store.sweeps.unpublished([PARTITION], 0, 10) == [(tickets[0], items)]
    assert await _levels(store) == {"critical": (1, 0)}
    assert await store.steps(task.id) == [("QUEUED", ""), ("QUEUED", "UPDATED")]
    [reply] = await store.leases.lease([Wanted(task.id, 1)], "runner-1", 60_000)
    assert reply.verdict is Lease.STALE
    await store.lease(task.id, publication=2)
    assert (await store.read(task.id)).envelope == b"changed"


async def test_an_update_that_is_repeated_finds_that_the_task_moved(store: Store) -> None:
    task = new_task()
    await store.add(task)
    update = _change(task)
    assert (await store.queries.update([update], "acme"))[0] == [Updated.UPDATED]
    assert await store.queries.update([update], "acme") == ([Updated.MOVED], [], [])
    assert (await store.read(task.id)).publication == 2


async def test_a_queued_task_is_put_off_to_a_later_start(store: Store) -> None:
    task = new_task()
    await store.admission.mark_published(await store.add(task))
    later = _change(task, not_before_ms=await store.now_ms() + 60)
    answers, items, tickets = await store.queries.update([later], "acme")
    assert (answers, items) == ([Updated.UPDATED], [Republication(task.id, 0, b"changed")])
    assert await store.sweeps.unpublished([PARTITION], 0, 10) == [(tickets[0], items)]
    assert await _levels(store) == {"normal": (0, 1)}
    record = await store.read(task.id)
    assert (record.state, record.publication) == (TaskState.SCHEDULED, 1)
    [reply] = await store.leases.lease([Wanted(task.id, 1)], "runner-1", 60_000)
    assert reply.verdict is Lease.STALE
    await store.pass_ms(65)
    [woken], _ = await store.sweeps.wake([PARTITION], 10)
    assert (woken.publication, woken.envelope) == (2, b"changed")
    assert await store.steps(task.id) == [("QUEUED", ""), ("SCHEDULED", "UPDATED"), ("QUEUED", "DUE")]


async def test_a_scheduled_task_gets_another_time(store: Store) -> None:
    task = await reach(store, TaskState.SCHEDULED)
    answers, items, _ = await store.queries.update([_change(task, 0, not_before_ms=1)], "acme")
    assert (answers, items) == ([Updated.UPDATED], [Republication(task.id, 0, b"changed")])
    assert (await store.read(task.id)).state is TaskState.SCHEDULED
    [woken], _ = await store.sweeps.wake([PARTITION], 10)
    assert (woken.publication, woken.envelope) == (1, b"changed")
    other = await reach(store, TaskState.SCHEDULED, not_before_ms=1)
    await store.queries.update([_change(other, 0, not_before_ms=FAR_MS)], "acme")
    assert await store.sweeps.wake([PARTITION], 10) == ([], [])


@pytest.mark.parametrize("state", [TaskState.SCHEDULED, TaskState.BLOCKED, TaskState.RETRYING])
async def test_the_ticket_of_a_change_outlives_those_of_earlier_envelopes(
    store: Store, state: TaskState
) -> None:
    task = await reach(store, state)
    publication = (await store.read(task.id)).publication
    earlier = [ticket for ticket, _ in await store.sweeps.unpublished(range(64), 0, 10)]
    for _ in range(2):
        await store.pass_ms(5)
        _, items, tickets = await store.queries.update(
            [_change(task, publication, not_before_ms=FAR_MS)], "acme"
        )
        await store.admission.mark_published(earlier)
        assert await store.sweeps.unpublished([PARTITION], 0, 10) == [(tickets[0], items)]
        earlier = tickets


async def test_a_scheduled_task_without_a_time_any_more_is_due_at_once(store: Store) -> None:
    task = await reach(store, TaskState.SCHEDULED)
    await store.queries.update([_change(task, 0, not_before_ms=0)], "acme")
    assert [item.id for item in (await store.sweeps.wake([PARTITION], 10))[0]] == [task.id]


async def test_a_retrying_task_keeps_its_backoff_or_waits_for_a_later_time(store: Store) -> None:
    resting, later = await reach(store, TaskState.RETRYING), await reach(store, TaskState.RETRYING)
    sooner_ms = await store.now_ms() + 1
    answers, items, _ = await store.queries.update(
        [_change(resting, not_before_ms=sooner_ms), _change(later, not_before_ms=FAR_MS)], "acme"
    )
    assert answers == [Updated.UPDATED] * 2
    assert sorted(item.id for item in items if item.publication == 0) == sorted([resting.id, later.id])
    await store.pass_ms(5)
    assert await store.sweeps.wake([PARTITION], 10) == ([], [])
    states = [(await store.read(task.id)).state for task in (resting, later)]
    assert states == [TaskState.RETRYING, TaskState.SCHEDULED]
    assert 50_000 < (await store.due()).next_in_ms <= 60_000


async def test_a_task_that_rested_is_charged_as_before_after_it_was_put_off(store: Store) -> None:
    task = await reach(store, TaskState.RETRYING, max_attempts=2)
    await store.queries.update([_change(task, not_before_ms=FAR_MS)], "acme")
    await store.queries.update([_change(task, not_before_ms=1)], "acme")
    await store.sweeps.wake([PARTITION], 10)
    hold = await store.lease(task.id, publication=2)
    assert hold.attempt == 2
    await store.outcomes.finish([Ending(*hold, TaskState.FAILED, retry_in_ms=0)])
    assert (await store.read(task.id)).state is TaskState.FAILED


async def test_a_deadline_is_given_changed_and_taken_away(store: Store) -> None:
    given, taken = new_tasks(2, deadline_ms=0)
    taken = new_task(deadline_ms=1)
    await store.add(given, taken)
    await store.queries.update([_change(given, deadline_ms=2), _change(taken, deadline_ms=0)], "acme")
    assert await store.sweeps.expire_deadlines([PARTITION], 10) == [given.id]
    await store.lease(taken.id, publication=2)


@pytest.mark.parametrize("state", sorted(set(TaskState) - {TaskState.BLOCKED}))
async def test_each_state_is_answered_for_what_it_is(store: Store, state: TaskState) -> None:
    task = await reach(store, state)
    record = await store.read(task.id)
    waits = state in (TaskState.SCHEDULED, TaskState.QUEUED, TaskState.RETRYING)
    stale = _change(task, record.publication + 5)
    assert await store.queries.update([stale], "acme") == (
        [Updated.MOVED if waits else Updated.NOT_WAITING],
        [],
        [],
    )
    assert await store.queries.update([stale], "other") == ([Updated.NOT_FOUND], [], [])
    assert await store.read(task.id) == record
    answers, _, _ = await store.queries.update([_change(task, record.publication)], "acme")
    assert answers == [Updated.UPDATED if waits else Updated.NOT_WAITING]
    assert ((await store.read(task.id)).envelope == b"changed") is waits


async def test_updates_over_partitions_are_answered_in_order(store: Store) -> None:
    tasks = [new_task(partition=number % 3) for number in range(6)]
    await store.add(*tasks)
    await store.lease(tasks[2].id)
    updates = [_change(task, 9 if task is tasks[4] else 1, level=Level.LOW) for task in tasks]
    answers, items, tickets = await store.queries.update([*updates, _change(new_task())], "acme")
    assert [answer.name for answer in answers] == [
        "UPDATED",
        "UPDATED",
        "NOT_WAITING",
        "UPDATED",
        "MOVED",
        "UPDATED",
        "NOT_FOUND",
    ]
    assert sorted(item.id for item in items) == sorted(tasks[number].id for number in (0, 1, 3, 5))
    assert sorted(ticket.partition for ticket in tickets) == [0, 1, 2]
    assert await store.queries.update([], "acme") == ([], [], [])
    assert await _levels(store) == {"normal": (1, 0), "low": (4, 0)}


async def test_a_change_of_an_envelope_that_was_changed_meanwhile_is_refused(store: Store) -> None:
    task = new_task(state=TaskState.SCHEDULED, not_before_ms=FAR_MS)
    await store.add(task)
    first = _change(task, 0, not_before_ms=FAR_MS)._replace(
        replaces=sha1(task.envelope, usedforsecurity=False).hexdigest()
    )
    assert (await store.queries.update([first], "acme"))[0] == [Updated.UPDATED]
    assert (await store.queries.update([first], "acme"))[0] == [Updated.MOVED]
