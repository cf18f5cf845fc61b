"""A limit of memory (`runner.memory_bytes`): what a model wants beyond it is an error of that model alone."""

import asyncio
from pathlib import Path
from typing import Final

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from forebay.client import AsyncClient, ResourceExhausted, RetryPolicy, TaskState, task_spec
from forebay.tasks.v1.task_pb2 import TaskSpec
from tests.fault.kinds import LIMIT_S, add, nothing_is_left
from tests.system import System, forebay_up

pytestmark = [pytest.mark.slow, pytest.mark.timeout(150)]

LIMIT_BYTES: Final = 3 << 30
"""A runner of a small model has mapped a third of a GiB."""
GLUTTON_BYTES: Final = 640 << 20
TOO_MANY: Final = 1 << 30
"""Elements of FP32 that take 4 GiB."""
NEVER_AGAIN: Final = RetryPolicy(attempts=1)
LOADED_S: Final = 60.0


def save_zeros(path: Path) -> Path:
    """Write y = n zeros, as n largest = 0: takes as much memory as its input says, and answers with one number."""
    return _save(
        path,
        [
            helper.make_node("ConstantOfShape", ["n"], ["zeros"]),
            helper.make_node("ReduceMax", ["zeros"], ["largest"], keepdims=0),
            helper.make_node("Reshape", ["largest", "one"], ["y"]),
        ],
        [helper.make_tensor_value_info("n", TensorProto.INT64, [1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])],
        [helper.make_tensor("one", TensorProto.INT64, [1], [1])],
    )


def save_glutton(path: Path) -> Path:
    """Write y = x + weights of GLUTTON_BYTES, all zero, in a file with nothing but a length beside the model."""
    elements = GLUTTON_BYTES // 4
    weights = TensorProto(name="weights", data_type=TensorProto.FLOAT, dims=[elements])
    weights.data_location = TensorProto.EXTERNAL
    weights.external_data.add(key="location", value="weights.bin")
    path.parent.mkdir()
    with (path.parent / "weights.bin").open("wb") as file:
        file.truncate(GLUTTON_BYTES)
    return _save(
        path,
        [helper.make_node("Add", ["x", "weights"], ["y"])],
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [elements])],
        [weights],
    )


def _save(
    path: Path,
    nodes: list[onnx.NodeProto],
    inputs: list[onnx.ValueInfoProto],
    outputs: list[onnx.ValueInfoProto],
    constants: list[TensorProto],
) -> Path:
    graph = helper.make_graph(nodes, path.stem, inputs, outputs, constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
    return path


def zeros(count: int) -> TaskSpec:
    return task_spec("zeros", tensors={"n": np.array([count], np.int64)}, max_attempts=1)


def processes(system: System, *models: str) -> dict[str, int]:
    """Return the process of the agent and of each model's runner."""
    return {"agent": system.pid("agent")} | {model: system.runner(model).pid for model in models}


async def test_what_a_request_wants_beyond_the_limit_is_the_error_of_that_request_alone(
    data: Path, models: dict[str, Path], tmp_path: Path
) -> None:
    served = {"add": models["add"], "zeros": save_zeros(tmp_path / "zeros.onnx")}
    environment = {"FOREBAY_RUNNER_MEMORY_BYTES": str(LIMIT_BYTES)}
    with forebay_up(data, served, environment=environment) as system:
        before = processes(system, *served)
        async with AsyncClient(system.grpc, retry=NEVER_AGAIN) as client:
            counts = [3, TOO_MANY, 5, TOO_MANY, 7]
            handles = await client.submit_many([zeros(count) for count in counts])
            others = await client.submit_many([add(value) for value in range(20)])
            ended = [await client.wait(handle, LIMIT_S) for handle in handles]
            for count, task in zip(counts, ended, strict=True):
                if count < TOO_MANY:
                    assert (task.state, task.tensors["y"].tolist()) == (TaskState.SUCCEEDED, [0])
                else:
                    assert task.error is not None
                    assert (task.state, task.error.reason) == (TaskState.FAILED, "MODEL_OUT_OF_MEMORY")
            for value, handle in enumerate(others):
                assert (await client.wait(handle, LIMIT_S)).tensors["y"].tolist() == [[2.0 * value] * 4]

            async def ask(count: int) -> str:
                try:
                    answer = await client.infer(
                        "zeros", {"n": np.array([count], np.int64)}, timeout_s=LIMIT_S
                    )
                except ResourceExhausted as error:
                    return error.reason
                return str(answer.tensors["y"].tolist())

            told = await asyncio.gather(*(ask(count) for count in counts))
            assert told == ["[0.0]", "MODEL_OUT_OF_MEMORY", "[0.0]", "MODEL_OUT_OF_MEMORY", "[0.0]"]
            await nothing_is_left(client)
        assert processes(system, *served) == before, "nobody died of it"


async def test_a_model_that_wants_more_than_the_limit_to_be_loaded_is_refused_and_the_others_serve(
    data: Path, models: dict[str, Path], tmp_path: Path
) -> None:
    served = {"add": models["add"], "glutton": save_glutton(tmp_path / "glutton" / "glutton.onnx")}
    environment = {"FOREBAY_RUNNER_MEMORY_BYTES": str(768 << 20)}
    with forebay_up(data, served, environment=environment) as system:
        before = processes(system, "add")
        async with AsyncClient(system.grpc, retry=NEVER_AGAIN) as client:
            async with asyncio.timeout(LOADED_S):
                # Why a model is not served is only told to those who look.
                while not (failed := [one for one in await client.runners("glutton") if one.reason]):  # noqa: ASYNC110
                    await asyncio.sleep(0.2)
            assert failed[0].state == "failed"
            assert "memory" in failed[0].reason or "alloc" in failed[0].reason, failed[0].reason
            answer = await client.infer("add", {"x": np.ones((1, 4), np.float32)})
            assert answer.tensors["y"].tolist() == [[2.0] * 4]
            [task] = await client.submit_many([add(3.0)])
            assert (await client.wait(task, LIMIT_S)).state is TaskState.SUCCEEDED
        assert processes(system, "add") == before
