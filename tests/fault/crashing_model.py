"""A model that ends its runner for one input: a division of integers that overflows, which x86 answers with SIGFPE."""

import platform
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from forebay.client import task_spec
from forebay.tasks.v1.task_pb2 import TaskSpec

DEADLY: Final = 666
"""The input that ends a runner."""

needs_a_trap = pytest.mark.skipif(
    platform.machine().lower() not in ("x86_64", "amd64"),
    reason="the processor does not trap when a division overflows: the model needs x86-64",
)


def save_crashing(path: Path) -> Path:
    """Write y = INT64_MIN / (x - 667) over INT64 rows [batch, 1]: for 666 the quotient does not fit."""
    least = np.iinfo(np.int64).min
    nodes = [
        helper.make_node("Constant", [], ["beside"], value_ints=[DEADLY + 1]),
        helper.make_node("Constant", [], ["least"], value_ints=[least]),
        helper.make_node("Sub", ["x", "beside"], ["divisor"]),
        helper.make_node("Div", ["least", "divisor"], ["y"]),
    ]
    shape: list[str | int | None] = ["batch", 1]
    graph = helper.make_graph(
        nodes,
        "crashing",
        [helper.make_tensor_value_info("x", TensorProto.INT64, shape)],
        [helper.make_tensor_value_info("y", TensorProto.INT64, shape)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
    return path


def dividing(x: int, **options: Any) -> TaskSpec:
    """Return a task for it."""
    return task_spec("crashing", tensors={"x": np.array([[x]], np.int64)}, **options)


def quotient(x: int) -> list[list[int]]:
    """Return what it answers to an input below the deadly one."""
    return [[(1 << 63) // (DEADLY + 1 - x)]]
