"""What every LeaseStore and SweepStore must do."""

from scheduler.ports.records import Ending, Hold, Lease, OutputChunk, Wanted
from scheduler.states import TaskState
from tests.conformance.stores import FAR_MS, LEASE_MS, PARTITION, Store, new_task, new_tasks


async def test_a_lease_makes_a_task_running_with_the_next_attempt(store: Store) -> None:
    task = new_task()
    await store.add(task)
    [reply] = await store.leases.lease([Wanted(task.id, 1)], "runner-1", LEASE_MS)
    record = await store.read(task.id)
    assert (reply.verdict, reply.attempt) == (Lease.GRANTED, 1)
    assert (record.state, record.attempt, record.runner) == (TaskState.RUNNING, 1, "runner-1")
    assert record.start_time_ms == reply.time_ms > 0
    assert await store.counts() == (0, 1)


async def test_a_batch_over_partitions_is_answered_in_order(store: Store) -> None:
    tasks = [new_task(partition=number % 3) for number in range(6)]
    await store.add(*tasks)
    await store.lease(tasks[4].id)
    wanted = [Wanted(task.id, 2 if task is tasks[1] else 1) for task in tasks]
    replies = await store.leases.lease(wanted, "runner-1", LEASE_MS)
    assert [reply.verdict for reply in replies] == [
        Lease.GRANTED,
        Lease.STALE,
        Lease.GRANTED,
        Lease.GRANTED,
        Lease.HELD,
        Lease.GRANTED,
    ]


async def test_a_running_task_is_held_with_its_present_attempt(store: Store) -> None:
    task = new_task()
    await store.start(task)
    [reply] = await store.leases.lease([Wanted(task.id, 1)], "runner-2", LEASE_MS)
    assert (reply.verdict, reply.attempt) == (Lease.HELD, 1)
    assert (await store.read(task.id)).runner == "runner-1"


async def test_missing_and_terminal_tasks_are_stale(store: Store) -> None:
    task = new_task()
    hold = await store.start(task)
    await store.outcomes.finish([Ending(*_pair(hold), TaskState.SUCCEEDED)])
    replies = await store.leases.lease([Wanted(task.id, 1), Wanted(new_task().id, 1)], "runner-1", LEASE_MS)
    assert [reply.verdict for reply in replies] == [Lease.STALE, Lease.STALE]


async def test_a_running_task_is_stale_for_an_older_publication(store: Store) -> None:
    task = new_task()
    await store.leases.give_back([await store.start(task)])
    await store.lease(task.id, publication=2)
    [reply] = await store.leases.lease([Wanted(task.id, 1)], "runner-1", LEASE_MS)
    assert reply.verdict is Lease.STALE


async def test_a_task_past_its_deadline_expires_instead_of_starting(store: Store) -> None:
    task = new_task(deadline_ms=1_000)
    await store.add(task)
    for _ in range(2):
        [reply] = await store.leases.lease([Wanted(task.id, 1)], "runner-1", LEASE_MS)
        assert reply.verdict is Lease.EXPIRED
    record = await store.read(task.id)
    assert (record.state, record.attempt) == (TaskState.EXPIRED, 0)
    assert record.end_time_ms > 0
    assert await store.counts() == (0, 0)


async def test_a_task_before_its_deadline_starts(store: Store) -> None:
    await store.start(new_task(deadline_ms=FAR_MS))


async def test_a_task_that_cannot_end_before_its_deadline_expires_instead_of_starting(store: Store) -> None:
    deadline_ms = await store.now_ms() + 50_000
    doomed, tight, free = *new_tasks(2, deadline_ms=deadline_ms), new_task()
    await store.add(doomed, tight, free)
    wanted = [Wanted(doomed.id, 1, 60_000), Wanted(tight.id, 1, 30_000), Wanted(free.id, 1, 60_000)]
    for verdicts in ([Lease.EXPIRED, Lease.GRANTED, Lease.GRANTED], [Lease.EXPIRED, Lease.HELD, Lease.HELD]):
        replies = await store.leases.lease(wanted, "runner-1", LEASE_MS)
        assert [reply.verdict for reply in replies] == verdicts
    assert await store.steps(doomed.id) == [("QUEUED", ""), ("EXPIRED", "CANNOT_FINISH")]
    assert await store.ended() == [("EXPIRED", doomed.id)]
    assert await store.counts() == (0, 2)


