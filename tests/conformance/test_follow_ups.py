"""What every FollowUpStore must do, and what the feed of wakes must tell."""

from hashlib import sha1

import pytest

from scheduler.ports.follow_ups import ChildVerdict, Release, Released
from scheduler.ports.records import Ending, Lease, NewTask, Update, Wanted
from scheduler.ports.sweeps import Death
from scheduler.states import Level, TaskState
from tests.conformance.lives import reach
from tests.conformance.stores import FAR_MS, OTHER_PARTITION, PARTITION, Store, new_task, new_tasks

RUN, FAIL, CANCEL = ChildVerdict


async def _family(store: Store, parents: int = 2, **fields: object) -> tuple[list[NewTask], NewTask]:
    """Create parents and a child that is linked with all of them."""
    elders = new_tasks(parents, partition=OTHER_PARTITION)
    child = new_task(state=TaskState.BLOCKED, parents=[task.id for task in elders], **fields)
    await store.admission.mark_published(await store.add(*elders, child))
    states = await store.follow_ups.link([(task.id, child.id) for task in elders], "acme")
    assert states == [TaskState.QUEUED] * parents
    return elders, child


async def _cancel(store: Store, *tasks: NewTask) -> None:
    await store.queries.cancel([task.id for task in tasks], "acme", b"", b"")


async def test_endings_of_one_call_are_one_follow_up_until_it_is_done(store: Store) -> None:
    tasks = [*new_tasks(3), new_task(partition=9)]
    holds = [await store.start(task) for task in tasks]
    states = [TaskState.SUCCEEDED, TaskState.FAILED, TaskState.SUCCEEDED, TaskState.EXPIRED]
    await store.outcomes.finish([Ending(*hold, state) for hold, state in zip(holds, states, strict=True)])
    found = await store.follow_ups.follow_ups(range(64), 10)
    assert sorted(entry.partition for entry in found) == [PARTITION, 9]
    assert all(entry.parents == [] for entry in found)
    assert sorted(await store.ended()) == sorted(
        (state.name, task.id) for state, task in zip(states, tasks, strict=True)
    )
    assert await store.follow_ups.follow_ups(range(64), 10) == found
    for _ in range(2):
        await store.follow_ups.followed_up(found)
        assert await store.follow_ups.follow_ups(range(64), 10) == []
    assert (await store.due()).follow_ups == []


async def test_the_oldest_follow_ups_come_first_and_up_to_the_limit_of_each_partition(store: Store) -> None:
    tasks, others = new_tasks(12), new_tasks(3, partition=9)
    await store.add(*tasks, *others)
    for task in (*tasks, *others):
        await _cancel(store, task)
    found = await store.follow_ups.follow_ups([PARTITION, 9], 2)
    assert [entry.endings[0][1][0] for entry in found] == [
        *(task.id for task in tasks[:2]),
        *(task.id for task in others[:2]),
    ]
    seen: list[str] = []
    while found := await store.follow_ups.follow_ups([PARTITION], 5):
        seen += [entry.endings[0][1][0] for entry in found]
        await store.follow_ups.followed_up(found)
    assert seen == [task.id for task in tasks]
    assert await store.follow_ups.follow_ups([], 5) == []


async def test_the_last_parent_lets_its_child_begin(store: Store) -> None:
    (first, second), child = await _family(store)
    assert await store.follow_ups.release([Release(child.id, first.id, RUN)]) == ([Released.WAITING], [], [])
    # Repeating it strikes nothing else off.
    assert await store.follow_ups.release([Release(child.id, first.id, RUN)]) == ([Released.WAITING], [], [])
    [answer], [item], [ticket] = await store.follow_ups.release([Release(child.id, second.id, RUN)])
    assert answer is Released.QUEUED
    assert (item.id, item.publication, item.envelope) == (child.id, 1, child.envelope)
    assert await store.sweeps.unpublished([PARTITION], 0, 10) == [(ticket, [item])]
    assert await store.steps(child.id) == [("BLOCKED", ""), ("QUEUED", "PARENTS_ENDED")]
    await store.lease(child.id, publication=1)
    assert await store.follow_ups.release([Release(child.id, second.id, RUN)]) == ([Released.GONE], [], [])


