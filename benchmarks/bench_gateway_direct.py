"""What a direct call costs the gateway behind its doors: calls in a closed loop over one real stream, to a runner in
another process that answers at once.

    python -m benchmarks.bench_gateway_direct [--in-flight 1,16,64] [--calls 20000]

For each number in flight: calls a second, calls in a message, and processor time of a call: of the process, and of the
event loop's thread alone.
"""

import argparse
import asyncio
import multiprocessing
import time
from multiprocessing.connection import Connection

import uvloop

from benchmarks.machine import describe
from observability import names
from tests.direct_runners import FakeRunner, served, tensor_call, way_to


def run_runner(pipe: Connection) -> None:
    """Serve a runner that answers with what it gets, until it is terminated."""

    async def serve() -> None:
        runner = FakeRunner("r1")
        async with served(runner):
            pipe.send(runner.address)
            await asyncio.Event().wait()

    uvloop.run(serve())


async def drive(address: str, in_flight: int, calls: int) -> None:
    """Make calls in a closed loop, and print what one cost."""
    runner = FakeRunner("r1")
    async with way_to() as way:
        runner.address = address
        await way.announce(runner)
        for _ in range(100):
            await way.calls.call(tensor_call())
        messages, left = len_of_messages(way.registry), calls

        async def client() -> None:
            nonlocal left
            while left > 0:
                left -= 1
                await way.calls.call(tensor_call())

        process_s, thread_s, began_s = time.process_time(), time.thread_time(), time.perf_counter()
        await asyncio.gather(*(client() for _ in range(in_flight)))
        took_s = time.perf_counter() - began_s
        process_s, thread_s = time.process_time() - process_s, time.thread_time() - thread_s
        messages = len_of_messages(way.registry) - messages
    print(
        f"{in_flight} in flight: {calls / took_s:,.0f} calls/s, {calls / messages:.1f} calls a message; "
        f"a call {process_s / calls * 1e6:.1f} us, {thread_s / calls * 1e6:.1f} us of them on the loop"
    )


def len_of_messages(registry: object) -> float:
    """Return how many messages went out so far."""
    count: float = registry.get_sample_value(  # type: ignore[attr-defined]  # its package has no types
        f"{names.BATCH_TASKS}_count", {names.LABEL_HOP: names.HOP_DIRECT}
    )
    return count


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--in-flight", default="1,16,64")
    parser.add_argument("--calls", type=int, default=20_000)
    given = parser.parse_args()
    print(describe())
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    runner = context.Process(target=run_runner, args=(theirs,), daemon=True)
    runner.start()
    address = ours.recv()

    async def drive_all() -> None:
        for in_flight in map(int, given.in_flight.split(",")):
            await drive(address, in_flight, given.calls)

    uvloop.run(drive_all())
    runner.terminate()


if __name__ == "__main__":
    main()
