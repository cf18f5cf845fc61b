"""What every AnswerStore must do, and what an AdmissionStore does with tasks whose answer is known."""

from typing import Any

from scheduler.ports.answers import CACHED, Answer, Answered, Closed, RunOutcome
from scheduler.ports.records import Admitted, Ending, Hold, NewTask, OutputChunk
from scheduler.states import TaskState
from tests.conformance.lives import reach
from tests.conformance.stores import OTHER_PARTITION, PARTITION, Store, new_task
from tests.conformance.test_events import take

KNOWN = Answer(TaskState.SUCCEEDED, b"\x00result\xff", CACHED, (b"one", b"two"), b"void")
FAULT = Answer(TaskState.FAILED, b"why", "INVALID_INPUT", (b"end",), b"void")
GONE = RunOutcome(TaskState.QUEUED)


def known(**fields: Any) -> NewTask:
    asked = {name: fields.pop(name) for name in ("key", "deadline_ms") if name in fields}
    task = new_task(state=TaskState.SUCCEEDED, **asked)
    return task._replace(result=b"r", reason=CACHED, **fields)


async def test_queued_tasks_end_with_an_answer_that_is_known(store: Store) -> None:
    tasks = [new_task(partition=partition) for partition in (PARTITION, OTHER_PARTITION, PARTITION)]
    await store.add(*tasks)
    ends = [KNOWN, KNOWN, FAULT]
    answered = [Answered(task.id, 1, answer) for task, answer in zip(tasks, ends, strict=True)]
    assert await store.answers.answer(answered) == [Closed.ENDED] * 3
    for task in tasks[:2]:
        record = await store.read(task.id)
        assert (record.state, record.attempt, record.result) == (TaskState.SUCCEEDED, 0, KNOWN.body)
        assert (record.history[-1].reason, record.start_time_ms) == (CACHED, 0)
        assert await store.queries.output(task.id, 0, 9) == [(1, b"one"), (2, b"two")]
    record = await store.read(tasks[2].id)
    assert (record.state, record.error, record.result) == (TaskState.FAILED, b"why", b"")
    assert await store.counts() == (0, 0)
    ended = await store.follow_ups.follow_ups([PARTITION, OTHER_PARTITION], 9)
    assert sorted(task_id for one in ended for _, ids in one.endings for task_id in ids) == sorted(
        task.id for task in tasks
    )


async def test_answering_again_or_with_an_old_number_changes_nothing(store: Store) -> None:
    task = new_task()
    await store.add(task)
    assert await store.answers.answer([Answered(task.id, 7, KNOWN)]) == [Closed.STALE]
    assert await store.answers.answer([Answered(task.id, 1, KNOWN)]) == [Closed.ENDED]
    before = await store.read(task.id)
    assert await store.answers.answer([Answered(task.id, 1, FAULT)]) == [Closed.STALE]
    assert await store.read(task.id) == before
    assert len(await store.queries.output(task.id, 0, 9)) == 2


async def test_a_task_that_runs_is_held_and_one_that_was_cancelled_or_waits_is_stale(store: Store) -> None:
    running = await reach(store, TaskState.RUNNING)
    cancelled = await reach(store, TaskState.CANCELLED)
    waiting = await reach(store, TaskState.SCHEDULED)
    answered = [
        Answered(running.id, 1, KNOWN),
        Answered(cancelled.id, 1, KNOWN),
        Answered(waiting.id, 0, KNOWN),
    ]
    verdicts = await store.answers.answer(answered)
    assert verdicts == [Closed.HELD, Closed.STALE, Closed.STALE]
    assert (await store.read(running.id)).state is TaskState.RUNNING


async def test_output_of_an_earlier_attempt_is_voided_before_the_answer(store: Store) -> None:
    task = new_task()
    hold = await store.start(task)
    await store.outcomes.append_output([OutputChunk(task.id, hold.attempt, b"early", 0)])
    await store.leases.give_back([hold])
    assert await store.answers.answer([Answered(task.id, 2, KNOWN)]) == [Closed.ENDED]
    chunks = await store.queries.output(task.id, 0, 9)
    assert chunks == [(1, b"early"), (2, b"void"), (3, b"one"), (4, b"two")]


async def test_a_deadline_has_no_power_over_what_was_answered(store: Store) -> None:
    task = new_task(deadline_ms=await store.now_ms() + 50)
    await store.add(task)
    await store.answers.answer([Answered(task.id, 1, KNOWN)])
    await store.pass_ms(100)
    await store.sweeps.expire_deadlines([PARTITION], 10)
    assert (await store.read(task.id)).state is TaskState.SUCCEEDED


