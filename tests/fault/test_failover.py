"""Two schedulers on Apache Pulsar: the lanes of one that is killed go to the other, in mid-work."""

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from forebay.client import AsyncClient, TaskState
from scheduler.adapters.pulsar import ensure_topics
from scheduler.lanes import Lane, tenant_lanes
from scheduler.states import Level
from services.connections import QueueSettings
from services.embedded import valkey
from services.gateway.settings import GatewaySettings
from tests.fault.conftest import SCALE
from tests.fault.history import watched
from tests.fault.load import Load
from tests.fixtures.pulsar import ApachePulsar
from tests.system import forebay_up

pytestmark = [pytest.mark.slow, pytest.mark.pulsar, pytest.mark.timeout(120 + 20 * SCALE)]

NAMESPACE = "public/default"
SETTINGS = {"FOREBAY_SCHEDULER_LEASE_MS": "1500", "FOREBAY_SCHEDULER_REPUBLISH_AFTER_MS": "1500"}
TAKE_OVER_S = 10.0
LOOK_S = 0.02


@contextmanager
def second_scheduler(broker: ApachePulsar, data: Path) -> Iterator[subprocess.Popen[str]]:
    """Run a scheduler beside the one of `up`; yields when it serves."""
    environment = SETTINGS | {
        "FOREBAY_REDIS_URL": valkey.address(data / "valkey.sock"),
        "FOREBAY_BROKER_URL": broker.url,
        "FOREBAY_BROKER_ADMIN_URL": broker.admin_url,
    }
    with subprocess.Popen(
        [sys.executable, "-m", "scheduler.service"],
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stderr is not None
            said = []
            for line in process.stderr:
                said.append(line)
                if '"scheduler serves"' in line:
                    break
            else:
                raise AssertionError("it ended at its start:\n" + "".join(said))
            yield process
        finally:
            process.kill()


def lanes_in_use() -> list[Lane]:
    """Return the lanes that the gateway's tenant owns."""
    indexes = tenant_lanes(GatewaySettings().tenant, QueueSettings().lanes)
    return [Lane("default", level, index) for level in Level for index in indexes]


async def owners(broker: ApachePulsar, lanes: list[Lane], pids: set[int]) -> Mapping[Lane, int | None]:
    """Ask the broker which process is active on each lane; None while nobody is."""
    ports = {port: pid for pid in pids for port in _ports(pid)}

    def owner(lane: Lane) -> int | None:
        topic = lane.topic(NAMESPACE).removeprefix("persistent://")
        with urllib.request.urlopen(
            f"{broker.admin_url}/admin/v2/persistent/{topic}/stats", timeout=5
        ) as page:
            subscription = json.load(page)["subscriptions"]["scheduler"]
        active = subscription.get("activeConsumerName")
        for consumer in subscription["consumers"]:
            if consumer["consumerName"] == active:
                return ports.get(int(consumer["address"].rpartition(":")[2]))
        return None

    return dict(
        zip(lanes, await asyncio.gather(*(asyncio.to_thread(owner, lane) for lane in lanes)), strict=True)
    )


async def settled(broker: ApachePulsar, lanes: list[Lane], pids: set[int]) -> Mapping[Lane, int | None]:
    """Wait until each lane belongs to one of these processes; return to which."""
    async with asyncio.timeout(TAKE_OVER_S):
        while not all((found := await owners(broker, lanes, pids)).values()):  # noqa: ASYNC110  the broker has no event
            await asyncio.sleep(LOOK_S)
    return found


def _ports(pid: int) -> list[int]:
    try:
        return [connection.laddr[1] for connection in psutil.Process(pid).net_connections("tcp")]
    except psutil.NoSuchProcess:
        return []


async def test_processes_that_start_at_once_make_the_topics_together(apache_pulsar: ApachePulsar) -> None:
    queues = [("together", level) for level in Level]
    async with asyncio.TaskGroup() as group:
        for _ in range(4):
            group.create_task(ensure_topics(apache_pulsar.admin_url, NAMESPACE, queues, 4))


async def test_the_other_scheduler_takes_over_the_lanes_of_a_killed_one(
    data: Path, models: dict[str, Path], chance: random.Random, apache_pulsar: ApachePulsar
) -> None:
    arguments = ["--broker", apache_pulsar.url, "--broker-admin", apache_pulsar.admin_url]
    lanes = lanes_in_use()
    with (
        forebay_up(data, models, arguments=arguments, environment=SETTINGS) as system,
        second_scheduler(apache_pulsar, data) as second,
    ):
        both = {system.pid("scheduler"), second.pid}
        shared = await settled(apache_pulsar, lanes, both)
        # The one beside `up`, whom nobody starts again; the other when the broker gave that one no lane in use.
        victim = second.pid if second.pid in shared.values() else system.pid("scheduler")
        survivor = (both - {victim}).pop()
        lost = [lane for lane, pid in shared.items() if pid == victim]
        async with AsyncClient(system.grpc) as client, watched(client, f"failover {victim}") as history:
            load = Load(client, history, tasks=1500 * SCALE, slow_every=20)
            async with asyncio.TaskGroup() as group:
                group.create_task(load.run())
                await history.until_ended(chance.randrange(200, 500) * SCALE)
                os.kill(victim, signal.SIGKILL)
                killed_s = time.monotonic()
                ended = history.ended
                assert ended < load.tasks
                await settled(apache_pulsar, lost, {survivor})
                taken_s = time.monotonic() - killed_s
                await history.until_ended(ended + load.workers * load.batch)
                through_s = time.monotonic() - killed_s
            verdict = await history.check(client)
    print(  # noqa: T201  for -s
        f"{len(lost)} of {len(lanes)} lanes in use taken over after {taken_s:.2f} s; "
        f"everything that was on its way had ended after {through_s:.2f} s; {verdict}"
    )
    assert verdict.states == {TaskState.SUCCEEDED: load.tasks}
