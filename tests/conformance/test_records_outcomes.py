"""What every OutcomeStore must do."""

import pytest

from scheduler.ports.records import Ending, Hold, OutputChunk, Written
from scheduler.states import TaskState
from tests.conformance.stores import PARTITION, Store, new_task, new_tasks


async def test_a_success_is_written_with_its_result(store: Store) -> None:
    task = new_task()
    await store.start(task)
    ending = Ending(task.id, 1, TaskState.SUCCEEDED, result=b"\x00result\xff")
    assert await store.outcomes.finish([ending]) == [Written.WRITTEN]
    record = await store.read(task.id)
    assert (record.state, record.result, record.error) == (TaskState.SUCCEEDED, b"\x00result\xff", b"")
    assert record.end_time_ms == record.history[-1].time_ms >= record.start_time_ms
    assert await store.counts() == (0, 0)


async def test_a_failure_is_written_with_its_error_and_reason(store: Store) -> None:
    task = new_task()
    await store.start(task)
    ending = Ending(task.id, 1, TaskState.FAILED, error=b"why", reason="MODEL_FAILED")
    assert await store.outcomes.finish([ending]) == [Written.WRITTEN]
    record = await store.read(task.id)
    assert (record.state, record.error, record.result) == (TaskState.FAILED, b"why", b"")
    assert record.history[-1].reason == "MODEL_FAILED"


async def test_a_result_is_left_out_when_it_is_not_asked_for(store: Store) -> None:
    task = new_task()
    await store.start(task)
    await store.outcomes.finish([Ending(task.id, 1, TaskState.SUCCEEDED, result=b"r")])
    [record] = await store.queries.get([task.id], include_result=False)
    assert record is not None
    assert (record.state, record.result) == (TaskState.SUCCEEDED, b"")


@pytest.mark.parametrize("state", [TaskState.SUCCEEDED, TaskState.FAILED, TaskState.EXPIRED])
async def test_repeating_an_ending_changes_nothing(store: Store, state: TaskState) -> None:
    task = new_task()
    await store.start(task)
    ending = Ending(task.id, 1, state, result=b"r", error=b"e", last_output=b"end")
    await store.outcomes.finish([ending])
    before = await store.read(task.id)
    await store.pass_ms(5)
    assert await store.outcomes.finish([ending]) == [Written.ALREADY]
    assert await store.read(task.id) == before
    assert await store.queries.output(task.id, 0, 10) == [(1, b"end")]
    assert await store.counts() == (0, 0)


async def test_mixed_endings_over_partitions_are_answered_in_order(store: Store) -> None:
    tasks = [new_task(partition=number % 2) for number in range(4)]
    await store.add(*tasks)
    for task in tasks[:3]:
        await store.lease(task.id)
    endings = [
        Ending(tasks[0].id, 1, TaskState.SUCCEEDED, result=b"0"),
        Ending(tasks[1].id, 1, TaskState.FAILED, error=b"1", last_output=b"end"),
        Ending(tasks[2].id, 2, TaskState.SUCCEEDED),
        Ending(tasks[3].id, 1, TaskState.SUCCEEDED),
    ]
    assert await store.outcomes.finish(endings) == [
        Written.WRITTEN,
        Written.WRITTEN,
        Written.FENCED,
        Written.FENCED,
    ]
    assert await store.counts() == (1, 1)


async def test_an_attempt_whose_lease_ran_out_is_fenced(store: Store) -> None:
    task = new_task()
    hold = await store.start(task, lease_ms=1)
    await store.pass_ms(5)
    await store.sweeps.expire_leases([PARTITION], 10, b"")
    late = Ending(hold.id, hold.attempt, TaskState.SUCCEEDED, result=b"late")
    assert await store.outcomes.finish([late]) == [Written.FENCED]
    await store.lease(task.id, publication=2)
    assert await store.outcomes.finish([late]) == [Written.FENCED]
    assert await store.outcomes.append_output([OutputChunk(task.id, 1, b"late")]) == [0]
    assert (await store.read(task.id)).result == b""


