"""Tasks that depend on others, on a gateway over the ports in memory."""

import time
from typing import Any

import pytest
from google.rpc import error_details_pb2

from forebay.tasks.v1 import task_pb2, task_service_pb2
from scheduler.errors import RecordsUnavailable
from scheduler.ids import new_ids
from scheduler.ports.records import Ending, Record
from scheduler.states import TaskState
from services.gateway.settings import GatewaySettings
from tests.integration.gateway import System, parked, prompt, published, running

SUCCEEDED, FAILED, CANCELLED = TaskState.SUCCEEDED, TaskState.FAILED, TaskState.CANCELLED


def on(*parents: int | str, key: str = "", **fields: Any) -> task_pb2.TaskSpec:
    named = [
        task_pb2.Dependency(id=parent) if isinstance(parent, str) else task_pb2.Dependency(index=parent)
        for parent in parents
    ]
    return prompt(depends_on=named, idempotency_key=key, **fields)


async def call(system: System, *specs: task_pb2.TaskSpec) -> list[task_service_pb2.SubmitResult]:
    response = await system.tasks.SubmitTasks(task_service_pb2.SubmitTasksRequest(tasks=specs), timeout=10)
    return list(response.results)


async def record(system: System, task_id: str) -> Record:
    found = (await system.store.records.get([task_id], False))[0]
    assert found is not None
    return found


def fault(result: task_service_pb2.SubmitResult) -> tuple[str, str]:
    detail = error_details_pb2.BadRequest()
    assert result.error.details[1].Unpack(detail), result
    return detail.field_violations[0].field, detail.field_violations[0].description


async def ended(system: System, state: TaskState, **fields: Any) -> str:
    (task_id,) = await system.submit(prompt(**fields))
    if state is CANCELLED:
        request = task_service_pb2.CancelTasksRequest(tasks=task_service_pb2.TaskIds(ids=[task_id]))
        await system.tasks.CancelTasks(request, timeout=5)
        return task_id
    await system.lease(task_id)
    await system.store.records.finish([Ending(task_id, 1, state, error=b"")])
    return task_id


async def test_children_of_one_call_are_blocked_parked_and_linked(system: System) -> None:
    results = await call(system, on(1, 2), prompt(), prompt(), on(0))
    first, one, other, last = [result.task.id for result in results]
    states = [result.task.state for result in results]
    assert states == [
        task_pb2.TASK_STATE_BLOCKED,
        task_pb2.TASK_STATE_QUEUED,
        task_pb2.TASK_STATE_QUEUED,
        task_pb2.TASK_STATE_BLOCKED,
    ]
    assert {publication.envelope.id for publication in published(system.log)} == {one, other}
    waiting = {publication.envelope.id: publication for publication in parked(system.log)}
    assert set(waiting) == {first, last}
    assert {publication.publication for publication in waiting.values()} == {0}
    assert list(waiting[first].envelope.parents) == [one, other]
    assert waiting[first].envelope.on_parent_failure == task_pb2.PARENT_FAILURE_POLICY_FAIL
    spec = task_pb2.TaskSpec.FromString(waiting[first].envelope.spec)
    assert [dependency.id for dependency in spec.depends_on] == [one, other]
    assert await system.store.follow_ups.children([one, other, first]) == [[first], [first], [last]]


async def test_a_child_of_a_task_of_another_call_names_it_by_id(system: System) -> None:
    (parent,) = await system.submit(prompt())
    (child,) = await system.submit(on(parent))
    assert await system.store.follow_ups.children([parent]) == [[child]]


async def test_what_can_never_be_is_refused_with_its_field(system: System) -> None:
    unknown = new_ids(1, 1, 0)[0]
    results = await call(system, on(0), on(9), on(-1), on(unknown), on(5), on(6), on(5), on(4, 3))
    assert [fault(result) for result in results] == [
        ("tasks[0].depends_on[0].index", "is the task itself"),
        (
            "tasks[1].depends_on[0].index",
            "must be the place of one of the 8 tasks of the call, is 9",
        ),
        (
            "tasks[2].depends_on[0].index",
            "must be the place of one of the 8 tasks of the call, is -1",
        ),
        ("tasks[3].depends_on[0].id", "there is no such task"),
        ("tasks[4].depends_on[0].index", "closes a cycle, or hangs on one"),
        ("tasks[5].depends_on[0].index", "closes a cycle, or hangs on one"),
        ("tasks[6].depends_on[0].index", "closes a cycle, or hangs on one"),
        ("tasks[7].depends_on[1].index", "tasks[3] was refused"),
    ]
    assert parked(system.log) == []


async def test_a_refused_parent_refuses_its_children_and_nobody_else(system: System) -> None:
    bad = prompt()
    bad.generate.top_p = 3
    results = await call(system, bad, on(0), on(1), prompt(), on(3))
    assert [result.WhichOneof("result") for result in results] == ["error", "error", "error", "task", "task"]
    assert fault(results[2]) == ("tasks[2].depends_on[0].index", "tasks[1] was refused")


async def test_a_parent_of_another_tenant_is_no_task(system: System) -> None:
    (foreign,) = await system.submit(prompt())
    settings = GatewaySettings(listen="127.0.0.1:0", http_listen="127.0.0.1:0", tenant="other")
    async with running(system.store, system.log, settings) as other:
        (result,) = await call(other, on(foreign))
    assert fault(result) == ("tasks[0].depends_on[0].id", "there is no such task")


