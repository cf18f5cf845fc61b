"""Two schedulers on Apache Pulsar, one of them killed while delays, families, schedules and retries are under way."""

import asyncio
import os
import random
import signal
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Final

import pytest
from redis.asyncio import Redis

from forebay.client import AsyncClient, TaskInfo, TaskState
from forebay.tasks.v1.task_pb2 import TaskSpec
from scheduler.adapters.redis import connect
from scheduler.service.duties import GROUPS
from services.embedded import valkey
from tests.fault.conftest import SCALE
from tests.fault.history import RUN_LABEL, watched
from tests.fault.kinds import LIMIT_S, LOOK_S, add, nothing_is_left, picky
from tests.fault.load import Load
from tests.fault.test_deaths_of_our_processes import back
from tests.fault.test_failover import lanes_in_use, second_scheduler, settled
from tests.fixtures.pulsar import ApachePulsar
from tests.system import forebay_up

pytestmark = [pytest.mark.slow, pytest.mark.pulsar, pytest.mark.timeout(120 + 30 * SCALE)]

SETTINGS: Final = {"FOREBAY_SCHEDULER_LEASE_MS": "1500", "FOREBAY_SCHEDULER_REPUBLISH_AFTER_MS": "1500"}
SUCCESSOR_S: Final = 5.0
"""What may pass between the death of a scheduler and the start of the work that was its to start."""
DELAYED: Final = 300
SPREAD_MS: Final = 9000
CHAIN: Final = 60
FAILING: Final = 40
SCHEDULE: Final = "each-second"


async def duties(store: Redis) -> dict[int, bytes]:
    """Return who sweeps each group of partitions."""
    held = await store.mget([f"fb:{{duty}}:sweep-{group}" for group in range(GROUPS)])
    return {group: holder for group, holder in enumerate(held) if isinstance(holder, bytes)}


async def taken(store: Redis, groups: set[int], dead: set[bytes]) -> None:
    """Wait until somebody who lives sweeps these groups."""

    async def all_taken() -> bool:
        held = await duties(store)
        return groups <= held.keys() and not dead & set(held.values())

    async with asyncio.timeout(LIMIT_S):
        while not await all_taken():  # noqa: ASYNC110  the record store has no event for it
            await asyncio.sleep(LOOK_S)


def starts(task: TaskInfo) -> list[datetime]:
    """Return when a task was leased, each time."""
    return [event.time for event in task.events if event.state is TaskState.RUNNING and event.time]


def ends(task: TaskInfo) -> int:
    """Count how often a task ended."""
    return sum(event.state.terminal for event in task.events)


