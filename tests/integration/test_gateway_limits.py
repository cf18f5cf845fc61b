"""Limits of the policy at the gateway's door, over gRPC."""

from typing import Any

import grpc
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import code_pb2, error_details_pb2, status_pb2

from forebay.client import AsyncClient
from forebay.tasks.v1 import schedule_service_pb2, schedule_service_pb2_grpc, task_pb2, task_service_pb2
from scheduler.adapters.clock import SystemClock
from scheduler.adapters.memory import MemoryStore
from scheduler.errors import ModelFailed
from scheduler.policies.policy import Limit, Policy
from scheduler.ports.records import Ending
from scheduler.states import Level, TaskState
from services.policy_on_wire import stored
from services.status import to_status
from tests.integration.gateway import System, parked, prompt, published, running

LOW, NORMAL, HIGH, CRITICAL = (
    task_pb2.PRIORITY_LOW,
    task_pb2.PRIORITY_NORMAL,
    task_pb2.PRIORITY_HIGH,
    task_pb2.PRIORITY_CRITICAL,
)


def limited(**bounds: Any) -> Policy:
    return Policy(limits=(Limit(**bounds),))


def request(*specs: task_pb2.TaskSpec) -> task_service_pb2.SubmitTasksRequest:
    return task_service_pb2.SubmitTasksRequest(tasks=specs)


def details(status: status_pb2.Status) -> tuple[str, float, list[tuple[str, str]]]:
    info, retry, quota = (
        error_details_pb2.ErrorInfo(),
        error_details_pb2.RetryInfo(),
        error_details_pb2.QuotaFailure(),
    )
    for place, into in enumerate((info, retry, quota)):
        assert status.details[place].Unpack(into)
    violations = [(violation.subject, violation.description) for violation in quota.violations]
    return info.reason, retry.retry_delay.ToMilliseconds() / 1000, violations


async def test_tasks_over_a_limit_are_refused_one_by_one_and_the_others_are_accepted() -> None:
    async with running(policy=limited(queued_tasks=3)) as system:
        answer = await system.tasks.SubmitTasks(
            request(*(prompt(priority=CRITICAL) for _ in range(5))), timeout=5
        )
        kinds = [result.WhichOneof("result") for result in answer.results]
        assert kinds == ["task"] * 3 + ["error"] * 2
        refused = answer.results[4].error
        assert refused.code == code_pb2.RESOURCE_EXHAUSTED
        assert details(refused) == (
            "QUOTA_EXCEEDED",
            1.0,
            [("tenant default", "at most 3 tasks may wait")],
        )
        assert len(published(system.log)) == 3
        assert len(await system.store.records.list_ids("default", "", 10)) == 3


async def test_a_call_of_which_nothing_can_be_accepted_fails_as_a_whole() -> None:
    async with running(policy=limited(queued_tasks=2)) as system:
        await system.submit(prompt(priority=CRITICAL), prompt(priority=CRITICAL))
        code, found = await system.failure(system.tasks.SubmitTasks(request(prompt(), prompt()), timeout=5))
        assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert details(status_pb2.Status(details=found))[0] == "QUOTA_EXCEEDED"
        assert len(await system.store.records.list_ids("default", "", 10)) == 2


async def test_a_client_that_tries_again_when_it_is_told_to_gets_in_once_tasks_have_started() -> None:
    async with running(policy=limited(queued_tasks=2)) as system:
        ids = await system.submit(prompt(priority=CRITICAL), prompt(priority=CRITICAL))
        await system.lease(*ids)
        async with AsyncClient(system.gateway.grpc.address) as client:
            task = await client.submit("m", prompt="x", priority="critical")
    assert task.id not in ids


async def test_lower_levels_are_refused_first() -> None:
    async with running(policy=limited(queued_tasks=10)) as system:
        accepted = []
        for priority in (LOW, NORMAL, HIGH, CRITICAL):
            specs = [prompt(priority=priority) for _ in range(20)]
            answer = await system.tasks.SubmitTasks(request(*specs), timeout=5)
            accepted.append(sum(result.HasField("task") for result in answer.results))
        assert accepted == [7, 1, 1, 1]


