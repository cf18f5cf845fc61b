"""Clients that come and go in every way, thousands of times: gateway and runners keep the memory and the descriptors
that they had, and answer.

Both read sockets in a way that is not gRPC's usual one (services/grpc_core.py): this is the soak of that choice too.
"""

import asyncio
import contextlib
import random
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import grpc
import grpc.aio
import psutil
import pytest

from forebay.client import Client
from forebay.compat.kserve import kserve_service_pb2 as kserve
from forebay.compat.kserve import kserve_service_pb2_grpc
from forebay.runner.v1.runner_service_pb2 import Call, ExecuteRequest
from forebay.runner.v1.runner_service_pb2_grpc import RunnerServiceStub
from forebay.tasks.v1.task_pb2 import PRIORITY_NORMAL
from tests.fault.conftest import SCALE
from tests.system import System, forebay_up

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180 + 60 * SCALE)]

WARMING: Final = 4
"""Rounds after which everything that a process keeps for good is there."""
ROUNDS: Final = 12 * SCALE
VISITORS: Final = 50
"""Of a round, all at once."""
CALLS: Final = 8
"""Of a visitor."""
ROUND_S: Final = 60.0
ENDLESS: Final = 1 << 60
MOST_BYTES: Final = 12 << 20
"""Growth of a process that is put down to its allocator: 4,000 calls that leave 4 KiB each are more."""
MOST_DESCRIPTORS: Final = 8
TOO_LATE: Final = (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.RESOURCE_EXHAUSTED)
OWN_CONNECTION: Final = (("grpc.use_local_subchannel_pool", 1),)


def adding(model: str = "add") -> kserve.ModelInferRequest:
    request = kserve.ModelInferRequest(model_name=model, raw_input_contents=[bytes(16)])
    request.inputs.add(name="x", datatype="FP32", shape=[1, 4])
    return request


def counting() -> kserve.ModelInferRequest:
    """Return a request that ends when nobody wants it any more."""
    raw = ENDLESS.to_bytes(8, "little")
    request = kserve.ModelInferRequest(model_name="countdown", raw_input_contents=[raw])
    request.inputs.add(name="turns", datatype="INT64", shape=[1])
    return request


@dataclass
class Visits:
    """The ways in which clients come and go."""

    gateway: str
    runner: str
    chance: random.Random

    async def polite(self) -> None:
        async with grpc.aio.insecure_channel(self.gateway, options=OWN_CONNECTION) as channel:
            stub: Any = kserve_service_pb2_grpc.GRPCInferenceServiceStub(channel)
            answers = await asyncio.gather(
                *(stub.ModelInfer(adding(), timeout=ROUND_S) for _ in range(CALLS))
            )
            assert all(answer.raw_output_contents == [bytes(16)] for answer in answers)

    async def hasty(self) -> None:
        """Whose time is over before the model is through, or before its turn would come."""
        async with grpc.aio.insecure_channel(self.gateway, options=OWN_CONNECTION) as channel:
            stub: Any = kserve_service_pb2_grpc.GRPCInferenceServiceStub(channel)
            calls = [stub.ModelInfer(counting(), timeout=0.05) for _ in range(CALLS)]
            for call in calls:
                with pytest.raises(grpc.aio.AioRpcError) as raised:
                    await call
                assert raised.value.code() in TOO_LATE, raised.value

    async def fickle(self) -> None:
        """Who cancels, at any moment."""
        async with grpc.aio.insecure_channel(self.gateway, options=OWN_CONNECTION) as channel:
            stub: Any = kserve_service_pb2_grpc.GRPCInferenceServiceStub(channel)
            calls = [stub.ModelInfer(counting(), timeout=ROUND_S) for _ in range(CALLS)]
            await asyncio.sleep(self.chance.random() / 50)
            for call in calls:
                call.cancel()

    async def rude(self) -> None:
        """Whose connection ends in the middle of a stream."""
        async with grpc.aio.insecure_channel(self.gateway, options=OWN_CONNECTION) as channel:
            stub: Any = kserve_service_pb2_grpc.GRPCInferenceServiceStub(channel)
            stream = stub.ModelStreamInfer(timeout=ROUND_S)
            for _ in range(CALLS):
                await stream.write(adding() if self.chance.random() < 0.7 else counting())
            if self.chance.random() < 0.5:
                await stream.write(adding("nobody"))

    async def direct(self) -> None:
        """A gateway that goes while its calls run."""
        async with grpc.aio.insecure_channel(self.runner, options=OWN_CONNECTION) as channel:
            stream: Any = RunnerServiceStub(channel).Execute(timeout=ROUND_S)
            calls = [Call(id=number, tenant="t", priority=PRIORITY_NORMAL) for number in range(CALLS)]
            for call in calls:
                call.tensors.tensors.add(name="x", datatype="FP32", shape=[1, 4], raw=bytes(16))
            await stream.write(ExecuteRequest(calls=calls))
            if self.chance.random() < 0.5:
                answered = 0
                while answered < CALLS:
                    answered += len((await stream.read()).answers)
            if self.chance.random() < 0.5:
                await stream.done_writing()

    async def round(self) -> None:
        """Have all of them come at once, and wait until the last one has gone."""
        kinds: list[Callable[[], Coroutine[Any, Any, None]]] = [
            *(self.polite, self.hasty, self.fickle, self.rude, self.direct)
        ]
        async with asyncio.timeout(ROUND_S), asyncio.TaskGroup() as group:
            for number in range(VISITORS):
                group.create_task(kinds[number % len(kinds)]())


async def kept(process: psutil.Process, descriptors: int) -> tuple[int, int]:
    """Return the bytes and the descriptors that a process keeps: as soon as it has no more descriptors than so many, or
    when it does not come to that.
    """
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(10):
            # Nobody tells when the last connection of another process is gone.
            while process.num_fds() > descriptors:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
    return process.memory_info().rss, process.num_fds()


async def test_clients_that_come_and_go_leave_nothing_behind(
    data: Path, models: dict[str, Path], chance: random.Random
) -> None:
    with forebay_up(data, models) as system:
        watched = {
            "gateway": psutil.Process(system.pid("gateway")),
            "runner of add": system.runner("add"),
            "runner of countdown": system.runner("countdown"),
        }
        visits = Visits(system.grpc, runner_address(system, "add"), chance)
        idle = {name: process.num_fds() + MOST_DESCRIPTORS for name, process in watched.items()}
        for _ in range(WARMING):
            await visits.round()
        before = {name: await kept(process, idle[name]) for name, process in watched.items()}
        for _ in range(ROUNDS):
            await visits.round()
        for name, process in watched.items():
            had_bytes, had_descriptors = before[name]
            has_bytes, has_descriptors = await kept(process, idle[name])
            grown = f"{name} grew by {has_bytes - had_bytes} bytes and {has_descriptors - had_descriptors} descriptors"
            print(grown)  # noqa: T201  pytest shows it with a failure
            assert has_bytes - had_bytes < MOST_BYTES, grown
            assert has_descriptors - had_descriptors <= MOST_DESCRIPTORS, grown
        await visits.polite()


def runner_address(system: System, model: str) -> str:
    with Client(system.grpc) as client:
        [runner] = [one for one in client.runners() if one.model == model]
    return runner.address
