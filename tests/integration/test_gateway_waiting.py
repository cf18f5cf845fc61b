"""Tasks that wait for their time, changes of tasks that wait, and repeated submits, on a gateway over the ports in
memory.
"""

import time
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2

from forebay.tasks.v1 import task_pb2, task_service_pb2
from scheduler.errors import ModelFailed
from scheduler.ids import new_ids
from scheduler.ports.records import Ending, Updated, Wanted
from scheduler.states import TaskState
from services.status import to_status
from tests.integration.gateway import System, parked, prompt, published, tensor

HOUR = 3600


def stamp(seconds_from_now: float) -> Timestamp:
    at = Timestamp()
    at.FromMilliseconds(int((time.time() + seconds_from_now) * 1000))
    return at


async def get(system: System, task_id: str) -> task_pb2.Task:
    request = task_service_pb2.GetTaskRequest(id=task_id, include_input=True)
    task: task_pb2.Task = (await system.tasks.GetTask(request, timeout=5)).task
    return task


async def update(system: System, *ids: str, **fields: Any) -> list[task_service_pb2.SubmitResult]:
    request = task_service_pb2.UpdateTasksRequest(tasks=task_service_pb2.TaskIds(ids=ids), **fields)
    return list((await system.tasks.UpdateTasks(request, timeout=5)).results)


def reason(result: task_service_pb2.SubmitResult) -> str:
    info = error_details_pb2.ErrorInfo()
    assert result.error.details[0].Unpack(info)
    return str(info.reason)


async def test_a_task_with_a_time_to_come_is_scheduled_and_parked(system: System) -> None:
    later = stamp(HOUR)
    later.nanos += 1
    ids = await system.submit(prompt(not_before=later), prompt(not_before=stamp(-HOUR)))
    states = [(await get(system, task_id)).state for task_id in ids]
    # Whether a time has come is for the record store's clock to say, not for the gateway's.
    assert states == [task_pb2.TASK_STATE_SCHEDULED] * 2
    waiting, past = parked(system.log)
    assert (waiting.envelope.id, waiting.publication) == (ids[0], 0)
    assert (past.envelope.id, past.publication) == (ids[1], 0)
    # Rounded up: never before its time.
    assert waiting.envelope.not_before_ms == later.ToMilliseconds() + 1
    assert published(system.log) == []


async def test_a_task_cannot_be_scheduled_while_the_log_is_away(system: System) -> None:
    system.log.available = False
    request = task_service_pb2.SubmitTasksRequest(tasks=[prompt(not_before=stamp(HOUR))])
    code, _ = await system.failure(system.tasks.SubmitTasks(request, timeout=5))
    assert code is grpc.StatusCode.UNAVAILABLE


async def test_a_queued_task_moves_to_another_level_under_a_new_publication(system: System) -> None:
    (task_id,) = await system.submit(prompt(idempotency_key="k"))
    (result,) = await update(system, task_id, priority=task_pb2.PRIORITY_CRITICAL)
    assert result.task.spec.priority == task_pb2.PRIORITY_CRITICAL
    assert (result.task.state, result.task.publication) == (task_pb2.TASK_STATE_QUEUED, 2)
    assert not result.task.spec.HasField("input")
    newest = next(p for p in published(system.log) if p.publication == 2)
    assert newest.envelope.priority == task_pb2.PRIORITY_CRITICAL
    assert newest.envelope.revision == 1
    spec = task_pb2.TaskSpec.FromString(newest.envelope.spec)
    assert spec.priority == task_pb2.PRIORITY_CRITICAL
    assert (await get(system, task_id)).spec.generate.prompt == "hello"
    # The key still means the spec as it was sent.
    assert await system.submit(prompt(idempotency_key="k")) == [task_id]


async def test_times_can_be_changed_while_a_task_waits(system: System) -> None:
    queued, scheduled = await system.submit(prompt(deadline=stamp(HOUR)), prompt(not_before=stamp(HOUR)))
    (result,) = await update(system, queued, not_before=stamp(HOUR), clear_deadline=True)
    assert result.task.state == task_pb2.TASK_STATE_SCHEDULED
    assert not result.task.spec.HasField("deadline")
    soon = stamp(60)
    (result,) = await update(system, scheduled, not_before=soon, deadline=stamp(HOUR))
    assert result.task.state == task_pb2.TASK_STATE_SCHEDULED
    assert (result.task.spec.not_before, result.task.spec.HasField("deadline")) == (soon, True)


async def test_tasks_that_cannot_be_changed_say_why(system: System) -> None:
    waiting, running, done = await system.submit(prompt(), prompt(), prompt())
    await system.lease(running, done)
    await system.finish(done)
    missing = new_ids(3, 1, 0)[0]
    results = await update(system, waiting, running, missing, done, waiting, priority=1)
    assert [result.WhichOneof("result") for result in results] == ["task", "error", "error", "error", "task"]
    assert [reason(result) for result in results[1:4]] == [
        "TASK_NOT_WAITING",
        "TASK_NOT_FOUND",
        "TASK_NOT_WAITING",
    ]
    assert "is RUNNING" in results[1].error.message
    assert "is SUCCEEDED" in results[3].error.message


async def test_an_update_that_changes_nothing_is_invalid(system: System) -> None:
    (task_id,) = await system.submit(prompt())
    request = task_service_pb2.UpdateTasksRequest(tasks=task_service_pb2.TaskIds(ids=[task_id]))
    code, _ = await system.failure(system.tasks.UpdateTasks(request, timeout=5))
    assert code is grpc.StatusCode.INVALID_ARGUMENT