async def test_repeating_an_accepted_call_is_answered_however_full_the_line_is() -> None:
    async with running(policy=limited(queued_tasks=2, rate=0.001, burst=2)) as system:
        specs = [prompt(priority=CRITICAL, idempotency_key=f"auto-x/{number}") for number in range(2)]
        first = await system.submit(*specs)
        fresh = prompt(priority=CRITICAL, idempotency_key="new")
        answer = await system.tasks.SubmitTasks(request(*specs, fresh), timeout=5)
        assert [result.task.id for result in answer.results[:2]] == first
        assert answer.results[2].error.code == code_pb2.RESOURCE_EXHAUSTED
        assert await system.submit(*specs) == first


async def test_a_repeated_key_with_another_body_is_a_conflict_and_no_matter_of_limits() -> None:
    async with running(policy=limited(queued_tasks=1)) as system:
        await system.submit(prompt("one", priority=CRITICAL, idempotency_key="k"))
        answer = await system.tasks.SubmitTasks(
            request(prompt("two", priority=CRITICAL, idempotency_key="k")), timeout=5
        )
        assert answer.results[0].error.code == code_pb2.ALREADY_EXISTS


async def test_what_was_invalid_takes_up_no_room() -> None:
    async with running(policy=limited(queued_tasks=1, rate=0.001, burst=1)) as system:
        answer = await system.tasks.SubmitTasks(request(task_pb2.TaskSpec(priority=CRITICAL)), timeout=5)
        assert answer.results[0].error.code == code_pb2.INVALID_ARGUMENT
        await system.submit(prompt(priority=CRITICAL))


async def test_children_of_a_refused_task_are_refused_with_it() -> None:
    async with running(policy=limited(queued_tasks=2)) as system:
        specs = [prompt(priority=CRITICAL) for _ in range(3)]
        child = prompt(priority=CRITICAL, depends_on=[task_pb2.Dependency(index=3)])
        answer = await system.tasks.SubmitTasks(request(child, *specs), timeout=5)
        errors = [result.error for result in answer.results]
        assert errors[0].code == code_pb2.INVALID_ARGUMENT
        assert errors[3].code == code_pb2.RESOURCE_EXHAUSTED
        assert not parked(system.log)
        # The child gave the room back that it had been promised.
        await system.submit(prompt(priority=CRITICAL))


async def test_tasks_that_wait_for_their_time_count() -> None:
    async with running(policy=limited(queued_tasks=1)) as system:
        later = prompt(priority=CRITICAL)
        later.not_before.FromSeconds(4_000_000_000)
        await system.submit(later)
        code, _ = await system.failure(
            system.tasks.SubmitTasks(request(prompt(priority=CRITICAL)), timeout=5)
        )
        assert code is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_limits_change_while_the_gateway_runs() -> None:
    store = MemoryStore(SystemClock())
    await store.policies.replace(stored(limited(queued_tasks=1)), 0)
    async with running(store) as system:
        await system.submit(prompt(priority=CRITICAL))
        code, _ = await system.failure(
            system.tasks.SubmitTasks(request(prompt(priority=CRITICAL)), timeout=5)
        )
        assert code is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_running_a_schedule_by_hand_is_refused_like_any_other_call() -> None:
    async with running(policy=limited(queued_tasks=1)) as system:
        schedules: Any = schedule_service_pb2_grpc.ScheduleServiceStub(system.channel)
        schedule = schedule_service_pb2.Schedule(name="s", cron="0 0 1 1 *", spec=prompt(priority=CRITICAL))
        await schedules.CreateSchedule(
            schedule_service_pb2.CreateScheduleRequest(schedule=schedule), timeout=5
        )
        run = schedule_service_pb2.RunScheduleRequest(name="s")
        await schedules.RunSchedule(run, timeout=5)
        code, _ = await system.failure(schedules.RunSchedule(run, timeout=5))
        assert code is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_a_dead_letter_whose_replay_is_refused_stays_where_it_is() -> None:
    async with running(policy=limited(queued_tasks=1, rate=0.001, burst=1)) as system:
        spec = prompt(priority=CRITICAL, retry=task_pb2.RetryPolicy(max_attempts=1))
        ids = await system.submit(spec)
        await system.lease(*ids)
        error = to_status(ModelFailed("it failed")).SerializeToString()
        await system.store.records.finish([Ending(ids[0], 1, TaskState.FAILED, error=error, retry_in_ms=0)])
        replay = task_service_pb2.ReplayTasksRequest(tasks=task_service_pb2.TaskIds(ids=ids))
        code, _ = await system.failure(system.tasks.ReplayTasks(replay, timeout=5))
        assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
        listed = await system.tasks.ListDeadLetters(task_service_pb2.ListDeadLettersRequest(), timeout=5)
        assert [letter.task.id for letter in listed.dead_letters] == ids