async def test_a_child_of_tasks_that_succeeded_is_queued_at_once(system: System) -> None:
    parents = [await ended(system, SUCCEEDED) for _ in range(2)]
    (child,) = await system.submit(on(*parents))
    assert (await record(system, child)).state is TaskState.QUEUED
    assert [p.publication for p in published(system.log) if p.envelope.id == child] == [1]


async def test_a_child_with_its_own_time_waits_for_it_after_its_parents(system: System) -> None:
    parent = await ended(system, SUCCEEDED)
    spec = on(parent)
    spec.not_before.seconds = int(time.time()) + 3600
    (child,) = await system.submit(spec)
    assert (await record(system, child)).state is TaskState.SCHEDULED


async def test_the_end_of_a_parent_decides_as_the_child_chose(system: System) -> None:
    wanted = {
        (FAILED, 0): FAILED,
        (FAILED, 1): FAILED,
        (FAILED, 2): TaskState.QUEUED,
        (FAILED, 3): CANCELLED,
        (CANCELLED, 1): CANCELLED,
        (CANCELLED, 2): TaskState.QUEUED,
    }
    for (state, choice), expected in wanted.items():
        parent = await ended(system, state)
        child, grandchild = await system.submit(on(parent, on_parent_failure=choice), on(0))
        found = await record(system, child)
        assert found.state is expected, (state, choice)
        assert bool(found.error) == found.state.terminal
        assert (await record(system, grandchild)).state is TaskState.BLOCKED


async def test_a_child_that_takes_outputs_of_finished_parents_is_left_to_the_scheduler(
    system: System,
) -> None:
    parent = await ended(system, SUCCEEDED)
    taken = [task_pb2.InputReference(parent=0, output="text", input="a")]
    spec = on(parent, inputs_from=taken)
    spec.generate.prompt = "about {{a}}"
    (child,) = await system.submit(spec)
    assert (await record(system, child)).state is TaskState.BLOCKED
    assert parked(system.log)[-1].envelope.takes_outputs
    # Its ticket stays: that is how the scheduler learns of it.
    tickets = await system.store.sweeps.unpublished(range(64), 0, 10)
    assert child in {task.id for _, tasks in tickets for task in tasks}


async def test_the_same_call_again_makes_no_second_graph(system: System) -> None:
    specs = [prompt(idempotency_key="a"), on(0, key="b"), on(1, 0, key="c")]
    first = await system.submit(*specs)
    assert await system.submit(*specs) == first
    assert len(await system.store.records.list_ids("default", "", 10)) == 3


async def test_a_new_child_of_a_known_key_depends_on_the_task_that_exists(system: System) -> None:
    (known,) = await system.submit(prompt(idempotency_key="a"))
    again, child = await system.submit(prompt(idempotency_key="a"), on(0))
    assert again == known
    assert await system.store.follow_ups.children([known]) == [[child]]
    spec = task_pb2.TaskSpec.FromString(parked(system.log)[-1].envelope.spec)
    assert [dependency.id for dependency in spec.depends_on] == [known]


async def test_a_parent_whose_key_is_taken_refuses_its_children(system: System) -> None:
    await system.submit(prompt("one", idempotency_key="a"))
    results = await call(system, prompt("two", idempotency_key="a"), on(0, key="b"))
    assert results[0].error.code == 6
    assert fault(results[1]) == ("tasks[1].depends_on[0].index", "tasks[0] was refused")


async def test_a_chain_of_a_thousand_works_in_one_call(system: System) -> None:
    for key in ("", "auto-call/{}", "mine-{}"):
        keys = [key.format(number) for number in range(1000)]
        specs = [prompt(idempotency_key=keys[0])]
        specs += [on(number - 1, key=keys[number]) for number in range(1, 1000)]
        ids = await system.submit(*reversed_chain(specs))
        assert len(set(ids)) == 1000
        children = await system.store.follow_ups.children(ids[:5])
        assert children[0] == []
        assert children[4] == [ids[3]]


def reversed_chain(specs: list[task_pb2.TaskSpec]) -> list[task_pb2.TaskSpec]:
    """The last of the chain first: order in the call must not matter."""
    turned = []
    for place, spec in enumerate(reversed(specs)):
        if spec.depends_on:
            spec.depends_on[0].index = place + 1
        turned.append(spec)
    return turned


async def test_a_thousand_children_of_one_task_work_in_one_call(system: System) -> None:
    parent, *children = await system.submit(prompt(), *[on(0)] * 999)
    assert await system.store.follow_ups.children([parent]) == [sorted(children)]
    assert len(parked(system.log)) == 999


async def test_a_log_that_is_away_accepts_no_child(system: System) -> None:
    (parent,) = await system.submit(prompt())
    system.log.available = False
    code, _ = await system.failure(
        system.tasks.SubmitTasks(task_service_pb2.SubmitTasksRequest(tasks=[on(parent)]), timeout=5)
    )
    assert code.name == "UNAVAILABLE"


async def test_a_child_that_could_not_be_linked_is_accepted_and_left_to_the_sweeper(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(pairs: Any, tenant: str) -> list[TaskState | None]:
        raise RecordsUnavailable("away")

    monkeypatch.setattr(system.store.follow_ups, "link", away)
    _, child = await system.submit(prompt(), on(0))
    assert child in {publication.envelope.id for publication in parked(system.log)}
    tickets = await system.store.sweeps.unpublished(range(64), 0, 10)
    assert child in {task.id for _, tasks in tickets for task in tasks}
