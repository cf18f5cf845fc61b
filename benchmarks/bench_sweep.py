"""What sweeping costs while nothing is due, with few records and with very many.

The records are healthy: part of them wait for a time far off and have a deadline, the others are queued for a model
that nobody serves, as they are after they were shelved. Nothing of them is due, and the sweeper must not notice them.
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

from benchmarks import machine
from forebay.tasks.v1.envelope_pb2 import Envelope
from scheduler.adapters.redis import RedisAdmission, connect
from scheduler.ids import PARTITIONS, new_ids
from scheduler.ports.records import NewTask
from scheduler.states import Level, TaskState
from services.cli.up import servers_file
from tests.system import System, forebay_up
from tests.tiny_models import save_add

BAR_PERCENT = 1.0
BATCH = 500
WATCHED = ("scheduler", "valkey")
DAY_MS = 86_400_000


async def fill(url: str, records: int) -> None:
    """Record so many tasks, half of them SCHEDULED with a deadline."""
    client = connect(url, timeout_s=30.0)
    store = RedisAdmission(client)
    now_ms = time.time_ns() // 1_000_000
    far_ms = now_ms + 30 * DAY_MS
    try:
        for number, first in enumerate(range(0, records, BATCH)):
            ids = new_ids(number % PARTITIONS, min(BATCH, records - first), now_ms)
            waits = number // PARTITIONS % 2 == 0
            _, tickets = await store.create([_task(task_id, far_ms if waits else 0) for task_id in ids])
            await store.mark_published(tickets)
    finally:
        await client.aclose()


def _task(task_id: str, far_ms: int) -> NewTask:
    envelope = Envelope(
        id=task_id,
        tenant="default",
        model="nobody",
        priority=3,  # type: ignore[arg-type]  # levels have the numbers of priorities
        pool="default",
        max_attempts=3,
        not_before_ms=far_ms,
    )
    return NewTask(
        task_id,
        "default",
        "default",
        Level.NORMAL,
        envelope.SerializeToString(),
        3,
        far_ms + DAY_MS if far_ms else 0,
        state=TaskState.SCHEDULED if far_ms else TaskState.QUEUED,
        not_before_ms=far_ms,
    )


def cpu_percent(system: System, seconds: float) -> dict[str, float]:
    """Wait that long, and return what the watched processes used meanwhile, in % of one core."""
    processes = system.children()
    before = machine.cpu_seconds(processes)
    began_s = time.perf_counter()
    time.sleep(seconds)
    took_s = time.perf_counter() - began_s
    after = machine.cpu_seconds(processes)
    return {name: (after[name] - before[name]) / took_s * 100 for name in WATCHED}


def _valkey_mb(processes: Sequence[psutil.Process]) -> float:
    return machine.memory_mb(processes)["valkey"]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=30.0)
    options = parser.parse_args()
    machine.print_header("sweeping while nothing is due")
    with tempfile.TemporaryDirectory(prefix="forebay-bench-") as name:
        folder = Path(name)
        # Its file of records is as large as the records: nothing else is on this disk.
        with forebay_up(folder / "data", {"add": save_add(folder / "add.onnx")}) as system:
            time.sleep(8.0)
            empty = cpu_percent(system, options.seconds)
            began_s = time.perf_counter()
            url = servers_file.read(folder / "data")["FOREBAY_REDIS_URL"]
            asyncio.run(fill(url, options.records))
            print(f"{options.records} records made in {time.perf_counter() - began_s:.0f} s")
            time.sleep(15.0)
            full = cpu_percent(system, options.seconds)
            memory_mb = _valkey_mb(system.children())
    print(f"{'process':12s} {'empty':>8s} {'full':>8s} {'difference':>11s}   in % of a core")
    for process in WATCHED:
        rise = full[process] - empty[process]
        print(f"{process:12s} {empty[process]:8.2f} {full[process]:8.2f} {rise:11.2f}")
    print(f"valkey holds {memory_mb:.0f} MB, {memory_mb * 1e6 / options.records:.0f} bytes a record")
    total = sum(full.values()) - sum(empty.values())
    print(f"bar: {options.records} records add under {BAR_PERCENT:.0f} % of a core; they add {total:.2f} %")


if __name__ == "__main__":
    main()