async def test_an_attempt_that_was_given_up_as_lost_is_fenced(store: Store) -> None:
    task = new_task(max_attempts=1)
    await store.start(task, lease_ms=1)
    await store.pass_ms(5)
    await store.sweeps.expire_leases([PARTITION], 10, b"lost")
    for state in (TaskState.FAILED, TaskState.SUCCEEDED):
        assert await store.outcomes.finish([Ending(task.id, 1, state)]) == [Written.FENCED]


async def test_a_cancelled_task_takes_no_ending_and_no_output(store: Store) -> None:
    task = new_task()
    await store.start(task)
    await store.queries.cancel([task.id], "acme", b"cancelled", b"")
    assert await store.outcomes.finish([Ending(task.id, 1, TaskState.SUCCEEDED)]) == [Written.FENCED]
    assert await store.outcomes.append_output([OutputChunk(task.id, 1, b"late")]) == [0]
    assert await store.queries.output(task.id, 0, 10) == []


async def test_a_missing_task_takes_no_ending(store: Store) -> None:
    assert await store.outcomes.finish([Ending(new_task().id, 1, TaskState.SUCCEEDED)]) == [Written.FENCED]


async def test_output_is_numbered_from_one_without_gaps_over_all_attempts(store: Store) -> None:
    task, other = new_tasks(2)
    await store.start(task, lease_ms=1)
    await store.start(other)
    chunks = [
        OutputChunk(task.id, 1, b"a", after=0),
        OutputChunk(other.id, 1, b"x", after=0),
        OutputChunk(task.id, 1, b"b", after=1),
        OutputChunk(task.id, 2, b"stale"),
    ]
    assert await store.outcomes.append_output(chunks) == [1, 1, 2, 0]
    await store.pass_ms(5)
    await store.sweeps.expire_leases([PARTITION], 10, b"")
    await store.lease(task.id, publication=2)
    assert await store.outcomes.append_output([OutputChunk(task.id, 2, b"c")]) == [3]
    ending = Ending(task.id, 2, TaskState.SUCCEEDED, last_output=b"end")
    assert await store.outcomes.finish([ending]) == [Written.WRITTEN]
    assert await store.queries.output(task.id, 0, 10) == [(1, b"a"), (2, b"b"), (3, b"c"), (4, b"end")]


async def test_output_that_is_appended_again_after_an_unknown_answer_is_there_once(store: Store) -> None:
    task = new_task()
    await store.start(task)
    first, second = OutputChunk(task.id, 1, b"a", after=0), OutputChunk(task.id, 1, b"b", after=1)
    for chunk, number in ((first, 1), (first, 1), (second, 2), (second, 2)):
        assert await store.outcomes.append_output([chunk]) == [number]
    assert await store.queries.output(task.id, 0, 10) == [(1, b"a"), (2, b"b")]


async def test_output_that_comes_again_after_later_output_is_there_once(store: Store) -> None:
    task = new_task()
    await store.start(task)
    first, second = OutputChunk(task.id, 1, b"a", after=0), OutputChunk(task.id, 1, b"b", after=1)
    for chunk, number in ((first, 1), (second, 2), (first, 1)):
        assert await store.outcomes.append_output([chunk]) == [number]
    await store.leases.give_back([Hold(task.id, 1)])
    await store.lease(task.id, publication=2)
    again, more = OutputChunk(task.id, 2, b"c"), OutputChunk(task.id, 2, b"d", after=3)
    for chunk, number in ((again, 3), (more, 4), (again, 3), (more, 4)):
        assert await store.outcomes.append_output([chunk]) == [number]
    assert await store.queries.output(task.id, 0, 10) == [(1, b"a"), (2, b"b"), (3, b"c"), (4, b"d")]


async def test_output_is_read_from_any_point_and_in_pieces(store: Store) -> None:
    task = new_task()
    await store.start(task)
    chunks = [OutputChunk(task.id, 1, b"%d" % number, after=number - 1) for number in range(1, 12)]
    await store.outcomes.append_output(chunks)
    assert await store.queries.output(task.id, 8, 2) == [(9, b"9"), (10, b"10")]
    assert await store.queries.output(task.id, 10, 5) == [(11, b"11")]
    assert await store.queries.output(task.id, 11, 5) == []


async def test_empty_batches_are_nothing(store: Store) -> None:
    assert await store.outcomes.finish([]) == []
    assert await store.outcomes.append_output([]) == []
