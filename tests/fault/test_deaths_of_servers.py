"""The broker and the record store frozen, killed and started again under load."""

import asyncio
import os
import random
import signal
from pathlib import Path

import pytest

from forebay.client import AsyncClient, RetryPolicy, TaskState, Unavailable
from tests.fault.conftest import SCALE
from tests.fault.history import watched
from tests.fault.load import Load
from tests.system import forebay_up

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120 + 20 * SCALE)]

ANSWER_S = 1.5
"""What the services wait for a server, by the settings below."""
MARGIN_S = 2.0
SETTINGS = {
    "FOREBAY_BROKER_SEND_TIMEOUT_S": f"{ANSWER_S}",
    "FOREBAY_REDIS_TIMEOUT_S": f"{ANSWER_S}",
    "FOREBAY_SCHEDULER_LEASE_MS": "3000",
    "FOREBAY_SCHEDULER_REPUBLISH_AFTER_MS": "1500",
}


@pytest.mark.parametrize(
    ("server", "reasons"),
    [("pulsar-lite", {"LOG_UNAVAILABLE"}), ("valkey", {"RECORDS_UNAVAILABLE"})],
    ids=["broker", "record store"],
)
async def test_submits_fail_typed_and_in_time_while_a_server_is_away_and_what_was_accepted_ends_once(
    server: str, reasons: set[str], data: Path, models: dict[str, Path], chance: random.Random
) -> None:
    with forebay_up(data, models, environment=SETTINGS) as system:
        # One try for each call: what the gateway answers is what is looked at.
        plain = AsyncClient(system.grpc, retry=RetryPolicy(attempts=1))
        async with plain as client, watched(client, server) as history:
            load = Load(client, history, tasks=900 * SCALE)
            async with asyncio.TaskGroup() as group:
                group.create_task(load.run())
                # Killed outright: it comes back before most callers notice.
                await history.until_ended(chance.randrange(100, 300) * SCALE)
                printed = system.kill(server)
                assert history.ended < load.tasks
                await asyncio.to_thread(system.wait_line, rf"^{server} +ready after", 30, after=printed)
                system.wait_line(
                    rf"^{server} +died \(by SIGKILL\); starting it again in 0.2 s", after=printed
                )
                # Frozen first, until somebody was refused, and then killed.
                await history.until_ended(chance.randrange(400, 600) * SCALE)
                os.kill(system.pid(server), signal.SIGSTOP)
                await load.refused(load.tasks)
                printed = system.kill(server)
                await asyncio.to_thread(system.wait_line, rf"^{server} +ready after", 30, after=printed)
                await load.work(iter([load.tasks]))
            verdict = await history.check(client)
        assert not [
            line
            for line in system.lines
            if line.startswith(("gateway ", "scheduler ", "agent ")) and "died" in line
        ]
    assert verdict.states == {TaskState.SUCCEEDED: load.tasks + 1}
    for refusal in load.refusals:
        error = refusal.error
        assert isinstance(error, Unavailable), (error.code, error.message)
        assert error.reason in reasons and error.retry_after_s, error.message
    slowest_s = max(refusal.took_s for refusal in load.refusals)
    assert slowest_s < 2 * ANSWER_S + MARGIN_S
    print(f"{verdict}, {len(load.refusals)} refusals, the slowest after {slowest_s:.2f} s")  # noqa: T201  for -s