# --- changing the level --------------------------------------------------------------------------------------


async def update(system: System, *ids: str, **fields: Any) -> list[task_service_pb2.SubmitResult]:
    wanted = task_service_pb2.UpdateTasksRequest(tasks=task_service_pb2.TaskIds(ids=ids), **fields)
    return list((await system.tasks.UpdateTasks(wanted, timeout=5)).results)


async def level_of(system: System, task_id: str) -> int:
    answer = await system.tasks.GetTask(task_service_pb2.GetTaskRequest(id=task_id), timeout=5)
    return int(answer.task.spec.priority)


async def test_a_level_that_is_full_takes_no_task_from_another_level_either() -> None:
    async with running(policy=limited(level=Level.CRITICAL, queued_tasks=2)) as system:
        await system.submit(prompt(priority=CRITICAL))
        low = await system.submit(*(prompt(priority=LOW) for _ in range(3)))
        results = await update(system, *low, priority=CRITICAL)
        assert [result.WhichOneof("result") for result in results] == ["task", "error", "error"]
        assert results[0].task.spec.priority == CRITICAL
        refused = results[2].error
        assert refused.code == code_pb2.RESOURCE_EXHAUSTED
        assert details(refused) == (
            "QUOTA_EXCEEDED",
            1.0,
            [("tenant default, level critical", "at most 2 tasks may wait")],
        )
        assert [await level_of(system, task_id) for task_id in low] == [CRITICAL, LOW, LOW]
        code, _ = await system.failure(
            system.tasks.SubmitTasks(request(prompt(priority=CRITICAL)), timeout=5)
        )
        assert code is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_a_refused_change_changes_nothing_of_the_task() -> None:
    async with running(policy=limited(level=Level.HIGH, queued_tasks=1)) as system:
        await system.submit(prompt(priority=HIGH))
        [task_id] = await system.submit(prompt(priority=LOW))
        later = Timestamp(seconds=4_000_000_000)
        [result] = await update(system, task_id, priority=HIGH, deadline=later)
        assert result.error.code == code_pb2.RESOURCE_EXHAUSTED
        answer = await system.tasks.GetTask(task_service_pb2.GetTaskRequest(id=task_id), timeout=5)
        assert not answer.task.spec.HasField("deadline")
        assert answer.task.publication == 1


async def test_a_full_level_holds_up_no_change_of_tasks_that_it_has_already() -> None:
    async with running(policy=limited(level=Level.HIGH, queued_tasks=1, rate=0.001, burst=1)) as system:
        [task_id] = await system.submit(prompt(priority=HIGH))
        for _ in range(2):
            [result] = await update(system, task_id, priority=HIGH, deadline=Timestamp(seconds=4_000_000_000))
            assert result.task.spec.priority == HIGH


async def test_a_limit_for_all_levels_holds_up_no_change_of_level() -> None:
    async with running(policy=limited(queued_tasks=10)) as system:
        ids = await system.submit(*(prompt(priority=LOW) for _ in range(7)))
        await system.submit(*(prompt(priority=CRITICAL) for _ in range(3)))
        results = await update(system, *ids, priority=CRITICAL)
        assert {result.WhichOneof("result") for result in results} == {"task"}
        results = await update(system, *ids, priority=LOW)
        assert {result.WhichOneof("result") for result in results} == {"task"}


async def test_tasks_that_cannot_be_changed_take_up_no_room_on_the_level_that_was_named() -> None:
    async with running(policy=limited(level=Level.HIGH, queued_tasks=1, rate=0.001, burst=1)) as system:
        started, waiting = await system.submit(prompt(priority=LOW), prompt(priority=LOW))
        await system.lease(started)
        [result] = await update(system, started, priority=HIGH)
        assert result.error.code == code_pb2.FAILED_PRECONDITION
        [result] = await update(system, waiting, priority=HIGH)
        assert result.task.spec.priority == HIGH
