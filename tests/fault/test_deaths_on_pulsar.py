"""Everything killed in random order under load, on Apache Pulsar, and Pulsar itself as well."""

import asyncio
import os
import random
import re
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from forebay.client import AsyncClient, RetryPolicy, TaskState
from services.cli.up import ports
from tests.fault.conftest import SCALE
from tests.fault.history import watched
from tests.fault.kinds import nothing_is_left
from tests.fault.load import Load
from tests.fault.test_deaths_of_our_processes import back
from tests.fixtures import pulsar
from tests.fixtures.components import missing
from tests.system import System, forebay_up

pytestmark = [pytest.mark.slow, pytest.mark.pulsar, pytest.mark.timeout(540 + 60 * SCALE)]
"""Apache Pulsar alone needs 10 s to start on an idle laptop, and a minute on a busy machine: twice in this test."""

SETTINGS = {
    "FOREBAY_SCHEDULER_LEASE_MS": "1500",
    "FOREBAY_SCHEDULER_REPUBLISH_AFTER_MS": "1500",
    "FOREBAY_BROKER_SEND_TIMEOUT_S": "5",
}
MORTALS = ("gateway", "scheduler", "valkey", "countdown", "add")
"""Children of `up`, and runners by their models."""
PACE = 300
"""Tasks that end between one death and the next."""
OUTAGE_S = 180.0
"""Longest wait for what needs Apache Pulsar, which comes back meanwhile: what counts here is what is lost."""


@dataclass
class OwnPulsar:
    """A standalone Apache Pulsar that may be killed and started again on its data and ports."""

    home: Path
    folder: Path
    ports: tuple[int, int]
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"pulsar://127.0.0.1:{self.ports[0]}"

    @property
    def admin_url(self) -> str:
        return f"http://127.0.0.1:{self.ports[1]}"

    def start(self) -> None:
        """Start it and wait until it is healthy."""
        self.process = pulsar._start_standalone(self.home, self.folder, *self.ports)
        pulsar._wait_healthy(self.process, self.admin_url, self.folder)

    def kill(self) -> None:
        """SIGKILL the server and the script that started it."""
        if self.process is not None:
            pulsar._stop_group(self.process)
            self.process = None


@pytest.fixture
def own_pulsar(tmp_path: Path) -> Iterator[OwnPulsar]:
    home = Path(os.environ.get(pulsar.PULSAR_HOME, "") or os.devnull)
    if not (home / "bin" / "pulsar").is_file():
        missing("Apache Pulsar", f"set {pulsar.PULSAR_HOME} to an unpacked distribution of 4.0.8")
    first, second = ports.pick("127.0.0.1", 2)
    broker = OwnPulsar(home, tmp_path, (first, second))
    try:
        broker.start()
        yield broker
    finally:
        broker.kill()


async def die(system: System, name: str) -> None:
    """SIGKILL one of them, and wait until it is there again where that can be told."""
    if name in ("add", "countdown"):
        os.kill(system.runner(name).pid, signal.SIGKILL)
    else:
        await back(system, name, system.kill(name))


async def test_whatever_dies_in_whatever_order_every_task_ends_once(
    data: Path, models: dict[str, Path], chance: random.Random, own_pulsar: OwnPulsar
) -> None:
    arguments = ["--broker", own_pulsar.url, "--broker-admin", own_pulsar.admin_url]
    order = [*chance.sample(MORTALS, len(MORTALS)), "pulsar"]
    chance.shuffle(order)
    with forebay_up(data, models, arguments=arguments, environment=SETTINGS, ready_s=OUTAGE_S) as system:
        patient = RetryPolicy(attempts=20, reconnect_s=OUTAGE_S)
        async with AsyncClient(system.grpc, retry=patient) as client, watched(client, "all die") as history:
            tasks = PACE * (len(order) + 1) * SCALE
            load = Load(client, history, tasks=tasks, slow_every=10, submit_s=60.0, wait_s=OUTAGE_S)
            async with asyncio.TaskGroup() as group:
                group.create_task(load.run())
                for number, name in enumerate(order):
                    await history.until_ended(PACE * number * SCALE + chance.randrange(50, PACE))
                    assert history.ended < load.tasks
                    if name == "pulsar":
                        own_pulsar.kill()
                        await asyncio.to_thread(own_pulsar.start)
                    else:
                        await die(system, name)
            verdict = await history.check(client)
            await nothing_is_left(client)
        # Whatever else it has to wait for, it dies of nothing but us.
        deaths = [line for line in system.lines if re.match(r"gateway +died", line)]
        assert len(deaths) == 1 and "by SIGKILL" in deaths[0], deaths
    print(order, verdict, len(load.refusals), "refusals")  # noqa: T201  for -s
    assert verdict.states == {TaskState.SUCCEEDED: load.tasks}
    assert len(history.accepted) == load.tasks
