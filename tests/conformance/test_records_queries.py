"""What every QueryStore must do."""

from scheduler.ids import new_ids
from scheduler.ports.records import Cancelled, Ending, OutputChunk, Wanted
from scheduler.states import TaskState
from tests.conformance.stores import PARTITION, Store, new_task, new_tasks


async def test_unknown_and_impossible_ids_have_no_record(store: Store) -> None:
    task = new_task()
    await store.add(task)
    found = await store.queries.get([new_task().id, "nonsense", task.id, "", "99-" + task.id[3:]], True)
    assert [record and record.id for record in found] == [None, None, task.id, None, None]


async def test_queued_and_running_tasks_are_cancelled_at_once(store: Store) -> None:
    waiting, running = new_tasks(2)
    await store.add(waiting)
    await store.start(running)
    answers = await store.queries.cancel([waiting.id, running.id], "acme", b"why", b"")
    assert answers == [Cancelled.CANCELLED, Cancelled.CANCELLED]
    for task in (waiting, running):
        record = await store.read(task.id)
        assert (record.state, record.error) == (TaskState.CANCELLED, b"why")
        assert record.end_time_ms > 0
    assert await store.counts() == (0, 0)
    assert await store.sweeps.expire_leases([PARTITION], 10, b"") == ([], [], [])


async def test_cancelling_again_or_too_late_changes_nothing(store: Store) -> None:
    first, second = new_tasks(2)
    await store.start(first)
    await store.outcomes.finish([Ending(first.id, 1, TaskState.SUCCEEDED, result=b"r")])
    await store.add(second)
    ids = [first.id, second.id]
    assert await store.queries.cancel(ids, "acme", b"", b"end") == [
        Cancelled.ALREADY_TERMINAL,
        Cancelled.CANCELLED,
    ]
    assert await store.queries.cancel(ids, "acme", b"", b"end") == [Cancelled.ALREADY_TERMINAL] * 2
    assert (await store.read(first.id)).state is TaskState.SUCCEEDED
    assert await store.queries.output(second.id, 0, 10) == [(1, b"end")]


async def test_tasks_of_another_tenant_are_not_found(store: Store) -> None:
    task = new_task()
    await store.add(task)
    answers = await store.queries.cancel([task.id, "nonsense", new_task().id], "other", b"", b"")
    assert answers == [Cancelled.NOT_FOUND] * 3
    assert (await store.read(task.id)).state is TaskState.QUEUED


async def test_a_cancelled_stream_is_closed(store: Store) -> None:
    task = new_task()
    await store.start(task)
    await store.outcomes.append_output([OutputChunk(task.id, 1, b"a")])
    await store.queries.cancel([task.id], "acme", b"", b"end")
    assert await store.queries.output(task.id, 0, 10) == [(1, b"a"), (2, b"end")]


async def test_a_tenant_lists_its_own_tasks_newest_first(store: Store) -> None:
    start_ms = 1_700_000_000_000
    tasks = [new_task(partition=number * 7 % 64, now_ms=start_ms + number) for number in range(30)]
    await store.add(*tasks, *new_tasks(5, tenant="other"))
    newest_first = [task.id for task in reversed(tasks)]
    assert await store.queries.list_ids("acme", "", 100) == newest_first
    pages: list[str] = []
    while page := await store.queries.list_ids("acme", pages[-1] if pages else "", 7):
        assert len(page) <= 7
        pages += page
    assert pages == newest_first
    assert await store.queries.list_ids("nobody", "", 10) == []
    assert await store.queries.list_ids("acme", "", 0) == []


async def test_a_page_is_filled_although_expired_tasks_lie_before_it(store: Store) -> None:
    old, lasting = new_tasks(4), new_tasks(2, partition=8, now_ms=1_600_000_000_000)
    await store.add(*old, *lasting)
    await store.queries.cancel([task.id for task in old], "acme", b"", b"")
    await store.pass_ms(1_100)
    expected = [task.id for task in reversed(lasting)]
    for _ in range(2):
        assert await store.queries.list_ids("acme", "", 2) == expected
    # New tasks push expired entries out of their index.
    [fresh] = new_tasks(1, now_ms=1_700_000_000_001)
    await store.add(fresh)
    assert await store.queries.list_ids("acme", "", 10) == [fresh.id, *expected]


async def test_terminal_tasks_expire_with_all_that_belongs_to_them(store: Store) -> None:
    task, waiting = new_tasks(2)
    await store.start(task)
    await store.add(waiting)
    await store.outcomes.append_output([OutputChunk(task.id, 1, b"a")])
    await store.outcomes.finish([Ending(task.id, 1, TaskState.SUCCEEDED, result=b"r", last_output=b"end")])
    await store.pass_ms(1_100)
    assert await store.queries.get([task.id], include_result=True) == [None]
    assert await store.queries.output(task.id, 0, 10) == []
    assert (await store.read(waiting.id)).state is TaskState.QUEUED


async def test_counts_stay_exact_over_a_whole_life(store: Store) -> None:
    tasks = new_tasks(6)
    await store.add(*tasks)
    assert await store.counts() == (6, 0)
    holds = [await store.lease(task.id) for task in tasks[:4]]
    assert await store.counts() == (2, 4)
    await store.leases.give_back(holds[:1])
    await store.outcomes.finish([Ending(hold.id, hold.attempt, TaskState.FAILED) for hold in holds[1:3]])
    assert await store.counts() == (3, 1)
    await store.queries.cancel([task.id for task in tasks], "acme", b"", b"")
    assert await store.counts() == (0, 0)


async def test_large_batches_and_large_payloads_pass(store: Store) -> None:
    tasks = new_tasks(3_000)
    await store.add(*tasks)
    replies = await store.leases.lease([Wanted(task.id, 1) for task in tasks], "runner-1", 60_000)
    assert {reply.attempt for reply in replies} == {1}
    big = b"x" * (4 << 20)
    endings = [
        Ending(task.id, 1, TaskState.SUCCEEDED, big if number == 0 else b"r")
        for number, task in enumerate(tasks)
    ]
    await store.outcomes.finish(endings)
    assert len((await store.read(tasks[0].id)).result) == 4 << 20
    records = await store.queries.get([task.id for task in tasks], include_result=False)
    assert {record and record.state for record in records} == {TaskState.SUCCEEDED}


async def test_ids_of_a_partition_that_does_not_exist_are_not_found(store: Store) -> None:
    beyond = "69-" + new_ids(1, 1, 1_700_000_000_000)[0][3:]
    assert await store.queries.cancel([beyond], "acme", b"", b"") == [Cancelled.NOT_FOUND]
    assert await store.queries.get([beyond], include_result=True) == [None]
    assert await store.queries.output(beyond, 0, 10) == []
