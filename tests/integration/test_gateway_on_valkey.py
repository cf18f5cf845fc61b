"""What the gateway asks of the record store that only real scripts can answer, on Valkey."""

import time
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from forebay.tasks.v1 import schedule_service_pb2, schedule_service_pb2_grpc, task_pb2, task_service_pb2
from scheduler.adapters.clock import SystemClock
from scheduler.adapters.memory.log import MemoryLog
from scheduler.adapters.redis import (
    RedisAdmission,
    RedisDeadLetters,
    RedisEvents,
    RedisFollowUps,
    RedisKeys,
    RedisLeases,
    RedisLines,
    RedisMembership,
    RedisOutcomes,
    RedisPauses,
    RedisPolicies,
    RedisQueries,
    RedisSchedules,
    RedisStoreTime,
    RedisWantedModels,
    connect,
)
from scheduler.ports.records import Ending, Wanted
from scheduler.states import TaskState
from services.gateway.assembly import Ports
from tests.integration.gateway import System, parked, prompt, published, running

IDS = task_service_pb2.TaskIds


@pytest.fixture
async def real(valkey_url: str) -> AsyncIterator[tuple[System, Ports, Any]]:
    client = connect(valkey_url, timeout_s=5.0)
    log = MemoryLog()
    ports = Ports(
        admissions=RedisAdmission(client),
        queries=RedisQueries(client),
        follow_ups=RedisFollowUps(client),
        dead_letters=RedisDeadLetters(client),
        schedules=RedisSchedules(client),
        pauses=RedisPauses(client),
        policies=RedisPolicies(client),
        wanted_models=RedisWantedModels(client),
        lines=RedisLines(client),
        keys=RedisKeys(client),
        events=RedisEvents(client),
        membership=RedisMembership(client),
        log=log.publisher(),
        time=RedisStoreTime(client),
        clock=SystemClock(),
    )
    try:
        async with running(log=log, ports=ports) as system:
            yield system, ports, client
    finally:
        await client.aclose()


def child(*parents: int, key: str = "") -> task_pb2.TaskSpec:
    return prompt(depends_on=[task_pb2.Dependency(index=parent) for parent in parents], idempotency_key=key)


async def finish(client: Any, state: TaskState, *ids: str) -> None:
    await RedisLeases(client).lease([Wanted(task_id, 1) for task_id in ids], "r", 60_000)
    await RedisOutcomes(client).finish([Ending(i, 1, state, error=b"", retry_in_ms=0) for i in ids])


async def test_chains_of_a_thousand_and_a_thousand_children_are_accepted(real: Any) -> None:
    system, ports, _ = real
    for key in ("", "auto-call/{}", "mine-{}"):
        chain = [child(*([n - 1] if n else []), key=key.format(n)) for n in range(1000)]
        ids = await system.submit(*chain)
        assert await ports.follow_ups.children(ids[:3]) == [[ids[1]], [ids[2]], [ids[3]]]
        if key:
            assert await system.submit(*chain) == ids
    parent, *children = await system.submit(prompt(), *[child(0)] * 999)
    assert sorted((await ports.follow_ups.children([parent]))[0]) == sorted(children)


async def test_a_child_of_a_finished_task_is_published_at_once(real: Any) -> None:
    system, _, client = real
    (parent,) = await system.submit(prompt())
    await finish(client, TaskState.SUCCEEDED, parent)
    spec = prompt(depends_on=[task_pb2.Dependency(id=parent)])
    (made,) = await system.submit(spec)
    assert (made, 1) in {(p.envelope.id, p.publication) for p in published(system.log)}
    assert (made, 0) in {(p.envelope.id, p.publication) for p in parked(system.log)}


async def test_updates_letters_and_replays_work(real: Any) -> None:
    system, _, client = real
    ids = await system.submit(*[prompt(retry=task_pb2.RetryPolicy(max_attempts=1))] * 5)
    update = task_service_pb2.UpdateTasksRequest(tasks=IDS(ids=ids[4:]), priority=task_pb2.PRIORITY_CRITICAL)
    (changed,) = (await system.tasks.UpdateTasks(update, timeout=5)).results
    assert (changed.task.publication, changed.task.spec.priority) == (2, 1)
    await finish(client, TaskState.FAILED, *ids[:4])
    request = task_service_pb2.ListDeadLettersRequest()
    letters = (await system.tasks.ListDeadLetters(request, timeout=5)).dead_letters
    assert {letter.task.id for letter in letters} == set(ids[:4])
    for task_id in ids:
        show = system.tasks.GetDeadLetter(task_service_pb2.GetDeadLetterRequest(id=task_id), timeout=5)
        if task_id == ids[4]:
            assert (await system.failure(show))[0] is grpc.StatusCode.NOT_FOUND
        else:
            assert (await show).dead_letter.task.id == task_id
    replay = task_service_pb2.ReplayTasksRequest(tasks=IDS(ids=ids[:2]))
    results = (await system.tasks.ReplayTasks(replay, timeout=5)).results
    assert all(result.HasField("task") for result in results)
    purge = task_service_pb2.PurgeDeadLettersRequest(filter=task_service_pb2.TaskFilter())
    assert (await system.tasks.PurgeDeadLetters(purge, timeout=5)).purged == 2


async def test_schedules_and_times_are_kept(real: Any) -> None:
    system, _, _ = real
    stub: Any = schedule_service_pb2_grpc.ScheduleServiceStub(system.channel)
    schedule = schedule_service_pb2.Schedule(name="nightly", spec=prompt(), cron="0 4 * * *")
    request = schedule_service_pb2.CreateScheduleRequest(schedule=schedule)
    made = (await stub.CreateSchedule(request, timeout=5)).schedule
    pause = schedule_service_pb2.PauseScheduleRequest(name="nightly")
    assert (await stub.PauseSchedule(pause, timeout=5)).schedule.paused
    resume = schedule_service_pb2.ResumeScheduleRequest(name="nightly")
    assert (await stub.ResumeSchedule(resume, timeout=5)).schedule == made
    later = prompt()
    later.not_before.seconds = int(time.time()) + 3600
    (task_id,) = await system.submit(later)
    cancel = task_service_pb2.CancelTasksRequest(tasks=IDS(ids=[task_id]))
    assert (await system.tasks.CancelTasks(cancel, timeout=5)).cancelled == 1
