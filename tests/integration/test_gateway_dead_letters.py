"""Dead letters: listing, showing, replaying and purging them, on a gateway over the ports in memory."""

from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2

from forebay.tasks.v1 import task_pb2, task_service_pb2
from scheduler.errors import MessageUnreadable, ModelFailed
from scheduler.ids import new_ids
from scheduler.ports.dead_letters import UnreadableLetter
from scheduler.ports.records import Ending
from scheduler.states import TaskState
from services.gateway.settings import GatewaySettings
from services.status import to_status
from tests.integration.gateway import System, prompt, published, running, tensor

ONCE = task_pb2.RetryPolicy(max_attempts=1)
GARBAGE = b"\xff\xfe not a bundle"


async def dead(system: System, *specs: task_pb2.TaskSpec) -> list[str]:
    for spec in specs:
        spec.retry.CopyFrom(ONCE)
    ids = await system.submit(*specs)
    await system.lease(*ids)
    error = to_status(ModelFailed("it failed")).SerializeToString()
    endings = [Ending(i, 1, TaskState.FAILED, error=error, reason="MODEL_FAILED", retry_in_ms=0) for i in ids]
    await system.store.records.finish(endings)
    return ids


async def unreadable(system: System) -> str:
    (letter_id,) = new_ids(9, 1, 5)
    error = to_status(MessageUnreadable("no bundle")).SerializeToString()
    letter = UnreadableLetter(letter_id, GARBAGE, "tasks.default.normal-partition-0", error)
    assert await system.store.dead_letters.bury([letter]) == [True]
    return letter_id


async def listed(system: System, **fields: Any) -> list[task_service_pb2.DeadLetter]:
    request = task_service_pb2.ListDeadLettersRequest(**fields)
    return list((await system.tasks.ListDeadLetters(request, timeout=5)).dead_letters)


async def replay(system: System, **fields: Any) -> list[task_service_pb2.ReplayResult]:
    request = task_service_pb2.ReplayTasksRequest(**fields)
    return list((await system.tasks.ReplayTasks(request, timeout=5)).results)


def named(*ids: str) -> task_service_pb2.TaskIds:
    return task_service_pb2.TaskIds(ids=ids)


def code(result: task_service_pb2.ReplayResult) -> str:
    info = error_details_pb2.ErrorInfo()
    assert result.error.details[0].Unpack(info), result
    return str(info.reason)


async def test_a_task_whose_attempts_are_used_up_is_listed_with_its_error(system: System) -> None:
    (letter_id,) = await dead(system, prompt(labels={"a": "b"}))
    (letter,) = await listed(system)
    assert letter.task.id == letter_id
    assert letter.task.state == task_pb2.TASK_STATE_FAILED
    assert letter.task.error.message == "it failed"
    assert not letter.task.spec.HasField("input")
    assert letter.time == letter.task.end_time
    assert [event.state for event in letter.task.events][-1] == task_pb2.TASK_STATE_FAILED
    answer = await system.tasks.GetDeadLetter(task_service_pb2.GetDeadLetterRequest(id=letter_id), timeout=5)
    assert answer.dead_letter.task.spec.generate.prompt == "hello"
    assert answer.raw == b""


async def test_letters_are_listed_in_pages_newest_first(system: System) -> None:
    ids = [(await dead(system, prompt()))[0] for _ in range(5)]
    found: list[str] = []
    token = ""
    while True:
        request = task_service_pb2.ListDeadLettersRequest(page_size=2, page_token=token)
        page = await system.tasks.ListDeadLetters(request, timeout=5)
        found += [letter.task.id for letter in page.dead_letters]
        token = page.next_page_token
        if not token:
            break
    assert found == sorted(ids, key=lambda letter_id: letter_id[3:], reverse=True)
    page = await system.tasks.ListDeadLetters(task_service_pb2.ListDeadLettersRequest(page_size=1), timeout=5)
    other = task_service_pb2.ListTasksRequest(page_token=page.next_page_token)
    status, _ = await system.failure(system.tasks.ListTasks(other, timeout=5))
    assert status is grpc.StatusCode.INVALID_ARGUMENT


async def test_filters_choose_letters_and_ignore_states(system: System) -> None:
    one, _ = await dead(system, tensor(labels={"a": "b"}), prompt())
    wanted = task_service_pb2.TaskFilter(labels={"a": "b"}, states=[task_pb2.TASK_STATE_QUEUED])
    assert [letter.task.id for letter in await listed(system, filter=wanted)] == [one]


async def test_an_unreadable_message_is_shown_with_its_bytes(system: System) -> None:
    letter_id = await unreadable(system)
    (letter,) = await listed(system)
    assert (letter.task.id, letter.raw_bytes) == (letter_id, len(GARBAGE))
    assert letter.topic == "tasks.default.normal-partition-0"
    assert letter.task.error.message == "no bundle"
    request = task_service_pb2.GetDeadLetterRequest(id=letter_id)
    assert (await system.tasks.GetDeadLetter(request, timeout=5)).raw == GARBAGE
    assert await listed(system, filter=task_service_pb2.TaskFilter(model="smollm2")) == []
    (result,) = await replay(system, tasks=named(letter_id))
    assert code(result) == "NOT_REPLAYABLE"
    purge = task_service_pb2.PurgeDeadLettersRequest(tasks=named(letter_id))
    assert (await system.tasks.PurgeDeadLetters(purge, timeout=5)).purged == 1