async def test_a_deadline_that_passed_is_the_reason_whatever_the_task_needs(store: Store) -> None:
    task = new_task(deadline_ms=1)
    await store.add(task)
    await store.leases.lease([Wanted(task.id, 1, 60_000)], "runner-1", LEASE_MS)
    assert await store.steps(task.id) == [("QUEUED", ""), ("EXPIRED", "WHILE_QUEUED")]


async def test_only_the_present_attempt_is_renewed(store: Store) -> None:
    first, second, third = new_tasks(3)
    hold = await store.start(first)
    await store.start(second)
    holds = [hold, Hold(second.id, 2), Hold(third.id, 1)]
    assert await store.leases.renew(holds, LEASE_MS) == [True, False, False]


async def test_a_renewed_lease_does_not_run_out_at_its_first_time(store: Store) -> None:
    first, second = new_tasks(2)
    hold = await store.start(first, lease_ms=1)
    await store.start(second, lease_ms=1)
    await store.leases.renew([hold], LEASE_MS)
    await store.pass_ms(5)
    back, _, _ = await store.sweeps.expire_leases([PARTITION], 10, b"")
    assert [task.id for task in back] == [second.id]


async def test_a_lease_that_ran_out_is_queued_again_under_a_new_publication(store: Store) -> None:
    task = new_task()
    await store.admission.mark_published(await store.add(task))
    hold = await store.lease(task.id, lease_ms=1)
    await store.pass_ms(5)
    [back], failed, tickets = await store.sweeps.expire_leases([PARTITION], 10, b"lost")
    assert (back.id, back.publication, back.envelope, failed) == (task.id, 2, task.envelope, [])
    assert await store.sweeps.unpublished([PARTITION], 0, 10) == [(tickets[0], [back])]
    record = await store.read(task.id)
    assert (record.state, record.attempt, record.publication) == (TaskState.QUEUED, 1, 2)
    assert record.history[-1].reason == "LEASE_EXPIRED"
    assert record.queue_time_ms > record.create_time_ms
    assert await store.leases.renew([hold], LEASE_MS) == [False]
    assert await store.counts() == (1, 0)
    assert await store.sweeps.expire_leases([PARTITION], 10, b"lost") == ([], [], [])
    assert (await store.lease(task.id, publication=2)).attempt == 2


async def test_a_lease_that_stands_is_left_alone(store: Store) -> None:
    await store.start(new_task())
    assert await store.sweeps.expire_leases([PARTITION], 10, b"lost") == ([], [], [])


async def test_the_last_attempt_that_runs_out_fails_the_task(store: Store) -> None:
    task = new_task(max_attempts=2)
    await store.start(task, lease_ms=1)
    await store.pass_ms(5)
    await store.sweeps.expire_leases([PARTITION], 10, b"lost")
    hold = await store.lease(task.id, publication=2, lease_ms=1)
    await store.pass_ms(5)
    assert await store.sweeps.expire_leases([PARTITION], 10, b"lost") == ([], [task.id], [])
    record = await store.read(task.id)
    assert (record.state, record.error, record.attempt) == (TaskState.FAILED, b"lost", 2)
    assert record.history[-1].reason == "RUNNER_LOST"
    assert await store.counts() == (0, 0)
    assert await store.outcomes.append_output([OutputChunk(*_pair(hold), b"late")]) == [0]


async def test_no_more_leases_end_at_once_than_asked_for(store: Store) -> None:
    tasks = new_tasks(5)
    await store.add(*tasks)
    await store.leases.lease([Wanted(task.id, 1) for task in tasks], "runner-1", 1)
    await store.pass_ms(5)
    sizes = [len((await store.sweeps.expire_leases([PARTITION], 3, b""))[0]) for _ in range(3)]
    assert sizes == [3, 2, 0]


