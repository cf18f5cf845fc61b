"""A runner that stops in mid-work without dying: SIGSTOP past its lease, then SIGCONT."""

import asyncio
import json
import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from forebay.client import AsyncClient, TaskInfo, TaskState
from scheduler.adapters.redis import RedisLeases, RedisOutcomes, connect
from scheduler.ports.records import Ending, Hold, OutputChunk, Written
from scheduler.states import TaskState as TaskStates
from services.embedded import valkey
from tests.fault.conftest import SCALE
from tests.fault.history import watched
from tests.fault.load import Load
from tests.system import System, forebay_up

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120 + 20 * SCALE)]

LEASE_S = 2.0
SECOND = "the-second"
REFUSED = ("outcome refused", "lease lost")


@contextmanager
def second_runner(system: System, model: str, path: Path) -> Iterator[None]:
    """Run another runner of a model beside the one of `up`; yields when it is attached to the scheduler."""
    environment = {
        "FOREBAY_RUNNER_MODEL": model,
        "FOREBAY_RUNNER_PATH": str(path),
        "FOREBAY_RUNNER_ID": SECOND,
        "FOREBAY_REDIS_URL": valkey.address(system.data / "valkey.sock"),
    }
    with subprocess.Popen(
        [sys.executable, "-m", "inference.runner"],
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stderr is not None
            assert any('"scheduler attached"' in line for line in process.stderr), "it ended at its start"
            yield
        finally:
            process.kill()


def refusals(system: System, after: int) -> Counter[str]:
    """Return how often runners of the agent told of each task, since so many bytes of its log, that it was not theirs
    any more.
    """
    log = system.data / "logs" / "agent.log"
    lines = log.read_bytes()[after:].decode(errors="replace").splitlines()
    events = [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]
    return Counter(event["task_id"] for event in events if event["event"] in REFUSED)


async def all_refused(system: System, after: int, lost: set[str]) -> Counter[str]:
    """Wait until each of these tasks was refused to a runner of the agent."""
    async with asyncio.timeout(20):
        while not lost <= (told := refusals(system, after)).keys():  # noqa: ASYNC110  a file has no event
            await asyncio.sleep(0.05)
    return told


async def late_writes_are_refused(system: System, lost: Mapping[str, TaskInfo]) -> None:
    """Write everything that a runner can write, as the first attempt of tasks that had a second one."""
    client = connect(valkey.address(system.data / "valkey.sock"), timeout_s=5.0)
    try:
        leases, outcomes = RedisLeases(client), RedisOutcomes(client)
        ids = sorted(lost)
        assert not any(await leases.renew([Hold(task_id, 1) for task_id in ids], 60_000))
        assert not any(await outcomes.append_output([OutputChunk(task_id, 1, b"late") for task_id in ids]))
        for ending in (
            {"state": TaskStates.SUCCEEDED, "result": b"late"},
            {"state": TaskStates.FAILED, "error": b"late", "reason": "MODEL_FAILED"},
            {"state": TaskStates.FAILED, "error": b"late", "reason": "MODEL_FAILED", "retry_in_ms": 0},
            {"state": TaskStates.EXPIRED, "error": b"late", "reason": "DEADLINE_PASSED"},
        ):
            written = await outcomes.finish([Ending(task_id, 1, **ending) for task_id in ids])  # type: ignore[arg-type]
            assert set(written) == {Written.FENCED}
    finally:
        await client.aclose()


async def test_work_of_a_frozen_runner_is_done_elsewhere_and_its_late_results_are_refused(
    data: Path, models: dict[str, Path], chance: random.Random
) -> None:
    lease = {"FOREBAY_SCHEDULER_LEASE_MS": f"{LEASE_S * 1000:.0f}"}
    model = {"countdown": models["countdown"]}
    with forebay_up(data, model, environment=lease) as system, second_runner(system, *model.popitem()):
        async with AsyncClient(system.grpc) as client, watched(client, "frozen") as history:
            load = Load(client, history, tasks=300 * SCALE, slow_every=1)
            frozen = system.runner("countdown")
            async with asyncio.TaskGroup() as group:
                group.create_task(load.run())
                await history.until_ended(chance.randrange(30, 100) * SCALE)
                frozen.suspend()
                frozen_at = time.time()
                written = (data / "logs" / "agent.log").stat().st_size
                held = history.under_way()
                await history.until_attempt(2, held)
                # The others of its tasks, too, while it still sleeps.
                await client.wait_many(held, 60)
                assert frozen.status() == "stopped"
                records = [await client.get(task_id) for task_id in held]
                lost = {record.id: record for record in records if record.attempt == 2}
                frozen.resume()
            told = await all_refused(system, written, set(lost))
            await late_writes_are_refused(system, lost)
            verdict = await history.check(client)
            assert refusals(system, written) == told
    # Of each task once, by whatever was refused first: its renewal or its result.
    assert set(told.values()) == {1}
    for task_id, record in lost.items():
        after = verdict.records[task_id]
        assert after.events == record.events
        assert after.tensors["done"].tolist() == record.tensors["done"].tolist()
    assert verdict.states == {TaskState.SUCCEEDED: load.tasks}
    again = [record for record in verdict.records.values() if record.attempt > 1]
    # When it was anybody's again; when it ran again depends on how much the other runner had before it.
    taken_back = [
        next(event for event in record.events if event.reason == "LEASE_EXPIRED") for record in again
    ]
    late_s = [event.time.timestamp() - frozen_at for event in taken_back if event.time is not None]
    print(verdict.attempts, f"taken back after {min(late_s):.2f} to {max(late_s):.2f} s")  # noqa: T201  for -s
    assert len(late_s) == len(again)
    assert {record.runner for record in again} == {SECOND}
    assert max(late_s) < LEASE_S + 2.0
