"""What every SweepStore must do about times: timers, deadlines, tickets, and knowing where to look."""

from scheduler.ports.records import Ending, Hold, Lease, Wanted, Written
from scheduler.ports.sweeps import LARGEST_READ_BYTES, Death, Due
from scheduler.states import TaskState
from tests.conformance.lives import reach
from tests.conformance.stores import FAR_MS, PARTITION, Store, new_task, new_tasks

NOTHING = Due([], [], [], [], [], [], next_in_ms=-1)


async def test_an_empty_store_has_nothing_to_do(store: Store) -> None:
    assert await store.due() == NOTHING
    assert await store.sweeps.due([], 0) == NOTHING


async def test_healthy_tasks_are_nothing_to_do(store: Store) -> None:
    await store.admission.mark_published(await store.add(*new_tasks(5), new_task(partition=3)))
    await store.start(new_task(partition=9))
    assert (await store.due(60_000)) == NOTHING


async def test_each_kind_of_work_is_found_in_its_partition(store: Store) -> None:
    await store.start(new_task(partition=1), lease_ms=1)
    await store.add(new_task(partition=2, state=TaskState.SCHEDULED, not_before_ms=1))
    await store.add(new_task(partition=3, deadline_ms=1))
    ended = new_task(partition=4)
    await store.admission.mark_published(await store.add(ended))
    await store.queries.cancel([ended.id], "acme", b"", b"")
    await store.pass_ms(5)
    due = await store.due()
    assert (due.leases, due.timers, due.deadlines, due.follow_ups) == ([1], [2], [3], [4])
    assert (due.unpublished, due.schedules) == ([1, 2, 3], [])
    assert due.next_in_ms == 0
    assert (await store.due(60_000)).unpublished == []
    only = await store.sweeps.due([3, 4, 5], 0)
    assert (only.leases, only.timers, only.deadlines, only.follow_ups) == ([], [], [3], [4])


async def test_tickets_that_nobody_publishes_are_due_at_once(store: Store) -> None:
    task = new_task()
    await store.admission.mark_published(await store.add(task))
    hold = await store.lease(task.id)
    assert (await store.due(3_600_000)).unpublished == []
    await store.sweeps.runner_died([Death(*hold, charged=True)], "RUNNER_CRASHED", b"")
    assert (await store.due(3_600_000)).unpublished == [PARTITION]


async def test_the_next_time_is_known_before_it_comes(store: Store) -> None:
    now = await store.now_ms()
    await store.add(new_task(partition=2, state=TaskState.SCHEDULED, not_before_ms=now + 50_000))
    assert 40_000 < (await store.due()).next_in_ms <= 50_000
    sooner = new_task(deadline_ms=now + 20_000)
    await store.add(sooner)
    assert 10_000 < (await store.due()).next_in_ms <= 20_000
    assert 40_000 < (await store.sweeps.due([2], 0)).next_in_ms <= 50_000
    await store.queries.cancel([sooner.id], "acme", b"", b"")
    assert 40_000 < (await store.due()).next_in_ms <= 50_000


async def test_a_scheduled_task_is_not_leased_and_not_queued_before_its_time(store: Store) -> None:
    now = await store.now_ms()
    task = new_task(state=TaskState.SCHEDULED, not_before_ms=now + 60)
    [answer], tickets = await store.admission.create([task])
    assert (answer.state, answer.publication, len(tickets)) == (TaskState.SCHEDULED, 0, 1)
    for publication in (0, 1):
        [reply] = await store.leases.lease([Wanted(task.id, publication)], "runner-1", 60_000)
        assert reply.verdict is Lease.STALE
    assert await store.sweeps.wake([PARTITION], 10) == ([], [])
    await store.pass_ms(65)
    [woken], [ticket] = await store.sweeps.wake([PARTITION], 10)
    assert (woken.id, woken.publication, woken.envelope) == (task.id, 1, task.envelope)
    assert ticket.partition == PARTITION
    record = await store.read(task.id)
    assert (record.state, record.publication) == (TaskState.QUEUED, 1)
    assert record.queue_time_ms >= now + 60 > record.create_time_ms
    assert await store.steps(task.id) == [("SCHEDULED", ""), ("QUEUED", "DUE")]
    assert await store.sweeps.wake([PARTITION], 10) == ([], [])
    await store.lease(task.id)


async def test_timers_come_in_their_order_and_up_to_the_limit_of_each_partition(store: Store) -> None:
    times = [30, 10, 20, 40]
    tasks = [new_task(state=TaskState.SCHEDULED, not_before_ms=time_ms) for time_ms in times]
    await store.add(*tasks, new_task(partition=8, state=TaskState.SCHEDULED, not_before_ms=1))
    woken, tickets = await store.sweeps.wake([PARTITION, 8], 3)
    assert [task.id for task in woken if task.id[:2] == "07"] == [tasks[1].id, tasks[2].id, tasks[0].id]
    assert sorted(ticket.partition for ticket in tickets) == [7, 8]
    woken, _ = await store.sweeps.wake([PARTITION, 8], 3)
    assert [task.id for task in woken] == [tasks[3].id]
    assert await store.sweeps.wake([], 3) == ([], [])


async def test_a_ticket_of_a_task_that_waits_says_that_it_must_be_parked(store: Store) -> None:
    scheduled = new_task(state=TaskState.SCHEDULED, not_before_ms=FAR_MS)
    blocked = new_task(state=TaskState.BLOCKED, parents=[scheduled.id])
    plain = new_task()
    tickets = await store.add(scheduled, blocked, plain)
    found = await store.sweeps.unpublished([PARTITION], 0, 10)
    assert {ticket for ticket, _ in found} == set(tickets)
    assert sorted((item.id, item.publication, item.envelope) for _, items in found for item in items) == (
        sorted(
            [
                (scheduled.id, 0, scheduled.envelope),
                (blocked.id, 0, blocked.envelope),
                (plain.id, 1, plain.envelope),
            ]
        )
    )
    await store.queries.cancel([scheduled.id, blocked.id], "acme", b"", b"")
    found = await store.sweeps.unpublished([PARTITION], 0, 10)
    assert [item.id for _, items in found for item in items] == [plain.id]


