"""What an answer from each tier of the cache costs beside a call that does nothing, on the same server.

    python -m benchmarks.bench_cache [--calls 4000] [--bytes 256] [--in-flight 64] [--turns 40] [--check]

Three gateways, each in a process of its own: one whose answers are in its memory, one with room for them in Redis
alone, one with room for them on its disk alone. First one client with one call at a time: an empty unary call and hits
by the native door and by that of KServe take turns in an order that is drawn, so that what disturbs one disturbs all
and none always comes after the same other. Then many calls at once on one hot key, and as many empty ones, by turns.

Bars: the median of a hit in the memory is at most 1.15 times that of the empty call, that in Redis at most 0.5 ms above
it, that on disk at most 1 ms; and with 64 in flight hits come at 90 % of the rate of empty calls at least. `--check`
makes missing the first an error.
"""

import argparse
import asyncio
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random
from typing import Any, Final

import psutil

from benchmarks.bars import at_least, at_most
from benchmarks.cache_gateway import run_gateway
from benchmarks.machine import print_header

HIT_RATIO: Final = 1.15
REDIS_MS: Final = 0.5
DISK_MS: Final = 1.0
RATE_RATIO: Final = 0.9
Call = Callable[[], Awaitable[Any]]
Kinds = dict[str, Call]


