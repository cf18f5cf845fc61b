"""Durable throughput: tiny tasks from submit to result through the whole platform, Celery beside it.

20,000 tasks whose model is one Add go in by calls of `--call` tasks, `--in-flight` calls at once; the same client
watches and receives every result. Then single tasks alone, submit to result.
"""

import argparse
import asyncio
import os
import tempfile
import time
from pathlib import Path

import grpc
import grpc.aio
import uvloop

from benchmarks import machine
from benchmarks.peers import celery_run
from forebay.tasks.v1.inputs_pb2 import Tensor, TensorInput
from forebay.tasks.v1.task_pb2 import TaskSpec, TaskState
from forebay.tasks.v1.task_service_pb2 import AllTasks, SubmitTasksRequest, TaskIds, WatchTasksRequest
from forebay.tasks.v1.task_service_pb2_grpc import TaskServiceStub
from tests.system import System, forebay_up
from tests.tiny_models import save_add

CHANNEL = [("grpc.max_receive_message_length", 64 << 20), ("grpc.max_send_message_length", 64 << 20)]


def spec() -> TaskSpec:
    """Make one task with an input of its own."""
    tensor = Tensor(name="x", datatype="FP32", shape=[1, 4], raw=os.urandom(16))
    return TaskSpec(model="add", tensors=TensorInput(tensors=[tensor]), labels={"app": "bench"})


async def flood(address: str, tasks: int, call: int, in_flight: int) -> tuple[float, float, list[float]]:
    """Return (accepted per second, finished per second, seconds of each task from its call to its result)."""
    async with grpc.aio.insecure_channel(address, options=CHANNEL) as channel:
        stub = TaskServiceStub(channel)
        watch = stub.WatchTasks(WatchTasksRequest(all=AllTasks(), include_result=True))
        await watch.initial_metadata()
        sent: dict[str, float] = {}
        got: dict[str, float] = {}
        calls = iter(range(tasks // call))

        async def receive() -> None:
            async for batch in watch:
                now = time.perf_counter()
                for task in batch.tasks:
                    if task.state == TaskState.TASK_STATE_SUCCEEDED:
                        assert len(task.result.tensors.tensors[0].raw) == 16
                        got[task.id] = now
                if len(got) >= tasks:
                    return

        async def submit() -> None:
            for _ in calls:
                request = SubmitTasksRequest(tasks=[spec() for _ in range(call)])
                began = time.perf_counter()
                answer = await stub.SubmitTasks(request, timeout=60)
                for result in answer.results:
                    sent[result.task.id] = began

        started = time.perf_counter()
        async with asyncio.timeout(300), asyncio.TaskGroup() as group:
            receiving = group.create_task(receive())
            for task in [group.create_task(submit()) for _ in range(in_flight)]:
                await task
            accepted = time.perf_counter()
            await receiving
        finished = time.perf_counter()
        latencies = sorted(got[task_id] - began for task_id, began in sent.items())
        return tasks / (accepted - started), tasks / (finished - started), latencies


async def alone(address: str, tasks: int) -> list[float]:
    """Return the seconds of single tasks, one after the other, each from its submit to its result."""
    seconds = []
    async with grpc.aio.insecure_channel(address, options=CHANNEL) as channel:
        stub = TaskServiceStub(channel)
        for _ in range(tasks):
            began = time.perf_counter()
            answer = await stub.SubmitTasks(SubmitTasksRequest(tasks=[spec()]), timeout=30)
            ids = TaskIds(ids=[answer.results[0].task.id])
            async for batch in stub.WatchTasks(WatchTasksRequest(tasks=ids, include_result=True), timeout=30):
                if any(task.HasField("result") for task in batch.tasks):
                    break
            seconds.append(time.perf_counter() - began)
    return sorted(seconds)


def _percentile(ordered: list[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1000


def _used(system: System, before: dict[str, float], tasks: int) -> str:
    after = machine.cpu_seconds(system.children())
    return ", ".join(
        f"{name} {(seconds - before.get(name, 0)) / tasks * 1e6:.0f}"
        for name, seconds in sorted(after.items())
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=20_000)
    parser.add_argument("--call", type=int, default=100, help="tasks in one submit call")
    parser.add_argument("--in-flight", type=int, default=8, help="submit calls at once")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--celery-tasks", type=int, default=4_000, help="0 leaves the peer out")
    options = parser.parse_args()
    machine.print_header("tiny durable tasks, submit to result")
    with tempfile.TemporaryDirectory(prefix="forebay-bench-") as name:
        folder = Path(name)
        model = save_add(folder / "add.onnx")
        with forebay_up(folder / "data", {"add": model}) as system:
            uvloop.run(flood(system.grpc, 2_000, 100, 4))
            rates = []
            for number in range(options.rounds):
                before = machine.cpu_seconds(system.children())
                accepted, finished, latencies = uvloop.run(
                    flood(system.grpc, options.tasks, options.call, options.in_flight)
                )
                rates.append(finished)
                print(
                    f"round {number + 1}: accepted {accepted:,.0f}/s, end to end {finished:,.0f}/s, "
                    f"p50 {_percentile(latencies, 0.5):.0f} ms, p99 {_percentile(latencies, 0.99):.0f} ms"
                )
                print(f"  CPU µs per task: {_used(system, before, options.tasks)}")
            single = uvloop.run(alone(system.grpc, 300))
            print(
                f"one task alone, submit to result: p50 {_percentile(single, 0.5):.2f} ms, "
                f"p99 {_percentile(single, 0.99):.2f} ms"
            )
            memory = machine.memory_mb(system.children())
            print("resident MB: " + ", ".join(f"{name} {mb:.0f}" for name, mb in sorted(memory.items())))
        best = sorted(rates)[len(rates) // 2]
        print(f"forebay: {best:,.0f} tasks/s (median of {len(rates)})")
        if options.celery_tasks:
            peer, peer_alone = celery_run.measure(folder, model, options.celery_tasks)
            print(f"celery:  {peer:,.0f} tasks/s, one alone p50 {peer_alone * 1000:.2f} ms")
            print(f"ratio:   {best / peer:.1f}")


if __name__ == "__main__":
    main()
