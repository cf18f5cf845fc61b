"""What it costs that a result cache is there when it never has the answer: on the direct way, and for durable tasks.

    python -m benchmarks.bench_cache_miss [--turns 5] [--seconds 2] [--in-flight 64] [--tasks 10000]

Systems with a cache and without are given inputs that never come twice, by turns. Of direct calls a runner in the
gateway's own process answers at once with what it gets: nothing is computed, so the share of a miss is the largest that
it can be. Durable tasks are those of `bench_tasks`, through whole platforms: without a cache, with one as it is by
default, and with one that looks for every task. The bar is on those, by default: with the cache at least 95 % of the
rate without. `--tasks 0` leaves them out.
"""

import argparse
import asyncio
import multiprocessing
import tempfile
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from random import Random
from typing import Any, Final

import grpc.aio
import psutil
import uvloop

from benchmarks.bars import at_least
from benchmarks.bench_cache import ended, rate
from benchmarks.bench_tasks import flood
from benchmarks.cache_gateway import run_gateway
from benchmarks.machine import cpu_seconds, print_header
from forebay.inference.v1 import inference_service_pb2 as contract
from forebay.inference.v1 import inference_service_pb2_grpc
from forebay.tasks.v1.inputs_pb2 import Tensor, TensorInput
from services.gateway.caching import CacheSettings
from tests.system import System, forebay_up
from tests.tiny_models import save_add

RATIO: Final = 0.95
WITHOUT: Final = "without a cache"
MEMORY: Final = "with a cache in memory"
WITH: Final = "with a cache in memory and Redis"
"""Of whole platforms, on disk as well."""
EVERY: Final = f"{WITH}, every task looked for"
TENSOR_BYTES: Final = 256


@dataclass(slots=True)
class Total:
    """What one system did in all its turns."""

    answered: float = 0.0
    seconds: float = 0.0
    cpu_s: float = 0.0
    """Processor time of its processes."""

    @property
    def rate(self) -> float:
        """Calls or tasks a second."""
        return self.answered / self.seconds

    @property
    def cpu_us(self) -> float:
        """Processor time of one, in microseconds."""
        return self.cpu_s / self.answered * 1e6


async def direct(gateways: dict[str, tuple[str, int]], given: argparse.Namespace) -> None:
    """Measure calls of waiting clients; gateways are given by address and process."""
    totals = {name: Total() for name in gateways}
    numbers, chance, order = count(), Random(1), list(gateways)
    async with AsyncExitStack() as stack:
        stubs: dict[str, Any] = {}
        for name, (address, _) in gateways.items():
            channel = await stack.enter_async_context(grpc.aio.insecure_channel(address))
            stubs[name] = inference_service_pb2_grpc.InferenceServiceStub(channel)

        async def ask(name: str) -> None:
            raw = next(numbers).to_bytes(TENSOR_BYTES, "little")
            tensor = Tensor(name="x", datatype="FP32", shape=[1, TENSOR_BYTES // 4], raw=raw)
            await stubs[name].Infer(contract.InferRequest(model="m", tensors=TensorInput(tensors=[tensor])))

        for turn in range(given.turns + 1):
            chance.shuffle(order)
            for name in order:
                process = psutil.Process(gateways[name][1])
                before = process.cpu_times()
                each = await rate(partial(ask, name), given.in_flight, given.seconds)
                after = process.cpu_times()
                if turn:
                    total = totals[name]
                    total.answered += each * given.seconds
                    total.seconds += given.seconds
                    total.cpu_s += after.user + after.system - before.user - before.system
    for name, total in totals.items():
        print(
            f"direct, {name}: {total.rate:,.0f} calls/s, {total.rate / totals[WITHOUT].rate:.3f} of the rate without, "
            f"{total.cpu_us:.0f} us of the gateway's processor time for each"
        )


def durable(systems: dict[str, System], given: argparse.Namespace) -> None:
    """Measure durable tasks."""
    totals = {name: Total() for name in systems}
    chance, order = Random(2), list(systems)
    for turn in range(given.turns + 1):
        chance.shuffle(order)
        for name in order:
            children = systems[name].children()
            before = sum(cpu_seconds(children).values())
            _, finished, _ = uvloop.run(flood(systems[name].grpc, given.tasks, 100, 8))
            if turn:
                total = totals[name]
                total.answered += given.tasks
                total.seconds += given.tasks / finished
                total.cpu_s += sum(cpu_seconds(children).values()) - before
    for name, total in totals.items():
        print(
            f"durable, {name}: {total.rate:,.0f} tasks/s end to end, "
            f"{total.cpu_us:.0f} us of all its processes' time for each"
        )
    every = totals[EVERY].rate / totals[WITHOUT].rate
    print(f"durable: every task looked for: {every:.3f} of the rate without")
    ratio = totals[WITH].rate / totals[WITHOUT].rate
    print(f"durable: {ratio:.3f} of the rate without; at least {RATIO:g}: {at_least(ratio, RATIO)}")


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="of a turn of direct calls")
    parser.add_argument("--in-flight", type=int, default=64)
    parser.add_argument("--tasks", type=int, default=10_000, help="of a turn, in calls of 100")
    given = parser.parse_args()
    print_header("what a miss costs")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="forebay-bench-")))
        context = multiprocessing.get_context("spawn")
        gateways = {}
        (folder / "valkey").mkdir()
        for name, server in ((WITHOUT, None), (MEMORY, None), (WITH, folder / "valkey")):
            ours, theirs = context.Pipe()
            settings = CacheSettings(enabled=name != WITHOUT)
            gateway = context.Process(target=run_gateway, args=(theirs, settings, server))
            gateway.start()
            theirs.close()
            stack.callback(ended, gateway, ours)
            assert gateway.pid is not None, "it was started"
            gateways[name] = ours.recv(), gateway.pid
        asyncio.run(direct(gateways, given))
    if not given.tasks:
        return
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="forebay-bench-")))
        model = save_add(folder / "add.onnx")
        enabled = {"FOREBAY_CACHE_ENABLED": "true"}
        environments = {
            WITHOUT: {"FOREBAY_CACHE_ENABLED": "false"},
            WITH: enabled,
            EVERY: {**enabled, "FOREBAY_CACHE_LEAST_TASK_WORK_MS": "0"},
        }
        systems = {
            name: stack.enter_context(
                forebay_up(folder / str(number), {"add": model}, environment=environment)
            )
            for number, (name, environment) in enumerate(environments.items())
        }
        durable(systems, given)


if __name__ == "__main__":
    main()
