"""How long recovery takes: records from the log, and the log from the records, on the embedded servers.

    python -m benchmarks.bench_recovery [--tasks 100000]

Accepts tasks as the gateway does, ends a part of them, empties the store, and recovers; then recovers again, and puts
everything that is open on the log once more.
"""

import argparse
import asyncio
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from hashlib import sha256
from pathlib import Path
from typing import Any

from benchmarks import machine
from forebay.tasks.v1 import task_pb2
from forebay.tasks.v1.envelope_pb2 import Bundle, Ended, Endings, Envelope
from scheduler.adapters.pulsar import PulsarPublisher
from scheduler.adapters.redis import connect
from scheduler.bundles import bundle_properties
from scheduler.ids import PARTITIONS, new_ids
from scheduler.lanes import Lane
from scheduler.states import Level
from services.cli.up import ports
from services.embedded import pulsar_lite, valkey

BAR_S = 60
BUNDLE = 100
ENDED_PART = 0.1


def fill(tasks: int) -> tuple[list[Bundle], Endings]:
    """Return bundles of accepted tasks, and the endings of some of them."""
    body = task_pb2.TaskSpec(model="echo", labels={"payload": "x" * 200}).SerializeToString()
    digest = sha256(body).digest()
    bundles, ended = [], []
    for first in range(0, tasks, BUNDLE):
        bundle = Bundle()
        now_ms = time.time_ns() // 1_000_000
        for task_id in new_ids(first // BUNDLE % PARTITIONS, min(BUNDLE, tasks - first), now_ms):
            envelope = Envelope(
                id=task_id, tenant=f"tenant-{first % 7}", spec=body, sha256=digest, model="echo",
                priority=task_pb2.PRIORITY_NORMAL, pool="default", create_time_ms=now_ms, max_attempts=3,
            )  # fmt: skip
            bundle.publications.add(envelope=envelope, publication=1)
        bundles.append(bundle)
        ended += [each.envelope.id for each in bundle.publications[: int(BUNDLE * ENDED_PART)]]
    return bundles, Endings(ended=[Ended(state=task_pb2.TASK_STATE_SUCCEEDED, ids=ended)])


async def put(url: str, bundles: list[Bundle], endings: Endings) -> None:
    """Publish everything."""
    publisher = PulsarPublisher(url)
    try:
        for first in range(0, len(bundles), 64):
            await asyncio.gather(
                *(
                    _publish(publisher, Lane("default", Level.NORMAL, (first + index) % 8), bundle)
                    for index, bundle in enumerate(bundles[first : first + 64])
                )
            )
        await publisher.journal(endings.SerializeToString())
    finally:
        await publisher.close()


async def _publish(publisher: PulsarPublisher, lane: Lane, bundle: Bundle) -> None:
    payload = bundle.SerializeToString()
    await publisher.publish(lane, payload, bundle_properties(lane, payload))


def repair(verb: str, environment: dict[str, str]) -> tuple[float, dict[str, Any]]:
    """Run one repair in its own process; returns its seconds and what it did."""
    begun = time.perf_counter()
    ended = subprocess.run(
        [sys.executable, "-m", "services.recovery", verb],
        env={**os.environ, **environment}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return time.perf_counter() - begun, json.loads(ended.stdout)


async def empty(url: str) -> None:
    """Lose everything that the store has."""
    client = connect(url, timeout_s=30.0)
    try:
        await client.flushall()
    finally:
        await client.aclose()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=100_000)
    tasks = parser.parse_args().tasks
    machine.print_header("recovery")
    with tempfile.TemporaryDirectory(prefix="fb-bench-") as name:
        folder = Path(name)
        (folder / "valkey").mkdir()
        (port,) = ports.pick("127.0.0.1", 1)
        commands = [
            valkey.command(folder / "valkey", folder / "v.sock"), pulsar_lite.command(folder / "broker", port)
        ]  # fmt: skip
        servers = [subprocess.Popen(command, stdout=subprocess.DEVNULL) for command in commands]
        redis, broker = valkey.address(folder / "v.sock"), pulsar_lite.url(port)
        try:
            asyncio.run(valkey.wait_ready(folder / "v.sock", 20.0))
            asyncio.run(pulsar_lite.wait_ready(port))
            asyncio.run(put(broker, *fill(tasks)))
            asyncio.run(empty(redis))
            environment = {"FOREBAY_REDIS_URL": redis, "FOREBAY_BROKER_URL": broker}
            measured = {}
            for what, verb in (
                ("recover", "replay"),
                ("recover again", "replay"),
                ("republish", "republish"),
            ):
                seconds, did = repair(verb, environment)
                measured[what] = {"seconds": round(seconds, 2), **did}
        finally:
            for server in servers:
                server.kill()
                server.wait()
    peak_mib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    for what, did in measured.items():
        print(f"{what:14s} {did.pop('seconds'):6.2f} s  {json.dumps(did)}")
    print(f"largest process {peak_mib:.0f} MiB; bar: {tasks} tasks recovered in under {BAR_S} s")


if __name__ == "__main__":
    main()
