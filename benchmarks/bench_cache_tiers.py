"""What a look-up in each tier of the result cache takes, one at a time on an idle loop.

    python -m benchmarks.bench_cache_tiers [--seconds 3] [--body-bytes 2048]

Beside Redis stands a bare GET of the same value over the same client, by turns: what a round trip takes without the
tier. Beside the disk stands a call of a thread that does nothing.
"""

import argparse
import asyncio
import os
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from random import Random
from statistics import median, quantiles
from typing import Final

import uvloop

from benchmarks.bars import at_most
from benchmarks.machine import print_header
from cache.adapters.disk import DiskTier
from cache.adapters.memory import MemoryTier
from cache.adapters.redis import RedisTier, carrying
from cache.adapters.redis.names import prefix
from cache.eviction import PolicyName
from cache.ports import Entry, Key, Tier
from cache.tiers import TierSettings
from scheduler.adapters.redis import connect
from scheduler.adapters.redis.connection import round_trip
from services.embedded import valkey

ENTRIES: Final = 2_000
NOW_MS: Final = 1_800_000_000_000
DAY_MS: Final = 86_400_000
NAMESPACE: Final = b"benchmark-tenant"
MEMORY_US: Final = 5.0
REDIS_MS: Final = 0.5
DISK_MS: Final = 1.0
Call = Callable[[], Awaitable[object]]


def settings(capacity_bytes: int, policy: PolicyName = PolicyName.SCAN_RESISTANT) -> TierSettings:
    """Return settings under which nothing goes."""
    return TierSettings(capacity_bytes, capacity_bytes, 64 << 20, DAY_MS, policy)


def new_entry(body_bytes: int) -> Entry:
    """Return an entry with a body that cannot be compressed."""
    body = os.urandom(body_bytes)
    return Entry(body, "smollm2", b"i" * 32, (b"label--1",), NOW_MS, NOW_MS + DAY_MS, 100.0, False)


def keys() -> list[Key]:
    """Return the keys that are looked up."""
    return [Key(NAMESPACE, number.to_bytes(32, "big")) for number in range(ENTRIES)]


async def fill(tier: Tier, body_bytes: int) -> None:
    """Put an entry under every key."""
    given = keys()
    for start in range(0, ENTRIES, 50):
        await tier.put([(key, new_entry(body_bytes)) for key in given[start : start + 50]], NOW_MS)


async def by_turns(calls: dict[str, Call], seconds: float) -> dict[str, list[float]]:
    """Return the seconds that each call took, made one after another by turns."""
    took: dict[str, list[float]] = {name: [] for name in calls}
    end_s = time.perf_counter() + seconds
    while time.perf_counter() < end_s:
        for name, call in calls.items():
            began_s = time.perf_counter()
            await call()
            took[name].append(time.perf_counter() - began_s)
    return took


def say(what: str, took: list[float], bar_ms: float | None = None) -> None:
    """Print median and 99th percentile, and how the median stands to its bar."""
    p99 = quantiles(took, n=100)[98]
    bar = "" if bar_ms is None else f"; at most {bar_ms:g} ms: {at_most(median(took) * 1e3, bar_ms)}"
    print(f"{what}: {median(took) * 1e3:.3f} ms at the median, p99 {p99 * 1e3:.3f} ms, n={len(took)}{bar}")


def start_server(folder: Path, socket: Path) -> subprocess.Popen[bytes]:
    """Start a server of the benchmark's own."""
    return subprocess.Popen(
        valkey.command(folder, socket), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )


async def measure_memory(body_bytes: int, seconds: float) -> None:
    """Print what `find` takes under each policy."""
    given = keys()
    for policy in PolicyName:
        tier = MemoryTier(settings(1 << 30, policy), Random(1))
        await fill(tier, body_bytes)
        rounds = []
        end_s = time.perf_counter() + seconds / len(PolicyName)
        while time.perf_counter() < end_s:
            began_s = time.perf_counter()
            for key in given:
                tier.find(key, NOW_MS)
            rounds.append((time.perf_counter() - began_s) / ENTRIES)
        us = median(rounds) * 1e6
        print(f"memory find, {policy.value}: {us:.2f} us; at most {MEMORY_US:g} us: {at_most(us, MEMORY_US)}")


async def measure_redis(body_bytes: int, seconds: float) -> None:
    """Print what a look-up in Redis takes."""
    random = Random(2)
    given = keys()
    with tempfile.TemporaryDirectory(prefix="forebay-") as folder:
        socket = Path(folder) / "v.sock"
        server = start_server(Path(folder), socket)
        async with AsyncExitStack() as stack:
            stack.callback(server.wait)
            stack.callback(server.terminate)
            await valkey.wait_ready(socket, 10.0)
            client = connect(valkey.address(socket), timeout_s=5.0)
            stack.push_async_callback(client.aclose)
            await stack.enter_async_context(carrying(client))
            tier = RedisTier(client, settings(1 << 30), lookup_s=5.0)
            await fill(tier, body_bytes)
            stored = f"{prefix(NAMESPACE)}e:".encode()
            took = await by_turns(
                {
                    "redis get": lambda: tier.get([random.choice(given)], NOW_MS),
                    "redis miss": lambda: tier.get([Key(NAMESPACE, random.randbytes(32))], NOW_MS),
                    "bare GET": lambda: round_trip(client, [("GET", stored + random.choice(given).digest)]),
                },
                seconds,
            )
    for name, each in took.items():
        say(name, each, REDIS_MS if name == "redis get" else None)


async def measure_disk(body_bytes: int, seconds: float) -> None:
    """Print what a look-up on disk takes, of entries that are in files."""
    random = Random(2)
    given = keys()
    with tempfile.TemporaryDirectory(prefix="forebay-") as folder:
        tier = await DiskTier.open(Path(folder), settings(1 << 30), Random(1), NOW_MS)
        await fill(tier, body_bytes)
        await tier.close()
        tier = await DiskTier.open(Path(folder), settings(1 << 30), Random(1), NOW_MS, lookup_s=5.0)
        took = await by_turns(
            {
                "disk get": lambda: tier.get([random.choice(given)], NOW_MS),
                "disk miss": lambda: tier.get([Key(NAMESPACE, random.randbytes(32))], NOW_MS),
                "a thread's call": lambda: asyncio.to_thread(lambda: None),
            },
            seconds,
        )
        await tier.close()
    for name, each in took.items():
        say(name, each, DISK_MS if name == "disk get" else None)


async def measure(seconds: float, body_bytes: int) -> None:
    """Measure the tiers one after another."""
    await measure_memory(body_bytes, seconds)
    await measure_redis(body_bytes, seconds)
    await measure_disk(body_bytes, seconds)


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=3.0, help="length of each measurement")
    parser.add_argument("--body-bytes", type=int, default=2048, help="size of an entry's body")
    given = parser.parse_args()
    print_header("look-ups in the tiers of the result cache")
    uvloop.run(measure(given.seconds, given.body_bytes))


if __name__ == "__main__":
    main()
