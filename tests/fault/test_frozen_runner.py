"""A runner that stops in mid-work without dying: SIGSTOP past its lease, then SIGCONT."""

import asyncio
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from forebay.client import AsyncClient, TaskState
from services.embedded import valkey
from tests.fault.history import watched
from tests.fault.load import Load
from tests.system import System, forebay_up

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

LEASE_S = 2.0
SECOND = "the-second"
REFUSED = ("outcomes refused by the fence", "leases lost")


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


async def refused(system: System, after: int) -> str:
    """Wait until a runner of the agent tells that writes or leases of it were refused."""
    log = system.data / "logs" / "agent.log"
    while True:
        for line in log.read_text()[after:].splitlines():
            if line.startswith("{") and (event := json.loads(line)["event"]) in REFUSED:
                return str(event)
        await asyncio.sleep(0.05)


async def test_work_of_a_frozen_runner_is_done_elsewhere_and_its_late_results_are_refused(
    data: Path, models: dict[str, Path], chance: random.Random
) -> None:
    lease = {"FOREBAY_SCHEDULER_LEASE_MS": f"{LEASE_S * 1000:.0f}"}
    model = {"countdown": models["countdown"]}
    with forebay_up(data, model, environment=lease) as system, second_runner(system, *model.popitem()):
        async with AsyncClient(system.grpc) as client, watched(client, "frozen") as history:
            load = Load(client, history, tasks=300, slow_every=1)
            frozen = system.runner("countdown")
            async with asyncio.TaskGroup() as group:
                group.create_task(load.run())
                await history.until_ended(chance.randrange(30, 100))
                frozen.suspend()
                frozen_at = time.time()
                written = (data / "logs" / "agent.log").stat().st_size
                held = history.under_way()
                await history.until_attempt(2, held)
                # The others of its tasks, too, while it still sleeps.
                await client.wait_many(held, 60)
                assert frozen.status() == "stopped"
                frozen.resume()
            async with asyncio.timeout(10):
                assert await refused(system, written) in REFUSED
            verdict = await history.check(client)
    assert verdict.states == {TaskState.SUCCEEDED: load.tasks}
    again = [record for record in verdict.records.values() if record.attempt > 1]
    late_s = [
        event.time.timestamp() - frozen_at
        for record in again
        for event in [event for event in record.events if event.state is TaskState.RUNNING][1:2]
        if event.time is not None
    ]
    print(verdict.attempts, f"leased again after {min(late_s):.2f} to {max(late_s):.2f} s")  # noqa: T201  for -s
    assert {record.runner for record in again} == {SECOND}
    assert max(late_s) < LEASE_S + 2.0
