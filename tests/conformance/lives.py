"""Brings a task into any state, and lets any event of the table happen to it, through the ports alone."""

from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from scheduler.ports.answers import CACHED, Answer, Answered
from scheduler.ports.follow_ups import ChildVerdict, Release
from scheduler.ports.records import Ending, Hold, NewTask, Update, Wanted
from scheduler.ports.sweeps import Death
from scheduler.states import Event, Level, TaskState
from tests.conformance.stores import FAR_MS, OTHER_PARTITION, PARTITION, Store, new_task

S, E = TaskState, Event
Happening = Callable[[Store, NewTask], Awaitable[object]]


async def reach(
    store: Store, state: TaskState, *, retry_in_ms: int = 60_000, lease_ms: int = 60_000, **fields: Any
) -> NewTask:
    """Create a task and bring it into a state."""
    match state:
        case S.SCHEDULED:
            task = new_task(**{"state": S.SCHEDULED, "not_before_ms": FAR_MS, **fields})
            await store.add(task)
        case S.BLOCKED:
            parent = new_task(partition=OTHER_PARTITION, tenant=fields.get("tenant", "acme"))
            task = new_task(state=S.BLOCKED, parents=[parent.id], **fields)
            await store.add(parent, task)
            await store.follow_ups.link([(parent.id, task.id)], task.tenant)
        case S.QUEUED:
            task = new_task(**fields)
            await store.add(task)
        case S.RUNNING:
            task = new_task(**fields)
            await store.start(task, lease_ms)
        case S.RETRYING:
            task = await reach(store, S.RUNNING, **fields)
            await finish(S.FAILED, retry_in_ms)(store, task)
        case S.CANCELLED:
            task = await reach(store, S.QUEUED, **fields)
            await cancel(store, task)
        case _:
            task = await reach(store, S.RUNNING, **fields)
            await finish(state)(store, task)
    return task


async def wake(store: Store, _: NewTask) -> object:
    return await store.sweeps.wake([PARTITION], 10)


async def expire_deadlines(store: Store, _: NewTask) -> object:
    return await store.sweeps.expire_deadlines([PARTITION], 10)


async def expire_leases(store: Store, _: NewTask) -> object:
    await store.pass_ms(5)
    return await store.sweeps.expire_leases([PARTITION], 10, b"lost")


def answer(state: TaskState, reason: str = CACHED) -> Happening:
    async def happen(store: Store, task: NewTask) -> object:
        publication = (await store.read(task.id)).publication
        known = Answer(state, b"known", reason, (b"chunk", b"end"), b"void")
        return await store.answers.answer([Answered(task.id, publication, known)])

    return happen


async def cancel(store: Store, task: NewTask) -> object:
    return await store.queries.cancel([task.id], task.tenant, b"cancelled", b"")


async def lease(store: Store, task: NewTask) -> object:
    record = await store.read(task.id)
    return await store.leases.lease([Wanted(task.id, record.publication)], "runner-1", 60_000)


async def unshelve(store: Store, task: NewTask) -> object:
    record = await store.read(task.id)
    await store.shelves.shelve("model/a", [(task.id, record.publication)])
    return await store.shelves.unshelve("model/a", 10)


async def promote(store: Store, _: NewTask) -> object:
    return await store.sweeps.promote([PARTITION], FAR_MS, {}, 10)


async def give_back(store: Store, task: NewTask) -> object:
    return await store.leases.give_back([Hold(task.id, (await store.read(task.id)).attempt)])


async def runner_died(store: Store, task: NewTask) -> object:
    death = Death(task.id, (await store.read(task.id)).attempt, charged=True)
    return await store.sweeps.runner_died([death], "RUNNER_CRASHED", b"crashed")


def finish(state: TaskState, retry_in_ms: int = -1) -> Happening:
    """Write an ending of the present attempt."""

    async def happen(store: Store, task: NewTask) -> object:
        attempt = (await store.read(task.id)).attempt
        ending = Ending(task.id, attempt, state, error=b"why", reason="WORD", retry_in_ms=retry_in_ms)
        return await store.outcomes.finish([ending])

    return happen


def release(verdict: ChildVerdict, reason: str = "") -> Happening:
    """Let the last parent of a task end."""

    async def happen(store: Store, task: NewTask) -> object:
        parent = task.parents[0] if task.parents else task.id
        return await store.follow_ups.release([Release(task.id, parent, verdict, b"why", reason)])

    return happen


def update(not_before_ms: int = 0, deadline_ms: int = 0) -> Happening:
    """Change a task."""

    async def happen(store: Store, task: NewTask) -> object:
        record = await store.read(task.id)
        changed = Update(task.id, record.publication, Level.HIGH, deadline_ms, not_before_ms, b"changed")
        return await store.queries.update([changed], task.tenant)

    return happen