async def test_the_other_scheduler_goes_on_with_delays_families_schedules_and_retries(
    data: Path,
    models: dict[str, Path],
    failing: dict[str, Path],
    chance: random.Random,
    apache_pulsar: ApachePulsar,
) -> None:
    arguments = ["--broker", apache_pulsar.url, "--broker-admin", apache_pulsar.admin_url]
    lanes = lanes_in_use()
    run = f"contract-{chance.randrange(1 << 32)}"
    labels, fired_labels = {RUN_LABEL: run}, {"schedule-of": run}
    with forebay_up(data, models | failing, arguments=arguments, environment=SETTINGS) as system:
        store = connect(valkey.address(data / "valkey.sock"), timeout_s=5.0)
        # Whoever is there first has all the duties: it is the one to be killed, when its lanes are shared.
        with second_scheduler(apache_pulsar, data) as second:
            both = {system.pid("scheduler"), second.pid}
            shared = await settled(apache_pulsar, lanes, both)
            victim = system.pid("scheduler")
            lost = [lane for lane, pid in shared.items() if pid == victim]
            sweeping = await duties(store)
            async with AsyncClient(system.grpc) as client, watched(client, run) as history:
                began = datetime.now(UTC)
                due = [
                    began + timedelta(milliseconds=chance.randrange(500, SPREAD_MS)) for _ in range(DELAYED)
                ]
                rest = timedelta(milliseconds=400)
                specs: list[TaskSpec] = [
                    *(add(not_before=when, labels=labels) for when in due),
                    *(
                        picky(9, max_attempts=3, initial_backoff=rest, max_backoff=rest, labels=labels)
                        for _ in range(FAILING)
                    ),
                ]
                chain = [add(labels=labels, depends_on=[n - 1] if n else []) for n in range(CHAIN)]
                await client.schedules.create(
                    SCHEDULE, add(labels=fired_labels), interval=timedelta(seconds=1), missed="run_once"
                )
                handles = list(await client.submit_many(specs)) + list(await client.submit_many(chain))
                delayed, retried, chained = (
                    handles[:DELAYED],
                    handles[DELAYED:-CHAIN],
                    handles[-CHAIN:],
                )
                for handle in handles:
                    history.accept(handle.id, handle)
                load = Load(client, history, tasks=600, slow_every=20)
                async with asyncio.TaskGroup() as group:
                    group.create_task(load.run())
                    await history.until_ended(chance.randrange(60, 200))
                    killed = datetime.now(UTC)
                    printed = len(system.lines)
                    os.kill(victim, signal.SIGKILL)
                    await settled(apache_pulsar, lost, {second.pid})
                    taken_s = (datetime.now(UTC) - killed).total_seconds()
                    await taken(store, set(sweeping), set(sweeping.values()))
                    swept_s = (datetime.now(UTC) - killed).total_seconds()
                await back(system, "scheduler", printed)
                await client.wait_many(handles, LIMIT_S, include_result=False)
                await client.schedules.delete(SCHEDULE)
                fired = [info async for info in client.list(labels=fired_labels)]
                await client.wait_many(fired, LIMIT_S, include_result=False)
                fired = [await client.get(task) for task in fired]
                verdict = await history.check(client)
                letters = [letter async for letter in client.dead_letters.list(labels=labels)]
                await nothing_is_left(client)
        await store.aclose()
    records = verdict.records
    assert {records[task.id].state for task in (*delayed, *chained)} == {TaskState.SUCCEEDED}
    assert {records[task.id].state for task in retried} == {TaskState.FAILED}
    assert sorted(letter.id for letter in letters) == sorted(task.id for task in retried)
    assert {task.state for task in fired} == {TaskState.SUCCEEDED}
    assert all(ends(task) == 1 for task in (*records.values(), *fired))
    assert len(fired) >= 3 and {task.schedule for task in fired} == {SCHEDULE}
    moments = sorted(task.create_time for task in fired if task.create_time)
    # Due each second: made once for each, none left out.
    seconds = (moments[-1] - moments[0]).total_seconds()
    assert abs(len(fired) - 1 - seconds) < SUCCESSOR_S
    gap_s = max((after - before).total_seconds() for before, after in pairwise(moments))
    lateness = [
        (exact, (starts(records[task.id])[0] - exact).total_seconds())
        for when, task in zip(due, delayed, strict=True)
        for exact in [when.replace(microsecond=when.microsecond // 1000 * 1000)]
    ]
    assert min(late_s for _, late_s in lateness) >= 0
    after = [(exact, late_s) for exact, late_s in lateness if exact > killed]
    first_timer_s = min((exact - killed).total_seconds() + late_s for exact, late_s in after if late_s > 0)
    longest_s = max(late_s for _, late_s in lateness)
    [latest] = [task for (_, late_s), task in zip(lateness, delayed, strict=True) if late_s == longest_s][:1]
    steps = [
        f"{event.state.value} {event.reason} at {(event.time - killed).total_seconds():+.2f} s".replace(
            "  ", " "
        )
        for event in records[latest.id].events
        if event.time
    ]
    first_start_s = min(
        (start - killed).total_seconds()
        for record in records.values()
        for start in starts(record)
        if start > killed
    )
    print(  # noqa: T201  for -s
        f"{len(lost)} of {len(lanes)} lanes were its own, taken over after {taken_s:.2f} s; {len(sweeping)} duties, "
        f"taken over after {swept_s:.2f} s; first start {first_start_s:.2f} s after the kill, first timer that was "
        f"due after it served {first_timer_s:.2f} s after the kill, no delay was late by more than {longest_s:.2f} s "
        f"({', '.join(steps)}); "
        f"{len(fired)} turns of the schedule, at most {gap_s:.2f} s apart; {verdict.states}"
    )
    assert taken_s < SUCCESSOR_S and swept_s < SUCCESSOR_S and first_start_s < SUCCESSOR_S
    assert first_timer_s < SUCCESSOR_S and longest_s < SUCCESSOR_S