async def test_a_parked_ticket_means_nothing_once_the_task_is_queued(store: Store) -> None:
    task = new_task(state=TaskState.SCHEDULED, not_before_ms=1)
    [parked] = await store.add(task)
    [woken], [ticket] = await store.sweeps.wake([PARTITION], 10)
    found = dict(await store.sweeps.unpublished([PARTITION], 0, 10))
    assert found == {parked: [], ticket: [woken]}


async def test_creating_a_waiting_task_again_is_the_same_creation(store: Store) -> None:
    tasks = [
        new_task(state=TaskState.SCHEDULED, not_before_ms=FAR_MS),
        new_task(state=TaskState.BLOCKED, parents=[new_task().id]),
    ]
    first = await store.admission.create(tasks)
    await store.pass_ms(5)
    assert (await store.admission.create(tasks))[0] == first[0]
    assert (await store.counts(), await store.waiting()) == ((0, 0), 2)


async def test_a_recovered_task_begins_with_the_number_it_is_given(store: Store) -> None:
    task = new_task(publication=7)
    [answer], [ticket] = await store.admission.create([task])
    assert answer.publication == 7
    [(found, [item])] = await store.sweeps.unpublished([PARTITION], 0, 10)
    assert (found, item.publication) == (ticket, 7)
    [reply] = await store.leases.lease([Wanted(task.id, 1)], "runner-1", 60_000)
    assert reply.verdict is Lease.STALE
    await store.leases.give_back([await store.lease(task.id, publication=7)])
    assert (await store.read(task.id)).publication == 8


async def test_a_recovered_task_that_waits_never_gets_a_number_that_old_messages_have(store: Store) -> None:
    task = new_task(state=TaskState.SCHEDULED, not_before_ms=1, publication=7)
    await store.add(task)
    [woken], _ = await store.sweeps.wake([PARTITION], 10)
    assert woken.publication == 7
    assert (await store.read(task.id)).publication == 7


async def test_deadlines_end_tasks_in_every_state_and_tell_those_who_execute(store: Store) -> None:
    stopped = store.events.cancellations()
    await anext(stopped)
    deadline_ms = await store.now_ms() + 700
    waiting = [
        TaskState.SCHEDULED,
        TaskState.BLOCKED,
        TaskState.QUEUED,
        TaskState.RUNNING,
        TaskState.RETRYING,
    ]
    tasks = [await reach(store, state, deadline_ms=deadline_ms) for state in waiting]
    done = await reach(store, TaskState.SUCCEEDED, deadline_ms=deadline_ms)
    later = new_task(deadline_ms=FAR_MS)
    await store.add(later)
    assert await store.sweeps.expire_deadlines([PARTITION], 10) == []
    await store.pass_ms(max(deadline_ms + 2 - await store.now_ms(), 0))
    assert sorted(await store.sweeps.expire_deadlines([PARTITION], 10)) == sorted(task.id for task in tasks)
    for state, task in zip(waiting, tasks, strict=True):
        record = await store.read(task.id)
        assert (record.state, record.history[-1].reason) == (TaskState.EXPIRED, f"WHILE_{state.name}")
    assert await anext(stopped) == [tasks[3].id]
    assert (await store.read(done.id)).state is TaskState.SUCCEEDED
    assert await store.sweeps.expire_deadlines([PARTITION], 10) == []
    hold = Hold(tasks[3].id, 1)
    assert await store.outcomes.finish([Ending(*hold, TaskState.SUCCEEDED)]) == [Written.FENCED]
    assert await store.leases.renew([hold], 60_000) == [False]
    assert (await store.counts(), await store.waiting()) == ((2, 0), 0)


async def test_deadlines_end_up_to_the_limit_of_each_partition(store: Store) -> None:
    await store.add(*new_tasks(5, deadline_ms=1), *new_tasks(2, partition=9, deadline_ms=1))
    sizes = [len(await store.sweeps.expire_deadlines([PARTITION, 9], 3)) for _ in range(3)]
    assert sizes == [5, 2, 0]
    assert await store.sweeps.expire_deadlines([], 3) == []


async def test_a_deadline_that_the_lease_meets_says_that_the_task_was_queued(store: Store) -> None:
    task = new_task(deadline_ms=1)
    await store.add(task)
    await store.leases.lease([Wanted(task.id, 1)], "runner-1", 60_000)
    assert await store.steps(task.id) == [("QUEUED", ""), ("EXPIRED", "WHILE_QUEUED")]
    assert await store.ended() == [("EXPIRED", task.id)]
    assert (await store.due()).deadlines == []


async def test_old_tickets_are_read_up_to_a_size_so_that_an_answer_comes_in_time(store: Store) -> None:
    tasks = [new_task()._replace(envelope=bytes(LARGEST_READ_BYTES // 2 + 1)) for _ in range(3)]
    tickets = [ticket for task in tasks for ticket in await store.add(task)]
    assert len(tickets) == 3
    found = dict(await store.sweeps.unpublished([PARTITION], 0, 10))
    assert len(found) == 2
    await store.admission.mark_published(list(found))
    [(last, [left])] = await store.sweeps.unpublished([PARTITION], 0, 10)
    assert {*found, last} == set(tickets)
    assert len(left.envelope) == LARGEST_READ_BYTES // 2 + 1