async def test_a_child_whose_own_time_has_not_come_is_scheduled(store: Store) -> None:
    now = await store.now_ms()
    [parent], child = await _family(store, 1, not_before_ms=now + 60)
    [answer], items, tickets = await store.follow_ups.release([Release(child.id, parent.id, RUN)])
    assert answer is Released.SCHEDULED
    assert [(item.id, item.publication) for item in items] == [(child.id, 0)]
    await store.admission.mark_published(tickets)
    await store.pass_ms(65)
    [woken], _ = await store.sweeps.wake([PARTITION], 10)
    assert (woken.id, woken.publication) == (child.id, 1)
    assert await store.steps(child.id) == [
        ("BLOCKED", ""),
        ("SCHEDULED", "PARENTS_ENDED"),
        ("QUEUED", "DUE"),
    ]


@pytest.mark.parametrize(
    ("verdict", "reason", "state"),
    [
        (FAIL, "PARENT_FAILED", TaskState.FAILED),
        (FAIL, "PARENT_OUTPUT_UNUSABLE", TaskState.FAILED),
        (CANCEL, "TASK_CANCELLED", TaskState.CANCELLED),
    ],
)
async def test_a_parent_that_failed_ends_its_child_whatever_the_others_do(
    store: Store, verdict: ChildVerdict, reason: str, state: TaskState
) -> None:
    (first, second), child = await _family(store)
    release = Release(child.id, first.id, verdict, error=b"why", reason=reason)
    assert await store.follow_ups.release([release]) == ([Released.ENDED], [], [])
    assert await store.follow_ups.release([release]) == ([Released.GONE], [], [])
    assert await store.follow_ups.release([Release(child.id, second.id, RUN)]) == ([Released.GONE], [], [])
    record = await store.read(child.id)
    assert (record.state, record.error, record.history[-1].reason) == (state, b"why", reason)
    assert await store.ended() == [(state.name, child.id)]
    assert (await store.counts(), await store.waiting()) == ((2, 0), 0)
    assert await store.dead_letters.dead_letters("acme", "", 10) == []


async def test_a_held_child_waits_for_its_input(store: Store) -> None:
    (first, second), child = await _family(store)
    held = [Release(child.id, parent.id, RUN, hold=True) for parent in (first, second)]
    assert await store.follow_ups.release(held) == ([Released.WAITING, Released.READY], [], [])
    assert await store.follow_ups.release(held) == ([Released.READY, Released.READY], [], [])
    assert (await store.read(child.id)).state is TaskState.BLOCKED
    filled = Release(child.id, second.id, RUN, envelope=b"filled")
    [answer], [item], _ = await store.follow_ups.release([filled])
    assert (answer, item.envelope) == (Released.QUEUED, b"filled")
    assert (await store.read(child.id)).envelope == b"filled"


async def test_a_held_child_can_still_fail(store: Store) -> None:
    [parent], child = await _family(store, 1)
    await store.follow_ups.release([Release(child.id, parent.id, RUN, hold=True)])
    unusable = Release(child.id, parent.id, FAIL, b"why", "PARENT_OUTPUT_UNUSABLE")
    assert await store.follow_ups.release([unusable]) == ([Released.ENDED], [], [])


async def test_a_task_that_is_not_blocked_is_not_released(store: Store) -> None:
    task = new_task()
    await store.add(task)
    releases = [
        Release(name, task.id, verdict) for name in (task.id, new_task().id) for verdict in ChildVerdict
    ]
    assert await store.follow_ups.release(releases) == ([Released.GONE] * 6, [], [])
    assert (await store.read(task.id)).state is TaskState.QUEUED
    assert await store.follow_ups.release([]) == ([], [], [])


async def test_releases_over_partitions_are_answered_in_order(store: Store) -> None:
    parent = new_task(partition=OTHER_PARTITION)
    children = [
        new_task(partition=number % 3, state=TaskState.BLOCKED, parents=[parent.id]) for number in range(6)
    ]
    await store.add(parent, *children)
    releases = [
        Release(child.id, parent.id, FAIL if number == 4 else RUN) for number, child in enumerate(children)
    ]
    answers, items, tickets = await store.follow_ups.release(releases)
    assert answers == [Released.ENDED if number == 4 else Released.QUEUED for number in range(6)]
    assert sorted(item.id for item in items) == sorted(
        child.id for number, child in enumerate(children) if number != 4
    )
    assert sorted(ticket.partition for ticket in tickets) == [0, 1, 2]