async def test_a_task_whose_deadline_has_passed_expires_although_its_answer_is_there(store: Store) -> None:
    task = new_task(deadline_ms=await store.now_ms() + 50)
    await store.add(task)
    await store.pass_ms(100)
    answered = [Answered(task.id, 1, KNOWN)]
    assert await store.answers.answer(answered) == [Closed.EXPIRED]
    record = await store.read(task.id)
    assert (record.state, record.result, record.history[-1].reason) == (
        TaskState.EXPIRED,
        b"",
        "WHILE_QUEUED",
    )
    assert await store.queries.output(task.id, 0, 9) == []
    assert await store.counts() == (0, 0)
    assert await store.answers.answer(answered) == [Closed.EXPIRED]


async def test_an_answered_task_is_kept_as_long_as_any_that_ended(store: Store) -> None:
    task, born = new_task(), known(outputs=(b"end",))
    await store.add(task, born)
    await store.answers.answer([Answered(task.id, 1, KNOWN)])
    await store.pass_ms(1_100)
    assert await store.queries.get([task.id, born.id], include_result=True) == [None, None]
    assert await store.queries.output(task.id, 0, 9) == []
    assert await store.queries.output(born.id, 0, 9) == []


async def test_a_task_begins_and_ends_with_an_answer_that_is_known(store: Store) -> None:
    ordinary, born = new_task(), known(outputs=(b"one", b"end"), key="key", deadline_ms=1)
    again = known(key="key")
    feed = store.events.changes()
    assert await anext(feed) == []
    admissions, tickets = await store.admission.create([ordinary, born])
    told = await take(feed, 2)
    assert [one.verdict for one in admissions] == [Admitted.CREATED] * 2
    assert [one.state for one in admissions] == [TaskState.QUEUED, TaskState.SUCCEEDED]
    assert {change.id: change.state for change in told}[born.id] is TaskState.SUCCEEDED
    record = await store.read(born.id)
    assert (record.state, record.result, record.publication) == (TaskState.SUCCEEDED, b"r", 0)
    assert [(step.state, step.reason) for step in record.history] == [(TaskState.SUCCEEDED, CACHED)]
    assert record.create_time_ms == record.end_time_ms == record.history[0].time_ms
    assert await store.queries.output(born.id, 0, 9) == [(1, b"one"), (2, b"end")]
    assert await store.queries.list_ids("acme", "", 9) == sorted([ordinary.id, born.id], reverse=True)
    assert await store.counts() == (1, 0)
    # Its key is taken, it is on no ticket, and its end is followed up.
    [repeated], no_tickets = await store.admission.create([again])
    assert (repeated.verdict, repeated.task_id, repeated.state) == (
        Admitted.EXISTING,
        born.id,
        TaskState.SUCCEEDED,
    )
    assert no_tickets == []
    assert all(born.id not in ticket.member for ticket in tickets)
    [follow_up] = await store.follow_ups.follow_ups([PARTITION], 9)
    assert follow_up.endings == [(TaskState.SUCCEEDED, [born.id])]


async def test_creating_a_known_answer_again_changes_nothing(store: Store) -> None:
    born = known(outputs=(b"end",))
    await store.add(born)
    before = await store.read(born.id)
    [admission], tickets = await store.admission.create([born])
    assert (admission.verdict, admission.state, tickets) == (Admitted.CREATED, TaskState.SUCCEEDED, [])
    assert await store.read(born.id) == before
    assert await store.queries.output(born.id, 0, 9) == [(1, b"end")]


async def test_a_child_of_a_parent_that_was_born_ended_does_not_wait_for_it(store: Store) -> None:
    born = known()
    child = new_task(partition=OTHER_PARTITION, state=TaskState.BLOCKED, parents=(born.id,))
    await store.add(born, child)
    assert await store.follow_ups.link([(born.id, child.id)], "acme") == [TaskState.SUCCEEDED]


async def test_what_runs_came_to_is_read(store: Store) -> None:
    done = await reach(store, TaskState.RUNNING)
    await store.outcomes.append_output([OutputChunk(done.id, 1, b"a", 0)])
    ending = Ending(done.id, 1, TaskState.SUCCEEDED, result=b"res\x00ult", last_output=b"b")
    await store.outcomes.finish([ending])
    failed = await reach(store, TaskState.RUNNING, partition=OTHER_PARTITION)
    await store.outcomes.finish([Ending(failed.id, 1, TaskState.FAILED, error=b"why")])
    again = await reach(store, TaskState.RETRYING)
    running = await reach(store, TaskState.RUNNING)
    asked = [Hold(done.id, 1), Hold(failed.id, 1), Hold(again.id, 1), Hold(running.id, 1), Hold(done.id, 2)]
    assert await store.answers.outcomes(asked, 1 << 20) == [
        RunOutcome(TaskState.SUCCEEDED, b"res\x00ult", (b"a", b"b")),
        RunOutcome(TaskState.FAILED, b"why"),
        *[GONE] * 3,
    ]
    assert await store.answers.outcomes([Hold(done.id, 1)], 3) == [RunOutcome(TaskState.SUCCEEDED)]
    assert await store.answers.outcomes([Hold(done.id, 1)], 8) == [
        RunOutcome(TaskState.SUCCEEDED, b"res\x00ult", (b"a", b"b"))
    ]
