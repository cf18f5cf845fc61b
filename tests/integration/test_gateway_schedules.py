"""Schedules over gRPC, on a gateway over the ports in memory."""

import time
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2

from forebay.tasks.v1 import (
    envelope_pb2,
    schedule_service_pb2,
    schedule_service_pb2_grpc,
    task_pb2,
    task_service_pb2,
)
from tests.integration.gateway import System, prompt

Schedule: Any = schedule_service_pb2.Schedule
HOURLY = Duration(seconds=3600)


def stub(system: System) -> Any:
    return schedule_service_pb2_grpc.ScheduleServiceStub(system.channel)


async def create(system: System, **fields: Any) -> schedule_service_pb2.Schedule:
    fields = {"name": "nightly", "spec": prompt(), "interval": HOURLY, **fields}
    request = schedule_service_pb2.CreateScheduleRequest(schedule=Schedule(**fields))
    made: schedule_service_pb2.Schedule = (await stub(system).CreateSchedule(request, timeout=5)).schedule
    return made


async def get(system: System, name: str = "nightly") -> schedule_service_pb2.Schedule:
    request = schedule_service_pb2.GetScheduleRequest(name=name)
    found: schedule_service_pb2.Schedule = (await stub(system).GetSchedule(request, timeout=5)).schedule
    return found


async def run(system: System, request_id: str = "") -> task_pb2.Task:
    request = schedule_service_pb2.RunScheduleRequest(name="nightly", request_id=request_id)
    task: task_pb2.Task = (await stub(system).RunSchedule(request, timeout=5)).task
    return task


async def test_a_schedule_is_kept_with_its_next_time(system: System) -> None:
    made = await create(system)
    assert made.next_time.ToMilliseconds() == made.create_time.ToMilliseconds() + 3_600_000
    assert abs(made.create_time.seconds - time.time()) < 5
    assert not made.HasField("last_time")
    assert await get(system) == made


async def test_what_the_scheduler_needs_is_kept_beside_it(system: System) -> None:
    await create(system, spec=prompt(priority=1, retry=task_pb2.RetryPolicy(max_attempts=7)))
    stored = await system.store.schedules.get("default", "nightly")
    assert stored is not None
    envelope = envelope_pb2.Envelope.FromString(stored.envelope)
    assert (envelope.tenant, envelope.schedule, envelope.model) == ("default", "nightly", "smollm2")
    assert (envelope.priority, envelope.max_attempts, envelope.id) == (1, 7, "")
    assert task_pb2.TaskSpec.FromString(envelope.spec).generate.prompt == "hello"


async def test_the_same_schedule_again_is_the_one_that_exists(system: System) -> None:
    made = await create(system, cron="5 4 * * *", time_zone="Europe/Berlin")
    assert await create(system, cron="5 4 * * *", time_zone="Europe/Berlin", last_task="x") == made
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await create(system, cron="6 4 * * *", time_zone="Europe/Berlin")
    assert raised.value.code() is grpc.StatusCode.ALREADY_EXISTS


REFUSED: list[tuple[str, dict[str, Any]]] = [
    ("schedule.name", {"name": ""}),
    ("schedule.name", {"name": "a/b"}),
    ("schedule.spec", {"spec": None}),
    ("schedule.spec.model", {"spec": task_pb2.TaskSpec(generate=prompt().generate)}),
    ("schedule.spec.idempotency_key", {"spec": prompt(idempotency_key="k")}),
    ("schedule.spec.not_before", {"spec": prompt(not_before={"seconds": 5})}),
    ("schedule.spec.deadline", {"spec": prompt(deadline={"seconds": 5})}),
    ("schedule.spec.depends_on", {"spec": prompt(depends_on=[{"index": 0}])}),
    ("schedule.timing", {"interval": None}),
    ("schedule.interval", {"interval": Duration(nanos=999_999_999)}),
    ("schedule.interval", {"interval": Duration(seconds=366 * 86_400 + 1)}),
    ("schedule.cron", {"interval": None, "cron": "* * * *"}),
    ("schedule.cron", {"interval": None, "cron": "99 * * * *"}),
    ("schedule.cron", {"interval": None, "cron": "0 0 30 2 *"}),
    ("schedule.time_zone", {"interval": None, "cron": "* * * * *", "time_zone": "Mars/Base"}),
    ("schedule.missed", {"missed": 9}),
    ("schedule.run_within", {"run_within": Duration()}),
    ("schedule.run_within", {"run_within": Duration(seconds=-5)}),
]


