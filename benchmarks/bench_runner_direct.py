"""What a direct call costs its runner: a runner of a small MLP in its own process, driven over one real stream with at
most one batch outstanding, as a gateway does.

    python -m benchmarks.bench_runner_direct [--batches 1,16,64] [--seconds 3]

For each size of a batch: calls a second, and processor time of the runner a call, by thread, from /proc.
"""

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Final

import grpc.aio
import numpy as np
import uvloop

from benchmarks import machine
from benchmarks.mlp import WIDTH, save_mlp
from forebay.runner.v1.runner_service_pb2 import ExecuteRequest, ExecuteResponse
from forebay.runner.v1.runner_service_pb2_grpc import RunnerServiceStub
from services.lifecycle import CHANNEL_OPTIONS

WARM_UP_S: Final = 0.5


async def serve(model: Path) -> None:
    """Run a runner with stores in memory; its address goes to stdout."""
    from inference.loading import load_engine
    from inference.runner.runner import Runner, Stores
    from inference.runner.settings import RunnerSettings
    from inference.settings import EngineSettings
    from observability.metrics import RunnerMetrics, new_registry
    from scheduler.adapters.clock import SystemClock
    from scheduler.adapters.memory import MemoryStore
    from scheduler.policies.policy import DEFAULT_POLICY

    store = MemoryStore(SystemClock())
    settings = RunnerSettings(model="mlp", path=model)
    runner = Runner(
        settings,
        Stores(store.records, store.records, store.membership, store.policies),
        SystemClock(),
        DEFAULT_POLICY,
        RunnerMetrics(new_registry(), "mlp"),
        lambda report: load_engine(model, EngineSettings(providers=("cpu",), threads=1), report),
    )
    stop = asyncio.Event()

    async def tell() -> None:
        board = runner._board
        while board.status().model.ready_runners == 0:
            await board.next_change().wait()
        threads = {thread.name: thread.native_id for thread in threading.enumerate()}
        print(board.status().runner.address, threads["MainThread"], threads["engine"], flush=True)
        await asyncio.to_thread(sys.stdin.read)
        stop.set()

    async with asyncio.TaskGroup() as group:
        group.create_task(runner.run(stop))
        group.create_task(tell())


def thread_seconds(process: int) -> dict[int, float]:
    """Return the processor time of each thread so far."""
    tick = os.sysconf("SC_CLK_TCK")
    found = {}
    for task in Path(f"/proc/{process}/task").iterdir():
        fields = (task / "stat").read_text().rpartition(")")[2].split()
        found[int(task.name)] = (int(fields[11]) + int(fields[12])) / tick
    return found


def batch_of(size: int, first: int) -> ExecuteRequest:
    """Make a message of so many calls."""
    request = ExecuteRequest()
    raw = np.ones((1, WIDTH), np.float32).tobytes()
    for number in range(first, first + size):
        call = request.calls.add(id=number, tenant="t", priority=3, timeout_ms=30_000)
        call.tensors.tensors.add(name="input", datatype="FP32", shape=(1, WIDTH), raw=raw)
    return request


async def drive(address: str, size: int, seconds: float, process: int, names: dict[int, str]) -> None:
    """Send one batch after the other, and print what a call cost."""
    async with grpc.aio.insecure_channel(address, options=CHANNEL_OPTIONS) as channel:
        stream = RunnerServiceStub(channel).Execute()
        sent = responses = done = 0
        before: dict[int, float] = {}
        began_s = time.monotonic()
        measured_s = 0.0
        while (now_s := time.monotonic()) < began_s + WARM_UP_S + seconds:
            if not measured_s and now_s >= began_s + WARM_UP_S:
                before, measured_s, done, responses = thread_seconds(process), now_s, 0, 0
            await stream.write(batch_of(size, sent))
            sent += size
            answered = 0
            while answered < size:
                response = await stream.read()
                assert isinstance(response, ExecuteResponse)
                answered += len(response.answers)
                responses += 1
                assert all(answer.WhichOneof("outcome") == "tensors" for answer in response.answers)
            done += size
        took_s = time.monotonic() - measured_s
        after = thread_seconds(process)
        stream.cancel()
    spent = {names.get(thread, "others"): 0.0 for thread in after}
    for thread, total in after.items():
        spent[names.get(thread, "others")] += total - before.get(thread, 0.0)
    parts = ", ".join(f"{name} {seconds / done * 1e6:.1f} us" for name, seconds in spent.items())
    two = spent["loop"] + spent["engine"]
    print(
        f"batches of {size}: {done / took_s:,.0f} calls/s, {done / responses:.1f} answers a response; "
        f"a call {two / done * 1e6:.1f} us on loop and engine ({parts})"
    )


def main() -> None:
    """Measure, or serve when it is told to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batches", default="1,16,64")
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--serve", type=Path)
    given = parser.parse_args()
    uvloop.install()
    if given.serve:
        asyncio.run(serve(given.serve))
        return
    machine.print_header("What a direct call costs its runner")
    with tempfile.TemporaryDirectory() as folder:
        model = save_mlp(Path(folder) / "mlp.onnx")
        command = [sys.executable, "-m", "benchmarks.bench_runner_direct", "--serve", str(model)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as runner:
            assert runner.stdout is not None
            # Log lines come before it.
            line = next(line for line in runner.stdout if line.startswith("127.0.0.1:"))
            address, loop, engine = line.split()
            names = {int(loop): "loop", int(engine): "engine"}
            for size in map(int, given.batches.split(",")):
                asyncio.run(drive(address, size, given.seconds, runner.pid, names))
            assert runner.stdin is not None
            runner.stdin.close()


if __name__ == "__main__":
    main()