async def kinds_of(address: str, size: int, stack: AsyncExitStack) -> Kinds:
    """Return the calls that are compared on one gateway; the answer of all hits is in the cache."""
    import grpc.aio

    from forebay.compat.kserve import kserve_service_pb2 as kserve
    from forebay.compat.kserve import kserve_service_pb2_grpc
    from forebay.inference.v1 import inference_service_pb2 as contract
    from forebay.inference.v1 import inference_service_pb2_grpc
    from forebay.tasks.v1 import inputs_pb2

    shape = [1, max(1, size // 4)]
    raw = bytes(4 * shape[1])
    tensor = inputs_pb2.Tensor(name="x", datatype="FP32", shape=shape, raw=raw)
    native_request = contract.InferRequest(model="m", tensors=inputs_pb2.TensorInput(tensors=[tensor]))
    kserve_request = kserve.ModelInferRequest(model_name="m", raw_input_contents=[raw])
    kserve_request.inputs.add(name="x", datatype="FP32", shape=shape)
    channel = await stack.enter_async_context(grpc.aio.insecure_channel(address))
    native: Any = inference_service_pb2_grpc.InferenceServiceStub(channel)
    door: Any = kserve_service_pb2_grpc.GRPCInferenceServiceStub(channel)
    await native.Infer(native_request)
    # It is written behind its request into the tiers below.
    while not (await native.Infer(native_request)).execution.cached:
        pass
    return {
        "empty call": lambda: door.ServerLive(kserve.ServerLiveRequest()),
        "native hit": lambda: native.Infer(native_request),
        "KServe hit": lambda: door.ModelInfer(kserve_request),
    }


async def one_at_a_time(kinds: Kinds, calls: int) -> dict[str, float]:
    """Return the median of each kind of call, in microseconds."""
    took: dict[str, list[float]] = {name: [] for name in kinds}
    order = list(kinds)
    chance = Random(1)
    for turn in range(calls + calls // 10):
        chance.shuffle(order)
        for name in order:
            call = kinds[name]
            began_s = time.perf_counter()
            await call()
            # The first tenth is for warming up.
            if turn >= calls // 10:
                took[name].append(time.perf_counter() - began_s)
    return {name: statistics.median(each) * 1e6 for name, each in took.items()}


async def rate(call: Call, in_flight: int, seconds: float) -> float:
    """Return calls a second with so many at once."""
    done = 0
    began_s = time.perf_counter()

    async def work() -> None:
        nonlocal done
        while time.perf_counter() - began_s < seconds:
            await call()
            done += 1

    await asyncio.gather(*[work() for _ in range(in_flight)])
    return done / (time.perf_counter() - began_s)


@dataclass(slots=True)
class Rate:
    """Calls with many at once, over all turns."""

    calls: float = 0.0
    seconds: float = 0.0
    cpu_s: float = 0.0
    """Of the gateway's process."""


async def rates(kinds: Kinds, gateway: int, given: argparse.Namespace) -> dict[str, Rate]:
    """Return the rate of each kind; turns are short, in an order that is drawn, and the first is for warming up."""
    found = {name: Rate() for name in kinds}
    process, chance, order = psutil.Process(gateway), Random(2), list(kinds)
    for turn in range(given.turns + 1):
        chance.shuffle(order)
        for name in order:
            before = process.cpu_times()
            each = await rate(kinds[name], given.in_flight, given.seconds)
            after = process.cpu_times()
            if turn:
                found[name].calls += each * given.seconds
                found[name].seconds += given.seconds
                found[name].cpu_s += after.user + after.system - before.user - before.system
    return found


def say_times(tier: str, medians: dict[str, float], bar_ms: float | None) -> bool:
    """Print what a hit in a tier takes, and return whether the native one reaches its bar."""
    empty_us = medians["empty call"]
    print(f"{tier}: empty call {empty_us:.0f} us")
    for name in ("native hit", "KServe hit"):
        us = medians[name]
        if bar_ms is None:
            verdict = f"at most {HIT_RATIO:g}: {at_most(us / empty_us, HIT_RATIO)}"
        else:
            verdict = f"at most +{bar_ms:g} ms: {at_most(us - empty_us, bar_ms * 1e3)}"
        above_ms = (us - empty_us) / 1e3
        print(
            f"{tier}: {name} {us:.0f} us, {us / empty_us:.2f} of an empty call, {above_ms:+.3f} ms; {verdict}"
        )
    return bar_ms is not None or medians["native hit"] <= HIT_RATIO * empty_us


def say_rates(found: dict[str, Rate], in_flight: int) -> None:
    """Print how the rates of hits stand to that of empty calls."""
    empty = found["empty call"]
    for name, one in found.items():
        ratio = (one.calls / one.seconds) / (empty.calls / empty.seconds)
        verdict = f"; at least {RATE_RATIO:g}: {at_least(ratio, RATE_RATIO)}" if "hit" in name else ""
        print(
            f"{in_flight} in flight: {name} {one.calls / one.seconds:,.0f}/s, {ratio:.2f} of empty calls, "
            f"{one.cpu_s / one.calls * 1e6:.0f} us of the gateway's processor time each{verdict}"
        )


async def measure(addresses: dict[str, str], processes: dict[str, int], given: argparse.Namespace) -> bool:
    """Measure and print; return whether hits in the memory reach their bar."""
    async with AsyncExitStack() as stack:
        kinds = {tier: await kinds_of(address, given.bytes, stack) for tier, address in addresses.items()}
        reached = True
        for tier, bar_ms in (("memory", None), ("redis", REDIS_MS), ("disk", DISK_MS)):
            medians = await one_at_a_time(kinds[tier], given.calls)
            reached &= say_times(tier, medians, bar_ms)
        say_rates(await rates(kinds["memory"], processes["memory"], given), given.in_flight)
    return reached


def main() -> int:
    """Measure, and return the exit code."""
    from services.gateway.caching import CacheSettings

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--calls", type=int, default=4000, help="of each kind, one at a time")
    parser.add_argument("--bytes", type=int, default=256, help="size of the tensor")
    parser.add_argument("--in-flight", type=int, default=64)
    parser.add_argument("--turns", type=int, default=40, help="with many in flight")
    parser.add_argument("--seconds", type=float, default=0.25, help="length of a turn of one kind")
    parser.add_argument("--check", action="store_true")
    given = parser.parse_args()
    print_header("hits in the tiers of the result cache, beside an empty call")
    in_memory = CacheSettings(enabled=True, most_refreshes=0)
    below = replace(in_memory, memory_bytes=1, memory_namespace_bytes=1)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="forebay-")))
        (folder / "valkey").mkdir()
        tiers = {
            "memory": (in_memory, None),
            "redis": (below, folder / "valkey"),
            "disk": (replace(below, disk_folder=folder / "disk"), None),
        }
        context = multiprocessing.get_context("spawn")
        addresses: dict[str, str] = {}
        processes: dict[str, int] = {}
        for tier, (settings, server) in tiers.items():
            ours, theirs = context.Pipe()
            gateway = context.Process(target=run_gateway, args=(theirs, settings, server))
            gateway.start()
            theirs.close()
            stack.callback(ended, gateway, ours)
            addresses[tier] = ours.recv()
            assert gateway.pid is not None, "it was started"
            processes[tier] = gateway.pid
        reached = asyncio.run(measure(addresses, processes, given))
    return int(given.check and not reached)


def ended(gateway: Any, pipe: Connection) -> None:
    """Let a gateway end in order: it may have a server of its own."""
    pipe.close()
    gateway.join(10)


if __name__ == "__main__":
    raise SystemExit(main())
