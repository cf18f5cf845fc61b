"""ONNX models of a few nodes, made on the spot: for tests and benchmarks in which the model must cost nothing."""

from pathlib import Path

import onnx
from onnx import TensorProto, helper


def save_add(path: Path, width: int = 4) -> Path:
    """Write y = x + x over FP32 rows of `width`: input x [batch, width], output y [batch, width]."""
    return _save(
        path,
        [helper.make_node("Add", ["x", "x"], ["y"])],
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", width])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", width])],
    )


def save_countdown(path: Path, slowness: int = 1) -> Path:
    """Write a model that loops `turns` times (INT64 [1] in, INT64 [1] out): work of any length on demand. A slow one
    loops `slowness` times as often.
    """
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["going"], ["still_going"]),
            helper.make_node("Add", ["count", "one"], ["next_count"]),
        ],
        "turn",
        [
            helper.make_tensor_value_info("turn", TensorProto.INT64, []),
            helper.make_tensor_value_info("going", TensorProto.BOOL, []),
            helper.make_tensor_value_info("count", TensorProto.INT64, [1]),
        ],
        [
            helper.make_tensor_value_info("still_going", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next_count", TensorProto.INT64, [1]),
        ],
    )
    return _save(
        path,
        [
            helper.make_node("Constant", [], ["one"], value_ints=[1]),
            helper.make_node("Constant", [], ["zero"], value_ints=[0]),
            helper.make_node("Constant", [], ["slowness"], value_ints=[slowness]),
            helper.make_node("Mul", ["turns", "slowness"], ["all_turns"]),
            helper.make_node("Squeeze", ["all_turns"], ["limit"]),
            helper.make_node("Loop", ["limit", "", "zero"], ["done"], body=body),
        ],
        [helper.make_tensor_value_info("turns", TensorProto.INT64, [1])],
        [helper.make_tensor_value_info("done", TensorProto.INT64, [1])],
    )


def save_picky(path: Path) -> Path:
    """Write a model that looks places up in a list of four (INT64 [n] in, FP32 [n] out), and fails for a place that is
    not there: an error of the model, not of its input's form.
    """
    return _save(
        path,
        [
            helper.make_node("Constant", [], ["shelf"], value_floats=[0.0, 10.0, 20.0, 30.0]),
            helper.make_node("Gather", ["shelf", "place"], ["found"]),
        ],
        [helper.make_tensor_value_info("place", TensorProto.INT64, ["n"])],
        [helper.make_tensor_value_info("found", TensorProto.FLOAT, ["n"])],
    )


def _save(
    path: Path,
    nodes: list[onnx.NodeProto],
    inputs: list[onnx.ValueInfoProto],
    outputs: list[onnx.ValueInfoProto],
) -> Path:
    graph = helper.make_graph(nodes, path.stem, inputs, outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
    return path