async def test_what_is_given_back_is_queued_again_and_not_charged(store: Store) -> None:
    task = new_task(max_attempts=1)
    hold = await store.start(task)
    for publication in (2, 3):
        [back], tickets = await store.leases.give_back([hold])
        assert (back.id, back.publication, back.envelope) == (task.id, publication, task.envelope)
        assert dict(await store.sweeps.unpublished([PARTITION], 0, 10))[tickets[0]] == [back]
        assert await store.counts() == (1, 0)
        hold = await store.lease(task.id, publication=publication, lease_ms=1)
        # Attempt numbers are never used twice.
        assert hold.attempt == publication
    await store.pass_ms(5)
    assert await store.sweeps.expire_leases([PARTITION], 10, b"lost") == ([], [task.id], [])


async def test_giving_back_what_is_not_held_does_nothing(store: Store) -> None:
    first, second = new_tasks(2)
    hold = await store.start(first)
    await store.add(second)
    assert await store.leases.give_back([Hold(first.id, 2), Hold(second.id, 0), Hold(second.id, 1)]) == (
        [],
        [],
    )
    await store.leases.give_back([hold])
    assert await store.leases.give_back([hold]) == ([], [])


async def test_tickets_name_only_tasks_still_queued_under_their_number(store: Store) -> None:
    first, second, third = new_tasks(3)
    tickets = await store.add(first, second, third)
    await store.leases.give_back([await store.lease(first.id)])
    await store.lease(second.id)
    found = dict(await store.sweeps.unpublished([PARTITION], 0, 10))
    assert [task.id for task in found[tickets[0]]] == [third.id]
    assert sorted(task.publication for tasks in found.values() for task in tasks) == [1, 2]


async def test_young_tickets_are_left_alone(store: Store) -> None:
    await store.add(new_task())
    assert await store.sweeps.unpublished([PARTITION], 60_000, 10) == []
    assert await store.sweeps.unpublished([PARTITION + 1], 0, 10) == []


async def test_no_more_tickets_are_read_than_asked_for(store: Store) -> None:
    for task in new_tasks(4):
        await store.add(task)
    assert len(await store.sweeps.unpublished([PARTITION], 0, 3)) == 3


async def test_history_keeps_its_beginning_and_at_most_32_steps(store: Store) -> None:
    task = new_task()
    await store.add(task)
    created = (await store.read(task.id)).create_time_ms
    for publication in range(1, 25):
        await store.leases.give_back([await store.lease(task.id, publication)])
    record = await store.read(task.id)
    assert (len(record.history), record.create_time_ms) == (32, created)
    assert (record.attempt, record.publication) == (24, 25)
    assert record.history[-1].reason == "RETURNED"


async def test_many_partitions_are_swept_in_one_call_each_up_to_the_limit(store: Store) -> None:
    tasks = [*new_tasks(3, partition=1), *new_tasks(2, partition=63), *new_tasks(1, partition=9)]
    for task in tasks:
        await store.start(task, lease_ms=1)
    await store.pass_ms(5)
    back, failed, tickets = await store.sweeps.expire_leases([1, 2, 63], 2, b"")
    assert sorted(task.id[:2] for task in back) == ["01", "01", "63", "63"]
    assert (failed, [ticket.partition for ticket in tickets]) == ([], [1, 63])
    found = await store.sweeps.unpublished(range(64), 0, 2)
    assert sorted(ticket.partition for ticket, _ in found) == [1, 1, 9, 63, 63]
    assert await store.sweeps.unpublished([], 0, 2) == []
    assert await store.sweeps.expire_leases([], 2, b"") == ([], [], [])


async def test_empty_batches_are_nothing(store: Store) -> None:
    assert await store.leases.lease([], "runner-1", LEASE_MS) == []
    assert await store.leases.renew([], LEASE_MS) == []
    assert await store.leases.give_back([]) == ([], [])


def _pair(hold: Hold) -> tuple[str, int]:
    return hold.id, hold.attempt