async def test_a_letter_of_another_tenant_is_none(system: System) -> None:
    (letter_id,) = await dead(system, prompt())
    settings = GatewaySettings(listen="127.0.0.1:0", http_listen="127.0.0.1:0", tenant="other")
    async with running(system.store, system.log, settings) as other:
        assert await listed(other) == []
        request = task_service_pb2.GetDeadLetterRequest(id=letter_id)
        status, _ = await other.failure(other.tasks.GetDeadLetter(request, timeout=5))
        assert status is grpc.StatusCode.NOT_FOUND
        (result,) = await replay(other, tasks=named(letter_id))
        assert code(result) == "DEAD_LETTER_NOT_FOUND"
        purge = task_service_pb2.PurgeDeadLettersRequest(tasks=named(letter_id))
        assert (await other.tasks.PurgeDeadLetters(purge, timeout=5)).purged == 0
    assert len(await listed(system)) == 1


async def test_a_task_that_is_no_letter_is_not_found(system: System) -> None:
    (task_id,) = await system.submit(prompt())
    request = task_service_pb2.GetDeadLetterRequest(id=task_id)
    status, _ = await system.failure(system.tasks.GetDeadLetter(request, timeout=5))
    assert status is grpc.StatusCode.NOT_FOUND


async def test_a_replay_is_a_new_task_that_names_the_letter(system: System) -> None:
    (letter_id,) = await dead(system, prompt(idempotency_key="mine", labels={"a": "b"}))
    missing = new_ids(4, 1, 0)[0]
    results = await replay(system, tasks=named(letter_id, missing))
    assert [result.id for result in results] == [letter_id, missing]
    assert code(results[1]) == "DEAD_LETTER_NOT_FOUND"
    made = results[0].task
    assert made.id != letter_id
    task = (await system.tasks.GetTask(task_service_pb2.GetTaskRequest(id=made.id), timeout=5)).task
    assert (task.replay_of, task.spec.labels["a"]) == (letter_id, "b")
    assert made.id in {publication.envelope.id for publication in published(system.log)}
    assert await listed(system) == []


async def test_edits_replace_what_the_mask_names(system: System) -> None:
    (letter_id,) = await dead(system, prompt(priority=1))
    edits = task_pb2.TaskSpec(model="other", pool="gpu")
    (result,) = await replay(
        system, tasks=named(letter_id), edits=edits, edit_mask=["model", "priority", "retry"]
    )
    request = task_service_pb2.GetTaskRequest(id=result.task.id, include_input=True)
    spec = (await system.tasks.GetTask(request, timeout=5)).task.spec
    assert (spec.model, spec.pool, spec.priority) == ("other", "default", task_pb2.PRIORITY_NORMAL)
    assert not spec.HasField("retry")
    assert spec.generate.prompt == "hello"


@pytest.mark.parametrize("name", ["idempotency_key", "depends_on", "inputs_from", "no_field", "input"])
async def test_a_mask_with_a_field_that_cannot_be_edited_is_invalid(system: System, name: str) -> None:
    request = task_service_pb2.ReplayTasksRequest(
        filter=task_service_pb2.TaskFilter(), edit_mask=["model", name]
    )
    status, details = await system.failure(system.tasks.ReplayTasks(request, timeout=5))
    assert status is grpc.StatusCode.INVALID_ARGUMENT
    violations = error_details_pb2.BadRequest()
    assert details[1].Unpack(violations)
    assert violations.field_violations[0].field == "edit_mask[1]"


async def test_a_letter_that_is_not_valid_with_the_edits_stays(system: System) -> None:
    (letter_id,) = await dead(system, prompt())
    (result,) = await replay(system, tasks=named(letter_id), edit_mask=["model"])
    violations = error_details_pb2.BadRequest()
    assert result.error.details[1].Unpack(violations)
    assert violations.field_violations[0].field == "edits.model"
    assert len(await listed(system)) == 1


async def test_all_letters_that_match_are_replayed(system: System) -> None:
    ids = await dead(system, *[tensor(labels={"n": str(n % 2)}) for n in range(20)])
    wanted = task_service_pb2.TaskFilter(labels={"n": "0"})
    results = await replay(system, filter=wanted)
    assert {result.id for result in results} == set(ids[::2])
    assert all(result.HasField("task") for result in results)
    assert {letter.task.id for letter in await listed(system)} == set(ids[1::2])


async def test_an_interrupted_replay_makes_no_second_task(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    (letter_id,) = await dead(system, prompt())
    store = system.store.dead_letters

    async def lost(ids: Any, tenant: str) -> list[bool]:
        return [False] * len(ids)

    with monkeypatch.context() as patch:
        patch.setattr(store, "remove", lost)
        (first,) = await replay(system, tasks=named(letter_id))
    assert len(await listed(system)) == 1
    # Other edits than before: the task that was made is the answer all the same.
    edits = task_pb2.TaskSpec(priority=task_pb2.PRIORITY_LOW)
    (again,) = await replay(system, tasks=named(letter_id), edits=edits, edit_mask=["priority"])
    assert again.task.id == first.task.id
    assert await listed(system) == []


async def test_letters_are_purged_by_name_and_by_filter(system: System) -> None:
    ids = await dead(system, *[tensor(labels={"n": str(n % 2)}) for n in range(6)])
    purge = task_service_pb2.PurgeDeadLettersRequest(tasks=named(ids[0], ids[0], new_ids(1, 1, 0)[0]))
    assert (await system.tasks.PurgeDeadLetters(purge, timeout=5)).purged == 1
    wanted = task_service_pb2.TaskFilter(labels={"n": "0"})
    purge = task_service_pb2.PurgeDeadLettersRequest(filter=wanted)
    assert (await system.tasks.PurgeDeadLetters(purge, timeout=5)).purged == 2
    assert {letter.task.id for letter in await listed(system)} == set(ids[1::2])
    record = (await system.store.records.get([ids[0]], False))[0]
    assert record is not None
