"""What every LineStore must do: count who waits in line, and who is before whom."""

from collections.abc import Sequence

from scheduler.ports.lines import Line
from scheduler.ports.records import Ending, NewTask, Update, Updated
from scheduler.states import Level, TaskState
from tests.conformance.lives import reach
from tests.conformance.stores import FAR_MS, OTHER_PARTITION, PARTITION, Store, new_task, new_tasks

N = Level.NORMAL


async def test_an_empty_store_has_no_lines(store: Store) -> None:
    assert list(await store.lines.lines()) == []
    assert await _before(store, FAR_MS) == 0


async def test_lines_are_counted_by_pool_level_tenant_and_model(store: Store) -> None:
    await store.add(
        *new_tasks(3),
        *new_tasks(2, partition=OTHER_PARTITION),
        *new_tasks(1, level=Level.LOW),
        *new_tasks(1, tenant="ü/ .4,;"),
        *new_tasks(1, model="llm-1.5b.q8.queued"),
        *new_tasks(1, pool="other"),
    )
    assert list(await store.lines.lines()) == [
        Line("default", N, "acme", "add", 5, 0, 0),
        Line("default", N, "acme", "llm-1.5b.q8.queued", 1, 0, 0),
        Line("default", N, "ü/ .4,;", "add", 1, 0, 0),
        Line("default", Level.LOW, "acme", "add", 1, 0, 0),
        Line("other", N, "acme", "add", 1, 0, 0),
    ]


async def test_what_runs_and_what_waits_for_its_time_is_counted_beside_the_queued(store: Store) -> None:
    for state in (TaskState.RUNNING, TaskState.SCHEDULED, TaskState.RETRYING, TaskState.SUCCEEDED):
        await reach(store, state)
    assert list(await store.lines.lines()) == [Line("default", N, "acme", "add", 0, 1, 2)]


async def test_a_line_that_nobody_is_in_is_gone(store: Store) -> None:
    task = new_task()
    hold = await store.start(task)
    await store.outcomes.finish([Ending(*hold, TaskState.SUCCEEDED)])
    assert list(await store.lines.lines()) == []
    assert await store.queries.queue_counts() == []


async def test_those_before_a_moment_are_the_ones_that_were_queued_earlier(store: Store) -> None:
    times = await _one_after_another(store, [new_task(partition=number % 3) for number in range(5)])
    assert await _before(store, times[0]) == 0
    assert await _before(store, times[3]) == 3
    assert await _before(store, times[4] + 1) == 5


async def test_each_line_has_its_own_number_of_earlier_ones(store: Store) -> None:
    await _one_after_another(store, new_tasks(2, tenant="other"))
    [now] = await _one_after_another(store, [new_task()])
    await store.add(*new_tasks(3, tenant="other"), new_task(pool="else"))
    place = store.lines.place
    assert await place("default", N, "acme", "add", now) == 0
    assert await place("default", N, "other", "add", now) == 2
    assert await place("default", N, "other", "add", FAR_MS) == 5
    assert await place("else", N, "acme", "add", FAR_MS) == 1
    assert await place("els", N, "acme", "add", FAR_MS) == 0


async def test_a_place_in_a_line_is_the_number_of_earlier_ones_of_that_line(store: Store) -> None:
    await _one_after_another(store, [new_task(tenant="ü/ .4,;"), new_task(model="llm-1.5b.q8.queued")])
    times = await _one_after_another(store, [new_task(partition=number % 3) for number in range(4)])
    place = store.lines.place
    assert [await place("default", N, "acme", "add", time) for time in times] == [0, 1, 2, 3]
    assert await place("default", N, "acme", "llm-1.5b.q8.queued", FAR_MS) == 1
    assert await place("default", N, "ü/ .4,;", "add", FAR_MS) == 1
    assert await place("default", Level.LOW, "acme", "add", FAR_MS) == 0
    assert await place("default", N, "nobody", "add", FAR_MS) == 0


async def test_who_comes_back_stands_at_the_end_of_the_line(store: Store) -> None:
    first, second = new_tasks(2)
    times = await _one_after_another(store, [first, second])
    hold = await store.lease(first.id)
    assert await _before(store, times[1]) == 0
    await store.pass_ms(5)
    await store.leases.give_back([hold])
    again = (await store.read(first.id)).queue_time_ms
    assert again > times[1]
    assert (await _before(store, times[1]), await _before(store, again)) == (0, 1)


async def test_a_task_that_is_changed_goes_to_the_line_of_its_new_level(store: Store) -> None:
    task = new_task()
    await store.add(task)
    await store.queries.update([Update(task.id, 1, Level.HIGH, 0, 0, b"changed")], "acme")
    assert list(await store.lines.lines()) == [Line("default", Level.HIGH, "acme", "add", 1, 0, 0)]
    assert (await _before(store, FAR_MS, Level.HIGH), await _before(store, FAR_MS)) == (1, 0)


async def test_two_changes_of_a_task_in_one_call_leave_it_in_one_line(store: Store) -> None:
    task = new_task()
    await store.add(task)
    updates = [Update(task.id, 1, Level.HIGH, FAR_MS, 0, b"1"), Update(task.id, 2, Level.LOW, 0, 0, b"2")]
    assert (await store.queries.update(updates, "acme"))[0] == [Updated.UPDATED, Updated.UPDATED]
    assert await store.sweeps.promote([PARTITION], FAR_MS, {}, 10) == ([], [])
    assert list(await store.lines.lines()) == [Line("default", Level.LOW, "acme", "add", 1, 0, 0)]
    assert [await _before(store, FAR_MS, level) for level in (N, Level.HIGH, Level.LOW)] == [0, 0, 1]
    await store.lease(task.id, publication=3)
    assert list(await store.lines.lines()) == [Line("default", Level.LOW, "acme", "add", 0, 1, 0)]
    assert await _before(store, FAR_MS, Level.LOW) == 0


async def test_more_tasks_than_a_script_can_pass_at_once_are_all_in_line(store: Store) -> None:
    tasks = new_tasks(4_500, deadline_ms=FAR_MS)
    await store.add(*tasks)
    assert await _before(store, FAR_MS) == 4_500
    await store.queries.cancel([task.id for task in tasks], "acme", b"", b"")
    assert list(await store.lines.lines()) == []
    assert await store.sweeps.promote([PARTITION], FAR_MS, {}, 10) == ([], [])


async def _one_after_another(store: Store, tasks: Sequence[NewTask]) -> list[int]:
    """Create tasks at different times, and return when each was queued."""
    for task in tasks:
        await store.add(task)
        await store.pass_ms(5)
    return [(await store.read(task.id)).queue_time_ms for task in tasks]


async def _before(store: Store, time_ms: int, level: Level = N) -> int:
    return await store.lines.place("default", level, "acme", "add", time_ms)
