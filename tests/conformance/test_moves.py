"""Every move of the table, on every store: what it writes, what it tells, what it leaves behind, and whom it fences."""

from itertools import product

import pytest

from scheduler.ports.follow_ups import ChildVerdict
from scheduler.ports.records import Ending, Hold, Lease, OutputChunk, Record, Wanted, Written
from scheduler.ports.sweeps import Death
from scheduler.states import TABLE, WAITING, Event, Move, TaskState
from tests.conformance.lives import (
    WAYS,
    cancel,
    expire_deadlines,
    expire_leases,
    finish,
    give_back,
    lease,
    promote,
    reach,
    release,
    runner_died,
    unshelve,
    update,
    wake,
)
from tests.conformance.stores import FAR_MS, PARTITION, Store
from tests.conformance.test_events import take

each_move = pytest.mark.parametrize("move", TABLE, ids=lambda move: f"{move.before.name}-{move.event}")
TERMINAL = sorted(state for state in TaskState if state.terminal)


def test_there_is_a_way_for_every_move_of_the_table() -> None:
    assert set(WAYS) == {(move.before, move.event) for move in TABLE}


@each_move
async def test_a_move_writes_its_state_its_reason_and_its_numbers(store: Store, move: Move) -> None:
    way = WAYS[move.before, move.event]
    task = await reach(store, move.before, **way.fields)
    before = await store.read(task.id)
    assert before.state is move.before
    await way.happen(store, task)
    after = await store.read(task.id)
    assert (after.state, after.history[-1].state) == (move.after, move.after)
    assert after.history[-1].reason == way.reason
    assert after.history[: len(before.history)] == before.history
    assert after.publication - before.publication == (move.after is TaskState.QUEUED)
    assert after.attempt - before.attempt == (move.event is Event.LEASE)
    assert after.uncharged - before.uncharged == (move.event is Event.RETURN)
    assert after.create_time_ms == before.create_time_ms
    assert after.end_time_ms == (after.history[-1].time_ms if move.after.terminal else 0)


@each_move
async def test_counters_are_exact_after_a_move(store: Store, move: Move) -> None:
    way = WAYS[move.before, move.event]
    task = await reach(store, move.before, **way.fields)
    # A BLOCKED task brings a QUEUED parent with it.
    parents = len(task.parents)
    assert await _counts(store) == _expected(move.before, parents)
    await way.happen(store, task)
    assert await _counts(store) == _expected(move.after, parents)


@each_move
async def test_a_move_is_told_once_with_its_state_and_attempt(store: Store, move: Move) -> None:
    way = WAYS[move.before, move.event]
    task = await reach(store, move.before, **way.fields)
    changes, stopped = store.events.changes(), store.events.cancellations()
    await anext(changes)
    await anext(stopped)
    await way.happen(store, task)
    told = await take(changes, 2 if way.happen.__name__ == "shorten_and_expire" else 1)
    assert told[-1][:3] == (task.id, move.after, (await store.read(task.id)).attempt)
    if (move.before, move.event) == (TaskState.RUNNING, Event.CANCEL):
        assert await take(stopped, 1) == [task.id]


@each_move
async def test_an_ending_has_one_follow_up_and_leaves_nothing_to_sweep(store: Store, move: Move) -> None:
    way = WAYS[move.before, move.event]
    task = await reach(store, move.before, **way.fields)
    await way.happen(store, task)
    await store.pass_ms(5)
    if not move.after.terminal:
        assert await store.ended() == []
        return
    assert await store.ended() == [(move.after.name, task.id)]
    due = await store.due()
    assert (due.leases, due.timers, due.deadlines, due.follow_ups) == ([], [], [], [PARTITION])
    assert due.next_in_ms == -1
    lettered = move.event is Event.ATTEMPTS_EXHAUSTED
    assert await store.dead_letters.dead_letters("acme", "", 10) == [task.id] * lettered


@each_move
async def test_what_held_the_task_before_a_move_is_fenced_after_it(store: Store, move: Move) -> None:
    way = WAYS[move.before, move.event]
    task = await reach(store, move.before, **way.fields)
    publication = (await store.read(task.id)).publication
    hold = Hold(task.id, (await store.read(task.id)).attempt)
    await way.happen(store, task)
    after = await store.read(task.id)
    assert await store.leases.renew([hold], 60_000) == [False]
    assert await store.leases.give_back([hold]) == ([], [])
    assert await store.outcomes.append_output([OutputChunk(*_pair(hold), b"late")]) == [0]
    assert await store.sweeps.runner_died([Death(*_pair(hold), charged=True)], "RUNNER_CRASHED", b"") == 0
    [late] = await store.outcomes.finish([Ending(*_pair(hold), TaskState.SUCCEEDED, b"late")])
    assert late is not Written.WRITTEN
    if move.before is TaskState.RUNNING and move.event not in _RUNNERS_OWN:
        assert late is Written.FENCED
    [reply] = await store.leases.lease([Wanted(task.id, publication)], "runner-2", 60_000)
    assert reply.verdict is _verdict(after, publication)
    assert await store.read(task.id) == after


async def test_nothing_moves_a_task_that_has_ended(store: Store) -> None:
    tasks = [await reach(store, state) for state in TERMINAL]
    before = [await store.read(task.id) for task in tasks]
    counts, ended = await _counts(store), await store.ended()
    happenings = [
        wake,
        expire_deadlines,
        expire_leases,
        cancel,
        lease,
        unshelve,
        promote,
        give_back,
        runner_died,
        finish(TaskState.SUCCEEDED),
        finish(TaskState.FAILED, 0),
        finish(TaskState.EXPIRED),
        release(ChildVerdict.RUN),
        release(ChildVerdict.FAIL, "PARENT_FAILED"),
        release(ChildVerdict.CANCEL),
        update(),
        update(FAR_MS),
    ]
    for happen, task in product(happenings, tasks):
        await happen(store, task)
    assert [await store.read(task.id) for task in tasks] == before
    assert (await _counts(store), await store.ended()) == (counts, ended)
    assert await store.dead_letters.dead_letters("acme", "", 10) == []


_RUNNERS_OWN = {Event.SUCCEED, Event.FAIL, Event.RETRY, Event.EXPIRE, Event.ATTEMPTS_EXHAUSTED}
"""After these a late ending of the same attempt may be its repetition."""


async def _counts(store: Store) -> tuple[int, int, int]:
    return *await store.counts(), await store.waiting()


def _expected(state: TaskState, parents: int) -> tuple[int, int, int]:
    queued, running = state is TaskState.QUEUED, state is TaskState.RUNNING
    return queued + parents, int(running), int(state in WAITING)


def _verdict(record: Record, publication: int) -> Lease:
    if record.publication == publication and record.state is TaskState.RUNNING:
        return Lease.HELD
    if record.publication == publication and record.state is TaskState.EXPIRED:
        return Lease.EXPIRED
    return Lease.STALE


def _pair(hold: Hold) -> tuple[str, int]:
    return hold.id, hold.attempt