async def test_a_parent_that_ends_after_the_link_names_its_children(store: Store) -> None:
    wakes = store.events.wakes()
    assert await anext(wakes) == []
    [parent], child = await _family(store, 1)
    other = new_task(partition=OTHER_PARTITION)
    await store.add(other)
    await _cancel(store, other)
    await _cancel(store, parent)
    assert await anext(wakes) == [OTHER_PARTITION]
    [_, entry] = await store.follow_ups.follow_ups([OTHER_PARTITION], 10)
    assert entry.parents == [parent.id]
    assert await store.follow_ups.children([parent.id, other.id, child.id]) == [[child.id], [], []]
    await store.follow_ups.followed_up([entry])
    assert await store.follow_ups.children([parent.id]) == [[]]
    assert (await store.read(child.id)).state is TaskState.BLOCKED


async def test_a_parent_that_ended_before_the_link_keeps_no_list(store: Store) -> None:
    for state in (TaskState.SUCCEEDED, TaskState.FAILED, TaskState.CANCELLED, TaskState.EXPIRED):
        parent = await reach(store, state)
        child = new_task(partition=3, state=TaskState.BLOCKED, parents=[parent.id])
        await store.add(child)
        assert await store.follow_ups.link([(parent.id, child.id)], "acme") == [state]
        assert await store.follow_ups.children([parent.id]) == [[]]
    entries = await store.follow_ups.follow_ups([PARTITION], 10)
    assert [entry.parents for entry in entries] == [[]] * 4


async def test_linking_answers_the_state_of_each_parent_and_only_of_the_tenants_own(store: Store) -> None:
    running = await reach(store, TaskState.RUNNING, partition=3)
    foreign = await reach(store, TaskState.QUEUED, tenant="other")
    child = new_task()
    pairs = [(name, child.id) for name in (running.id, foreign.id, new_task().id, "nonsense", running.id)]
    assert await store.follow_ups.link(pairs, "acme") == [
        TaskState.RUNNING,
        None,
        None,
        None,
        TaskState.RUNNING,
    ]
    assert await store.follow_ups.children([foreign.id, running.id]) == [[], [child.id]]
    assert await store.follow_ups.link([], "acme") == []
    assert await store.follow_ups.children([]) == []


async def test_children_stay_linked_while_their_parent_is_queued_again(store: Store) -> None:
    [parent], child = await _family(store, 1)
    await store.leases.give_back([await store.lease(parent.id)])
    hold = await store.lease(parent.id, 2)
    await store.outcomes.finish([Ending(*hold, TaskState.FAILED, retry_in_ms=0)])
    await store.sweeps.wake([OTHER_PARTITION], 10)
    hold = await store.lease(parent.id, 3)
    await store.outcomes.finish([Ending(*hold, TaskState.SUCCEEDED)])
    [entry] = await store.follow_ups.follow_ups([OTHER_PARTITION], 10)
    assert (entry.parents, await store.follow_ups.children(entry.parents)) == ([parent.id], [[child.id]])


async def test_every_way_to_end_a_parent_names_it(store: Store) -> None:
    wakes = store.events.wakes()
    await anext(wakes)
    parents = {
        "deadline": await reach(store, TaskState.QUEUED, deadline_ms=1),
        "lease": await reach(store, TaskState.RUNNING, max_attempts=1, lease_ms=1, partition=8),
        "met": await reach(store, TaskState.QUEUED, partition=9, deadline_ms=1),
        "death": await reach(store, TaskState.RUNNING, partition=10, max_attempts=1),
    }
    grandparent = new_task(partition=12)
    parents["release"] = new_task(partition=11, state=TaskState.BLOCKED, parents=[grandparent.id])
    await store.add(parents["release"])
    child = new_task(partition=3)
    await store.follow_ups.link([(parent.id, child.id) for parent in parents.values()], "acme")
    await store.sweeps.expire_deadlines([PARTITION], 10)
    await store.pass_ms(5)
    await store.sweeps.expire_leases([8], 10, b"")
    await store.leases.lease([Wanted(parents["met"].id, 1)], "runner-1", 60_000)
    await store.sweeps.runner_died([Death(parents["death"].id, 1, charged=True)], "RUNNER_CRASHED", b"")
    await store.follow_ups.release([Release(parents["release"].id, grandparent.id, FAIL)])
    woken: list[int] = []
    while len(woken) < 5:
        woken += await anext(wakes)
    assert woken == [PARTITION, 8, 9, 10, 11]
    entries = await store.follow_ups.follow_ups(range(64), 10)
    assert sorted(parent for entry in entries for parent in entry.parents) == sorted(
        parent.id for parent in parents.values()
    )


