"""A run that nobody can stop, asked for by a direct call whose time is over before."""

import asyncio
import time
from pathlib import Path
from typing import Final

import grpc.aio
import numpy as np
import pytest

from forebay.client import AsyncClient, TaskState, task_spec
from forebay.compat.kserve import kserve_service_pb2, kserve_service_pb2_grpc
from tests.fault.kinds import LIMIT_S, add, nothing_is_left
from tests.fault.long_kernel import save_one_kernel
from tests.system import forebay_up

pytestmark = [pytest.mark.slow, pytest.mark.timeout(150)]

LONG_KERNEL: Final = 3000
"""A product of this size takes half a minute."""
DEADLINE_S: Final = 2.0
LATE_S: Final = 2.0
"""What an answer may be late on a busy machine."""
HARD_KILL_S: Final = 2.0


def product(size: int, timeout_s: float = 0.0) -> kserve_service_pb2.ModelInferRequest:
    """Return a call; with a time that the platform keeps, not the client."""
    call = kserve_service_pb2.ModelInferRequest(model_name="product")
    call.inputs.add(name="size", datatype="INT64", shape=[1]).contents.int64_contents.append(size)
    if timeout_s:
        call.parameters["timeout"].int64_param = int(timeout_s * 1e6)
    return call


async def test_the_caller_is_told_in_time_and_the_runner_is_replaced_without_harm_to_others(
    data: Path, models: dict[str, Path], tmp_path: Path
) -> None:
    served = {"add": models["add"], "product": save_one_kernel(tmp_path / "product.onnx")}
    environment = {"FOREBAY_RUNNER_HARD_KILL_AFTER_S": f"{HARD_KILL_S:g}"}
    with forebay_up(data, served, environment=environment) as system:
        stuck, agent, other = system.runner("product"), system.pid("agent"), system.runner("add").pid
        async with AsyncClient(system.grpc) as client, grpc.aio.insecure_channel(system.grpc) as channel:
            door = kserve_service_pb2_grpc.GRPCInferenceServiceStub(channel)
            first = await door.ModelInfer(product(2), timeout=LIMIT_S)
            assert np.frombuffer(first.raw_output_contents[0], np.int64).tolist() == [2]
            began_s = time.monotonic()
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await door.ModelInfer(product(LONG_KERNEL, DEADLINE_S), timeout=LIMIT_S)
            told_s = time.monotonic() - began_s
            assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            assert DEADLINE_S <= told_s < DEADLINE_S + LATE_S
            assert stuck.is_running(), "a kernel gets some time to come back"
            # These come while the runner is held up, and are for the one that takes its place.
            [task] = await client.submit_many(
                [task_spec("product", tensors={"size": np.array([4], np.int64)})]
            )
            waiting = asyncio.ensure_future(door.ModelInfer(product(3, LIMIT_S), timeout=LIMIT_S))
            await asyncio.to_thread(stuck.wait, DEADLINE_S + HARD_KILL_S + 20)
            dead_s = time.monotonic() - began_s
            assert DEADLINE_S + 0.9 * HARD_KILL_S < dead_s < DEADLINE_S + HARD_KILL_S + 6.0
            done = await client.wait(task, LIMIT_S)
            assert (done.state, done.tensors["found"].tolist()) == (TaskState.SUCCEEDED, [4])
            record = await client.get(task)
            assert record.attempt - record.uncharged_attempts == 1, record.events
            try:
                answer = await waiting
            except grpc.aio.AioRpcError as error:
                # It was refused with a word that it may come again, and never ran.
                assert error.code() is grpc.StatusCode.UNAVAILABLE
            else:
                assert np.frombuffer(answer.raw_output_contents[0], np.int64).tolist() == [3]
            again = await client.infer("product", {"size": np.array([5], np.int64)})
            assert again.tensors["found"].tolist() == [5]
            [neighbour] = await client.submit_many([add(1.0)])
            assert (await client.wait(neighbour, LIMIT_S)).state is TaskState.SUCCEEDED
            await nothing_is_left(client)
        assert system.runner("product").pid != stuck.pid
        assert (system.pid("agent"), system.runner("add").pid) == (agent, other)
    print(f"told after {told_s:.2f} s, ended after {dead_s:.2f} s")  # noqa: T201  for -s