@pytest.mark.parametrize(("field", "changes"), REFUSED, ids=[str(n) for n in range(len(REFUSED))])
async def test_a_schedule_that_cannot_be_is_refused_by_field(
    system: System, field: str, changes: dict[str, Any]
) -> None:
    schedule = Schedule(**{"name": "x", "spec": prompt(), "interval": HOURLY, **changes})
    request = schedule_service_pb2.CreateScheduleRequest(schedule=schedule)
    code, details = await system.failure(stub(system).CreateSchedule(request, timeout=5))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    violations = error_details_pb2.BadRequest()
    assert details[1].Unpack(violations)
    assert violations.field_violations[0].field == field


async def test_schedules_are_listed_by_name_in_pages(system: System) -> None:
    for name in ("c", "a", "b"):
        await create(system, name=name)
    request = schedule_service_pb2.ListSchedulesRequest(page_size=2)
    page = await stub(system).ListSchedules(request, timeout=5)
    assert [schedule.name for schedule in page.schedules] == ["a", "b"]
    request.page_token = page.next_page_token
    page = await stub(system).ListSchedules(request, timeout=5)
    assert ([schedule.name for schedule in page.schedules], page.next_page_token) == (["c"], "")


async def test_a_paused_schedule_has_no_next_time_until_it_is_resumed(system: System) -> None:
    await create(system)
    request = schedule_service_pb2.PauseScheduleRequest(name="nightly")
    for _ in range(2):
        paused = (await stub(system).PauseSchedule(request, timeout=5)).schedule
        assert paused.paused
        assert not paused.HasField("next_time")
    resume = schedule_service_pb2.ResumeScheduleRequest(name="nightly")
    resumed = (await stub(system).ResumeSchedule(resume, timeout=5)).schedule
    assert not resumed.paused
    assert resumed.next_time.seconds > time.time()
    assert await get(system) == resumed


async def test_a_schedule_can_be_made_paused(system: System) -> None:
    made = await create(system, paused=True)
    assert made.paused
    assert not made.HasField("next_time")


async def test_a_deleted_schedule_is_not_found(system: System) -> None:
    await create(system)
    request = schedule_service_pb2.DeleteScheduleRequest(name="nightly")
    await stub(system).DeleteSchedule(request, timeout=5)
    for call in (
        stub(system).DeleteSchedule(request, timeout=5),
        stub(system).GetSchedule(schedule_service_pb2.GetScheduleRequest(name="nightly"), timeout=5),
        stub(system).PauseSchedule(schedule_service_pb2.PauseScheduleRequest(name="nightly"), timeout=5),
        stub(system).RunSchedule(schedule_service_pb2.RunScheduleRequest(name="nightly"), timeout=5),
    ):
        code, _ = await system.failure(call)
        assert code is grpc.StatusCode.NOT_FOUND


async def test_a_run_now_makes_a_task_that_names_the_schedule(system: System) -> None:
    await create(system, run_within=Duration(seconds=60), paused=True)
    made = await run(system)
    task = (await system.tasks.GetTask(task_service_pb2.GetTaskRequest(id=made.id), timeout=5)).task
    assert (task.schedule, task.state) == ("nightly", task_pb2.TASK_STATE_QUEUED)
    assert 50 < task.spec.deadline.seconds - time.time() <= 60
    assert (await run(system)).id != made.id


async def test_the_same_request_runs_once(system: System) -> None:
    await create(system, run_within=Duration(seconds=60))
    for request_id in ("one", "x" * 200):
        assert (await run(system, request_id)).id == (await run(system, request_id)).id
    request = schedule_service_pb2.RunScheduleRequest(name="nightly", request_id="x" * 201)
    code, _ = await system.failure(stub(system).RunSchedule(request, timeout=5))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