async def test_a_thousand_children_are_linked_and_released(store: Store) -> None:
    parent = new_task(partition=OTHER_PARTITION)
    children = [
        task
        for partition in range(10)
        for task in new_tasks(100, partition=partition, state=TaskState.BLOCKED, parents=[parent.id])
    ]
    await store.add(parent, *children)
    await store.follow_ups.link([(parent.id, child.id) for child in children], "acme")
    await _cancel(store, parent)
    [entry] = await store.follow_ups.follow_ups([OTHER_PARTITION], 10)
    [found] = await store.follow_ups.children(entry.parents)
    assert sorted(found) == sorted(child.id for child in children)
    answers, items, _ = await store.follow_ups.release([Release(name, parent.id, RUN) for name in found])
    assert (set(answers), len(items)) == ({Released.QUEUED}, 1_000)
    assert (await store.counts(), await store.waiting()) == ((1_000, 0), 0)


async def test_a_task_of_a_thousand_parents_waits_for_the_last(store: Store) -> None:
    elders, child = await _family(store, 1_000)
    releases = [Release(child.id, parent.id, RUN) for parent in elders]
    answers, _, _ = await store.follow_ups.release(releases[:-1])
    assert set(answers) == {Released.WAITING}
    assert (await store.follow_ups.release(releases[-1:]))[0] == [Released.QUEUED]


async def test_a_blocked_task_cannot_be_leased_and_keeps_its_parents_through_an_update(store: Store) -> None:
    [parent], child = await _family(store, 1)
    for publication in (0, 1):
        [reply] = await store.leases.lease([Wanted(child.id, publication)], "runner-1", 60_000)
        assert reply.verdict is Lease.STALE
    changed = Update(child.id, 0, Level.HIGH, 0, FAR_MS, b"changed")
    await store.queries.update([changed], "acme")
    [answer], _, _ = await store.follow_ups.release([Release(child.id, parent.id, RUN)])
    assert answer is Released.SCHEDULED
    assert (await store.read(child.id)).envelope == b"changed"


async def test_outputs_are_not_put_into_an_envelope_that_was_changed_meanwhile(store: Store) -> None:
    [parent], child = await _family(store, parents=1)
    stale = sha1(b"another envelope", usedforsecurity=False).hexdigest()
    fresh = sha1(child.envelope, usedforsecurity=False).hexdigest()
    filled = Release(child.id, parent.id, RUN, envelope=b"filled", replaces=stale)
    assert (await store.follow_ups.release([filled]))[0] == [Released.READY]
    assert (await store.read(child.id)).envelope == child.envelope
    answers, [again], _ = await store.follow_ups.release([filled._replace(replaces=fresh)])
    assert (answers, again.envelope) == ([Released.QUEUED], b"filled")


async def test_a_hastened_ticket_is_due_at_once_and_a_marked_one_stays_gone(store: Store) -> None:
    tickets = await store.add(new_task())
    assert await store.sweeps.unpublished([PARTITION], 60_000, 10) == []
    await store.admission.hasten(tickets)
    assert (await store.due(60_000)).unpublished == [PARTITION]
    [(ticket, [task])] = await store.sweeps.unpublished([PARTITION], 60_000, 10)
    assert (ticket, task.publication) == (tickets[0], 1)
    await store.admission.mark_published(tickets)
    await store.admission.hasten(tickets)
    assert (await store.due(60_000)).unpublished == []
