"""How long every store keeps what has ended."""

import pytest

from scheduler.ports.follow_ups import ChildVerdict, Release
from scheduler.ports.records import Ending, Wanted
from scheduler.ports.sweeps import Death
from scheduler.states import TaskState
from tests.conformance.lives import reach
from tests.conformance.stores import OTHER_PARTITION, PARTITION, Store, new_task

WAITING = [state for state in TaskState if not state.terminal]
TERMINAL = [state for state in TaskState if state.terminal]


@pytest.mark.parametrize("state", TERMINAL)
async def test_a_tenant_with_a_longer_retention_keeps_its_records(store: Store, state: TaskState) -> None:
    short = await reach(store, state)
    long = await reach(store, state, tenant="patient")
    await store.pass_ms(1_100)
    [gone, kept] = await store.queries.get([short.id, long.id], include_result=False)
    assert gone is None
    assert kept is not None
    assert await store.queries.list_ids("patient", "", 10) == [long.id]
    assert await store.queries.list_ids("acme", "", 10) == []


async def test_what_has_not_ended_never_expires(store: Store) -> None:
    tasks = [await reach(store, state) for state in WAITING]
    await store.pass_ms(1_100)
    assert [(await store.read(task.id)).state for task in tasks] == WAITING


async def test_every_way_to_end_begins_the_retention(store: Store) -> None:
    met, swept = new_task(deadline_ms=1), new_task(partition=9, deadline_ms=1)
    orphan = new_task(state=TaskState.BLOCKED, parents=[new_task(partition=OTHER_PARTITION).id])
    await store.add(met, swept, orphan)
    await store.leases.lease([Wanted(met.id, 1)], "runner-1", 60_000)
    await store.sweeps.expire_deadlines([9], 10)
    await store.follow_ups.release([Release(orphan.id, orphan.parents[0], ChildVerdict.FAIL)])
    await store.pass_ms(1_100)
    assert await store.queries.get([met.id, swept.id, orphan.id], include_result=False) == [None] * 3


async def test_every_way_to_use_up_attempts_keeps_the_record_as_a_dead_letter(store: Store) -> None:
    failed, late, crashed = [
        await reach(store, TaskState.RUNNING, max_attempts=1, lease_ms=1, partition=partition)
        for partition in (1, 2, 3)
    ]
    await store.outcomes.finish([Ending(failed.id, 1, TaskState.FAILED, retry_in_ms=0, last_output=b"end")])
    await store.sweeps.runner_died([Death(crashed.id, 1, charged=True)], "RUNNER_CRASHED", b"")
    await store.pass_ms(5)
    await store.sweeps.expire_leases([2], 10, b"")
    await store.pass_ms(1_100)
    kept = await store.queries.get([failed.id, late.id, crashed.id], include_result=False)
    assert [record and record.state for record in kept] == [TaskState.FAILED] * 3
    assert sorted(await store.dead_letters.dead_letters("acme", "", 10)) == sorted(
        [failed.id, late.id, crashed.id]
    )
    assert await store.queries.output(failed.id, 0, 10) == [(1, b"end")]


async def test_a_follow_up_outlives_the_record_it_speaks_of(store: Store) -> None:
    task = await reach(store, TaskState.SUCCEEDED)
    await store.pass_ms(1_100)
    assert await store.ended() == [("SUCCEEDED", task.id)]
    assert (await store.due()).follow_ups == [PARTITION]
