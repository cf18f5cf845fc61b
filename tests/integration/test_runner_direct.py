"""A runner of a real ONNX model, and a gateway that holds a stream to it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import grpc.aio
import numpy as np
from google.rpc import code_pb2

from forebay.models.v1.model_service_pb2 import RUNNER_STATE_DRAINING
from forebay.runner.v1.runner_service_pb2 import (
    Call,
    ReadStatisticsRequest,
    WatchStatusRequest,
    WatchStatusResponse,
)
from forebay.runner.v1.runner_service_pb2_grpc import RunnerServiceStub
from forebay.tasks.v1.task_pb2 import PRIORITY_NORMAL
from inference.loading import load_engine
from inference.runner.runner import Runner, Stores
from inference.runner.settings import RunnerSettings
from inference.settings import EngineSettings
from observability.metrics import RunnerMetrics, new_registry
from scheduler.adapters.clock import SystemClock
from scheduler.adapters.memory import MemoryStore
from scheduler.policies.policy import DEFAULT_POLICY
from tests.tiny_models import save_add, save_countdown
from tests.unit.inference.runner.direct.gateways import Gateway, gateway, outcome

LONGEST_WAIT_S = 15.0


@asynccontextmanager
async def served(
    path: Path, stop: asyncio.Event | None = None, *, within_s: float = LONGEST_WAIT_S
) -> AsyncIterator[tuple[str, Gateway]]:
    """Run a runner of a model without schedulers, and hold a stream to it. It ends at `stop`, or with the block; all
    must end `within_s`.
    """
    store, stop = MemoryStore(SystemClock()), stop or asyncio.Event()
    runner = Runner(
        RunnerSettings(model="m", path=path, id="runner-1"),
        Stores(store.records, store.records, store.membership, store.policies),
        SystemClock(),
        DEFAULT_POLICY,
        RunnerMetrics(new_registry(), "m"),
        lambda report: load_engine(path, EngineSettings(providers=("cpu",), threads=1), report),
    )
    async with asyncio.timeout(within_s), asyncio.TaskGroup() as group:
        group.create_task(runner.run(stop))
        address = ""
        async with asyncio.timeout(LONGEST_WAIT_S):
            while not address:
                change = runner._board.next_change()
                status: WatchStatusResponse = runner._board.status()
                if status.model.ready_runners:
                    address = status.runner.address
                else:
                    await change.wait()
        async with gateway(address) as one:
            yield address, one
        stop.set()


def call_of(number: int, name: str, array: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> Call:
    call = Call(id=number, tenant="t", priority=PRIORITY_NORMAL)
    datatype = "FP32" if array.dtype == np.float32 else "INT64"
    call.tensors.tensors.add(name=name, datatype=datatype, shape=array.shape, raw=array.tobytes())
    return call


async def test_many_calls_share_runs_and_each_gets_its_own_rows(tmp_path: Path) -> None:
    async with served(save_add(tmp_path / "m.onnx")) as (address, one):
        rows = {number: np.full((1, 4), number, np.float32) for number in range(1, 201)}
        await one.send(*[call_of(number, "x", array) for number, array in rows.items()])
        ended = await one.answered(*rows)
        for number, array in rows.items():
            [tensor] = ended[number].tensors.tensors
            assert (tensor.name, tensor.datatype, list(tensor.shape)) == ("y", "FP32", [1, 4])
            assert tensor.raw == (array + array).tobytes()
        assert len(one.responses) < 50
        async with grpc.aio.insecure_channel(address) as channel:
            told = await RunnerServiceStub(channel).ReadStatistics(
                ReadStatisticsRequest(), timeout=LONGEST_WAIT_S
            )
        assert (told.success.count, told.fail.count) == (200, 0)
        assert told.inferences == 200
        assert sum(each.rows * each.compute_infer.count for each in told.batches) == 200
        assert 0 < told.executions <= 200


async def test_what_the_model_does_not_take_is_told_and_its_neighbours_are_executed(tmp_path: Path) -> None:
    async with served(save_add(tmp_path / "m.onnx")) as (_, one):
        good = np.ones((1, 4), np.float32)
        await one.send(
            call_of(1, "x", good), call_of(2, "x", np.ones((1, 5), np.float32)), call_of(3, "z", good)
        )
        ended = await one.answered(1, 2, 3)
        assert [outcome(ended[number]) for number in (1, 2, 3)] == ["tensors", "error", "error"]
        assert {ended[number].error.code for number in (2, 3)} == {code_pb2.INVALID_ARGUMENT}
        assert not ended[2].started


async def test_a_run_that_lasts_long_is_stopped_when_its_gateway_goes_or_its_time_is_over(
    tmp_path: Path,
) -> None:
    async with served(save_countdown(tmp_path / "m.onnx")) as (address, one):
        endless = np.array([1 << 60], np.int64)
        late = call_of(1, "turns", endless)
        late.timeout_ms = 300
        await one.send(late)
        answer = (await one.answered(1))[1]
        assert (answer.error.code, answer.started) == (code_pb2.DEADLINE_EXCEEDED, True)
        await one.send(call_of(2, "turns", endless))
        await one.until(lambda: one.responses[-1].load.held == 1)
        one.cancel()
        async with gateway(address) as other:
            await other.send(call_of(1, "turns", np.array([3], np.int64)))
            [tensor] = (await other.answered(1))[1].tensors.tensors
            assert np.frombuffer(tensor.raw, np.int64).tolist() == [3]


async def test_what_a_gateway_sends_before_it_knows_that_the_runner_goes_is_executed(tmp_path: Path) -> None:
    stop = asyncio.Event()
    async with (
        served(save_add(tmp_path / "m.onnx"), stop) as (address, one),
        grpc.aio.insecure_channel(address) as channel,
    ):
        row = np.ones((1, 4), np.float32)
        await one.send(call_of(1, "x", row))
        await one.answered(1)
        watching = RunnerServiceStub(channel).WatchStatus(WatchStatusRequest(), timeout=LONGEST_WAIT_S)
        stop.set()
        async for status in watching:
            if status.runner.state == RUNNER_STATE_DRAINING:
                break
        await one.send(call_of(2, "x", row))
        [tensor] = (await one.answered(2))[2].tensors.tensors
        assert tensor.raw == (row + row).tobytes()
