"""How a gateway's cold tier comes back after a restart: how long until the first look-up, and in how much memory.

    python -m benchmarks.bench_cache_restart [--mib 1024] [--body-bytes 4096]

One process fills the tier on disk and ends. A second one, which has nothing else in it, opens the tier again: it reads
what is known of each entry and no bodies. Then half of the entries have expired, and sweeps as a gateway makes them
remove those: the files must become smaller again. The bar is on memory: it grows with the number of entries, never with
what is in them, by less than `MOST_BYTES` for each.
"""

import argparse
import asyncio
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from random import Random
from typing import Final

import psutil
import uvloop

from benchmarks.bars import at_most
from benchmarks.machine import print_header
from cache.adapters.disk import DiskTier
from cache.eviction import PolicyName
from cache.ports import Entry, Key
from cache.tiers import TierSettings

NAMESPACE: Final = b"benchmark-tenant"
NOW_MS: Final = 1_800_000_000_000
HOUR_MS: Final = 3_600_000
MOST_BYTES: Final = 2048
"""Of memory for each entry, while the index is read; the database's own buffers stand beside it."""
BUFFERS_MIB: Final = 128
"""The interpreter's libraries, and what RocksDB may hold."""
SWEEP_ENTRIES: Final = 512
SETTLED_S: Final = 60.0
LOOK_S: Final = 0.2


def settings(mib: int) -> TierSettings:
    """Return settings under which nothing goes before its time."""
    return TierSettings(mib << 22, mib << 22, 64 << 20, 24 * HOUR_MS, PolicyName.SCAN_RESISTANT)


def key(number: int) -> Key:
    """Return a key that is spread as digests are."""
    return Key(NAMESPACE, Random(number).randbytes(32))


def files_mib(folder: Path) -> float:
    """Return what the files in a folder and below it take."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 2**20


def resident_mib() -> float:
    """Return what this process holds at present."""
    return psutil.Process().memory_info().rss / 2**20


async def fill(folder: Path, count: int, body_bytes: int, mib: int) -> None:
    """Put so many entries, every other of which lives for an hour only."""
    tier = await DiskTier.open(folder, settings(mib), Random(1), NOW_MS)
    for start in range(0, count, 64):
        batch = []
        for number in range(start, min(count, start + 64)):
            until_ms = NOW_MS + (HOUR_MS if number % 2 else 12 * HOUR_MS)
            body = os.urandom(body_bytes)
            batch.append((key(number), Entry(body, "smollm2", b"i" * 32, (), NOW_MS, until_ms, 100.0, False)))
        await tier.put(batch, NOW_MS)
    await tier.close()


async def come_back(folder: Path, count: int, mib: int) -> None:
    """Open the tier, look up, let half of it expire, and print what that took."""
    before_mib, full_mib = resident_mib(), files_mib(folder)
    began_s, began_cpu_s = time.perf_counter(), time.process_time()
    tier = await DiskTier.open(folder, settings(mib), Random(1), NOW_MS + 1, open_s=600.0)
    opened_s, opened_cpu_s = time.perf_counter() - began_s, time.process_time() - began_cpu_s
    [found] = await tier.get([key(count // 2)], NOW_MS + 1)
    first_s = time.perf_counter() - began_s
    assert found is not None, "it was put there"
    entries = tier.stats().entries
    assert entries == count, f"{entries} of {count} entries are there again"
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    print(f"{entries:,} entries, {full_mib:,.0f} MiB of files", flush=True)
    print(
        f"opened in {opened_s:.2f} s ({opened_cpu_s:.2f} s of processor time), "
        f"first look-up answered after {first_s:.2f} s"
    )
    most_mib = BUFFERS_MIB + count * MOST_BYTES / 2**20
    print(
        f"memory: {before_mib:.0f} MiB before, {resident_mib():.0f} MiB open, {peak_mib:.0f} MiB at the most; "
        f"growth at most {most_mib:.0f} MiB: {at_most(peak_mib - before_mib, most_mib)}"
    )
    began_s, gone, steps = time.perf_counter(), 0, 0
    while gone < count // 2:
        gone += await tier.sweep(NOW_MS + 2 * HOUR_MS, lambda key, entry: False, SWEEP_ENTRIES)
        steps += 1
    swept_s = time.perf_counter() - began_s
    # Files are compacted in the background, after the deletions are flushed.
    most_left_mib, left_mib = 0.75 * full_mib, files_mib(folder)
    for _ in range(int(SETTLED_S / LOOK_S)):
        if left_mib <= most_left_mib:
            break
        await asyncio.sleep(LOOK_S)
        await tier.sweep(NOW_MS + 3 * HOUR_MS, lambda key, entry: False, 1)
        left_mib = files_mib(folder)
    print(
        f"half of it expired: {gone:,} entries removed in {steps} sweeps of {SWEEP_ENTRIES}, {swept_s:.2f} s together; "
        f"{left_mib:,.0f} MiB of files left: {at_most(left_mib, most_left_mib)}"
    )
    await tier.close()


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--mib", type=int, default=1024, help="size of the tier's bodies")
    parser.add_argument("--body-bytes", type=int, default=4096, help="size of an entry's body")
    parser.add_argument(
        "--again", type=Path, help="a filled folder to be opened: what the second process does"
    )
    given = parser.parse_args()
    count = (given.mib << 20) // given.body_bytes
    if given.again is not None:
        uvloop.run(come_back(given.again, count, given.mib))
        return
    print_header("a cold tier after a restart")
    with tempfile.TemporaryDirectory(prefix="forebay-bench-") as folder:
        began_s = time.perf_counter()
        uvloop.run(fill(Path(folder), count, given.body_bytes, given.mib))
        print(f"filled in {time.perf_counter() - began_s:.1f} s", flush=True)
        second = [sys.executable, "-m", "benchmarks.bench_cache_restart", *sys.argv[1:], "--again", folder]
        subprocess.run(second, check=True)


if __name__ == "__main__":
    main()