async def shorten_and_expire(store: Store, task: NewTask) -> object:
    """Let the deadline of a task pass that had none when it was leased."""
    await update(deadline_ms=1)(store, task)
    return await expire_deadlines(store, task)


class Way(NamedTuple):
    """How an event comes about for a task in a state."""

    happen: Happening
    fields: dict[str, Any]
    """What the task must be like before."""
    reason: str
    """What the history says then."""


def _expiry(state: TaskState) -> Way:
    return Way(expire_deadlines, {"deadline_ms": 1}, f"WHILE_{state.name}")


WAYS: dict[tuple[TaskState, Event], Way] = {
    (S.SCHEDULED, E.DUE): Way(wake, {"not_before_ms": 1}, "DUE"),
    (S.SCHEDULED, E.UPDATE): Way(update(FAR_MS), {}, "UPDATED"),
    (S.SCHEDULED, E.CANCEL): Way(cancel, {}, ""),
    (S.SCHEDULED, E.EXPIRE): _expiry(S.SCHEDULED),
    (S.BLOCKED, E.UNBLOCK): Way(release(ChildVerdict.RUN), {}, "PARENTS_ENDED"),
    (S.BLOCKED, E.POSTPONE): Way(release(ChildVerdict.RUN), {"not_before_ms": FAR_MS}, "PARENTS_ENDED"),
    (S.BLOCKED, E.PARENT_FAILED): Way(release(ChildVerdict.FAIL, "PARENT_FAILED"), {}, "PARENT_FAILED"),
    (S.BLOCKED, E.FAIL): Way(
        release(ChildVerdict.FAIL, "PARENT_OUTPUT_UNUSABLE"), {}, "PARENT_OUTPUT_UNUSABLE"
    ),
    (S.BLOCKED, E.UPDATE): Way(update(), {}, "UPDATED"),
    (S.BLOCKED, E.CANCEL): Way(release(ChildVerdict.CANCEL, "TASK_CANCELLED"), {}, "TASK_CANCELLED"),
    (S.BLOCKED, E.EXPIRE): _expiry(S.BLOCKED),
    (S.QUEUED, E.LEASE): Way(lease, {}, ""),
    (S.QUEUED, E.SUCCEED): Way(answer(S.SUCCEEDED), {}, CACHED),
    (S.QUEUED, E.FAIL): Way(answer(S.FAILED, "WORD"), {}, "WORD"),
    (S.QUEUED, E.UPDATE): Way(update(), {}, "UPDATED"),
    (S.QUEUED, E.POSTPONE): Way(update(FAR_MS), {}, "UPDATED"),
    (S.QUEUED, E.UNSHELVE): Way(unshelve, {}, "UNSHELVED"),
    (S.QUEUED, E.PROMOTE): Way(promote, {"deadline_ms": FAR_MS}, "PROMOTED"),
    (S.QUEUED, E.CANCEL): Way(cancel, {}, ""),
    (S.QUEUED, E.EXPIRE): _expiry(S.QUEUED),
    (S.RUNNING, E.SUCCEED): Way(finish(S.SUCCEEDED), {}, "WORD"),
    (S.RUNNING, E.FAIL): Way(finish(S.FAILED), {}, "WORD"),
    (S.RUNNING, E.RETRY): Way(finish(S.FAILED, 60_000), {}, "WORD"),
    (S.RUNNING, E.ATTEMPTS_EXHAUSTED): Way(finish(S.FAILED, 0), {"max_attempts": 1}, "WORD"),
    (S.RUNNING, E.CANCEL): Way(cancel, {}, ""),
    (S.RUNNING, E.EXPIRE): Way(finish(S.EXPIRED), {}, "WORD"),
    (S.RUNNING, E.LEASE_EXPIRED): Way(expire_leases, {"lease_ms": 1}, "LEASE_EXPIRED"),
    (S.RUNNING, E.RUNNER_DIED): Way(runner_died, {}, "RUNNER_CRASHED"),
    (S.RUNNING, E.RETURN): Way(give_back, {}, "RETURNED"),
    (S.RETRYING, E.DUE): Way(wake, {"retry_in_ms": 0}, "RETRY"),
    (S.RETRYING, E.UPDATE): Way(update(), {}, "UPDATED"),
    (S.RETRYING, E.POSTPONE): Way(update(FAR_MS), {}, "UPDATED"),
    (S.RETRYING, E.CANCEL): Way(cancel, {}, ""),
    (S.RETRYING, E.EXPIRE): Way(shorten_and_expire, {}, "WHILE_RETRYING"),
}
"""One way for every move of the table."""