async def test_an_update_without_the_log_is_unavailable_and_stays_with_the_record(system: System) -> None:
    (task_id,) = await system.submit(prompt())
    system.log.available = False
    (result,) = await update(system, task_id, priority=1)
    assert reason(result) == "LOG_UNAVAILABLE"
    assert (await get(system, task_id)).spec.priority == 1


async def test_a_key_that_is_used_again_names_what_differs(system: System) -> None:
    await system.submit(prompt("one", idempotency_key="k", labels={"a": "b"}))
    other = prompt("two", idempotency_key="k", priority=1)
    other.generate.seed = 7
    request = task_service_pb2.SubmitTasksRequest(tasks=[other, tensor(idempotency_key="k")])
    results = (await system.tasks.SubmitTasks(request, timeout=5)).results
    info = error_details_pb2.ErrorInfo()
    assert results[0].error.details[0].Unpack(info)
    assert info.metadata["differing"] == "generate.prompt, generate.seed, priority, labels"
    assert "one" not in results[0].error.message
    assert results[1].error.details[0].Unpack(info)
    assert info.metadata["differing"] == "model, input, labels"


async def test_a_repeated_submit_publishes_what_never_reached_the_log(system: System) -> None:
    system.log.available = False
    specs = [prompt(idempotency_key="a"), prompt(idempotency_key="b", not_before=stamp(HOUR))]
    request = task_service_pb2.SubmitTasksRequest(tasks=specs)
    await system.failure(system.tasks.SubmitTasks(request, timeout=5))
    assert published(system.log) == parked(system.log) == []
    system.log.available = True
    ids = await system.submit(*specs)
    assert [(p.envelope.id, p.publication) for p in published(system.log)] == [(ids[0], 1)]
    assert [(p.envelope.id, p.publication) for p in parked(system.log)] == [(ids[1], 0)]


async def test_a_repeated_submit_is_not_answered_before_the_log_is_back(system: System) -> None:
    system.log.available = False
    request = task_service_pb2.SubmitTasksRequest(tasks=[prompt(idempotency_key="a")])
    for _ in range(2):
        code, _ = await system.failure(system.tasks.SubmitTasks(request, timeout=5))
        assert code is grpc.StatusCode.UNAVAILABLE


async def test_a_task_that_moved_on_is_not_published_again(system: System) -> None:
    (task_id,) = await system.submit(prompt(idempotency_key="a"))
    await system.lease(task_id)
    assert await system.submit(prompt(idempotency_key="a")) == [task_id]
    assert len(published(system.log)) == 1


async def test_cancelling_works_in_every_state_before_running(system: System) -> None:
    child = prompt(depends_on=[task_pb2.Dependency(index=0)])
    ids = await system.submit(prompt(), child, prompt(not_before=stamp(HOUR)))
    request = task_service_pb2.CancelTasksRequest(tasks=task_service_pb2.TaskIds(ids=ids))
    assert (await system.tasks.CancelTasks(request, timeout=5)).cancelled == 3
    records = await system.store.records.get(ids, False)
    assert {record.state for record in records if record} == {TaskState.CANCELLED}


async def test_cancelling_what_matches_tells_how_far_it_is(system: System) -> None:
    for _ in range(3):
        await system.submit(*[tensor(labels={"n": str(n % 2)}) for n in range(400)])
    wanted = task_service_pb2.TaskFilter(labels={"n": "1"})
    call = system.tasks.CancelMatchingTasks(
        task_service_pb2.CancelMatchingTasksRequest(filter=wanted), timeout=10
    )
    answers = [answer async for answer in call]
    assert (answers[-1].seen, answers[-1].cancelled, answers[-1].done) == (1200, 600, True)
    assert not any(answer.done for answer in answers[:-1])


async def test_a_task_that_moves_all_the_time_is_aborted(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    (task_id,) = await system.submit(prompt())
    tries = []

    async def moved(updates: Any, tenant: str) -> Any:
        tries.append(updates)
        return [Updated.MOVED] * len(updates), [], []

    monkeypatch.setattr(system.store.records, "update", moved)
    (result,) = await update(system, task_id, priority=1)
    assert (reason(result), result.error.code, len(tries)) == ("TASK_MOVED", 10, 3)


async def test_a_task_that_started_while_it_was_changed_says_so(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    (task_id,) = await system.submit(prompt())
    real = system.store.records.update

    async def late(updates: Any, tenant: str) -> Any:
        await system.lease(task_id)
        return await real(updates, tenant)

    monkeypatch.setattr(system.store.records, "update", late)
    (result,) = await update(system, task_id, priority=1)
    assert reason(result) == "TASK_NOT_WAITING"
    assert "is RUNNING" in result.error.message


async def test_a_task_that_is_to_be_tried_again_says_why_its_latest_attempt_failed(system: System) -> None:
    [task_id] = await system.submit(prompt())
    records = system.store.records
    await records.lease([Wanted(task_id, 1)], "r", 10_000)
    fault = to_status(ModelFailed("the model raised an error on this input")).SerializeToString()
    await records.finish(
        [Ending(task_id, 1, TaskState.FAILED, error=fault, reason="MODEL_FAILED", retry_in_ms=60_000)]
    )
    task = await get(system, task_id)
    assert task.state == task_pb2.TASK_STATE_RETRYING
    assert task.WhichOneof("outcome") is None
    assert task.last_error.message == "the model raised an error on this input"
