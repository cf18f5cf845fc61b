"""What every WalkStore must do."""

from scheduler.adapters.redis import connect
from scheduler.adapters.redis.walk import READ, READ_BYTES
from scheduler.ports.records import Republication
from scheduler.ports.sweeps import Death
from scheduler.ports.walk import OpenTask
from scheduler.states import TaskState
from tests.conformance.lives import reach
from tests.conformance.stores import PARTITION, Store, new_tasks, redis_store


async def _walk(store: Store, partition: int, limit: int) -> list[OpenTask]:
    found, cursor = await store.walk.open_tasks(partition, "", limit)
    while cursor:
        more, cursor = await store.walk.open_tasks(partition, cursor, limit)
        found += more
    return found


async def test_every_task_that_has_not_ended_is_met(store: Store) -> None:
    tasks = {state: await reach(store, state) for state in TaskState}
    met = {item.publication.id: item for item in await _walk(store, PARTITION, 100)}
    waiting = [state for state in TaskState if not state.terminal]
    assert set(met) == {tasks[state].id for state in waiting}
    for state in waiting:
        record = await store.read(tasks[state].id)
        assert met[record.id] == OpenTask(
            state, Republication(record.id, record.publication, record.envelope)
        )
    assert met[tasks[TaskState.SCHEDULED].id].publication.publication == 0
    assert met[tasks[TaskState.BLOCKED].id].publication.publication == 0


async def test_a_walk_in_small_steps_meets_everything_of_its_partition(store: Store) -> None:
    tasks = new_tasks(53)
    await store.add(*tasks, *new_tasks(3, partition=8))
    await store.queries.cancel([task.id for task in tasks[:20]], "acme", b"", b"")
    found = await _walk(store, PARTITION, 5)
    assert {item.publication.id for item in found} == {task.id for task in tasks[20:]}


async def test_tasks_that_stay_are_met_although_others_come_and_go(store: Store) -> None:
    staying, going = new_tasks(30), new_tasks(30)
    await store.add(*staying, *going)
    found, cursor = await store.walk.open_tasks(PARTITION, "", 10)
    await store.queries.cancel([task.id for task in going], "acme", b"", b"")
    await store.add(*new_tasks(30))
    while cursor:
        more, cursor = await store.walk.open_tasks(PARTITION, cursor, 10)
        found += more
    assert {task.id for task in staying} <= {item.publication.id for item in found}


async def test_an_empty_partition_is_walked_at_once(store: Store) -> None:
    assert await store.walk.open_tasks(PARTITION, "", 10) == ([], "")


async def test_isolation_is_kept_through_a_walk(store: Store) -> None:
    task = await reach(store, TaskState.RUNNING)
    await store.sweeps.runner_died([Death(task.id, 1, True, "a/2")], "RUNNER_CRASHED", b"")
    [item] = await _walk(store, PARTITION, 10)
    assert item.publication == Republication(task.id, 2, task.envelope, "a/2")


async def test_no_step_reads_more_large_records_than_a_store_answers_in_time(store_url: str) -> None:
    if not store_url:
        return
    client = connect(store_url, timeout_s=5.0)
    try:
        await client.flushall()
        store = redis_store(client)
        tasks = [task._replace(envelope=bytes(READ_BYTES // READ)) for task in new_tasks(3 * READ)]
        await store.add(*tasks)
        first, cursor = await store.walk.open_tasks(PARTITION, "", 512)
        assert (len(first), cursor != "") == (READ, True)
        assert {item.publication.id for item in await _walk(store, PARTITION, 512)} == {t.id for t in tasks}
    finally:
        await client.aclose()
