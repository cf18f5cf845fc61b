"""Small ONNX models that the tests of the tensor engine load: each shows one property of models."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

Shape = Sequence[int | str | None]


def value(name: str, shape: Shape, element: int = TensorProto.FLOAT) -> ValueInfoProto:
    return helper.make_tensor_value_info(name, element, shape)


def save(
    path: Path,
    nodes: Sequence[NodeProto],
    inputs: Sequence[ValueInfoProto],
    outputs: Sequence[ValueInfoProto],
    weights: Sequence[TensorProto] = (),
) -> Path:
    graph = helper.make_graph(list(nodes), "graph", list(inputs), list(outputs), list(weights))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model.SerializeToString())
    return path


def add(path: Path) -> Path:
    """z = x + y over FP32 [batch, 4]: rows are independent."""
    return save(
        path,
        [helper.make_node("Add", ["x", "y"], ["z"])],
        [value("x", ["batch", 4]), value("y", ["batch", 4])],
        [value("z", ["batch", 4])],
    )


def centred(path: Path) -> Path:
    """y = x - mean of x over its rows: rows influence each other, although every first dimension is dynamic."""
    return save(
        path,
        [
            helper.make_node("ReduceMean", ["x"], ["mean"], axes=[0], keepdims=1),
            helper.make_node("Sub", ["x", "mean"], ["y"]),
        ],
        [value("x", ["batch", 4])],
        [value("y", ["batch", 4])],
    )


def positive(path: Path) -> Path:
    """Where x is over 0.5: as many rows of output as there are such places."""
    return save(
        path,
        [
            helper.make_node("Greater", ["x", "half"], ["mask"]),
            helper.make_node("NonZero", ["mask"], ["places"]),
            helper.make_node("Transpose", ["places"], ["y"]),
        ],
        [value("x", ["batch", 4])],
        [value("y", ["found", 2], TensorProto.INT64)],
        [numpy_helper.from_array(np.array(0.5, np.float32), "half")],
    )


def fixed(path: Path) -> Path:
    """y = x + x over FP32 [2, 3] exactly."""
    return save(
        path, [helper.make_node("Add", ["x", "x"], ["y"])], [value("x", [2, 3])], [value("y", [2, 3])]
    )


def lookup(path: Path) -> Path:
    """y = table[x] of 10 rows: an index out of range makes the run fail."""
    table = numpy_helper.from_array(np.arange(20, dtype=np.float32).reshape(10, 2), "table")
    return save(
        path,
        [helper.make_node("Gather", ["table", "x"], ["y"])],
        [value("x", ["batch"], TensorProto.INT64)],
        [value("y", ["batch", 2])],
        [table],
    )


def echo(path: Path, element: int, shape: Shape = ("batch",)) -> Path:
    """y = x of any element type."""
    return save(
        path,
        [helper.make_node("Identity", ["x"], ["y"])],
        [value("x", shape, element)],
        [value("y", shape, element)],
    )


def loop(path: Path) -> Path:
    """Loops `turns` times, one run for each request."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"]), helper.make_node("Add", ["count", "one"], ["more"])],
        "body",
        [value("turn", [], TensorProto.INT64), value("go", [], TensorProto.BOOL),
         value("count", [1], TensorProto.INT64)],
        [value("on", [], TensorProto.BOOL), value("more", [1], TensorProto.INT64)],
    )  # fmt: skip
    constants = [
        numpy_helper.from_array(np.array([number], np.int64), name)
        for number, name in ((1, "one"), (0, "zero"))
    ]
    return save(
        path,
        [
            helper.make_node("Squeeze", ["turns"], ["limit"]),
            helper.make_node("Loop", ["limit", "", "zero"], ["done"], body=body),
        ],
        [value("turns", [1], TensorProto.INT64)],
        [value("done", [1], TensorProto.INT64)],
        constants,
    )


def with_external_weights(path: Path, location: str, *, nested: bool = False) -> Path:
    """y = x + weights that lie in another file, named by a tensor of the graph or of a node inside a branch."""
    weights = TensorProto(name="weights", data_type=TensorProto.FLOAT, dims=[4])
    weights.data_location = TensorProto.EXTERNAL
    weights.external_data.add(key="location", value=location)
    if not nested:
        add_node = helper.make_node("Add", ["x", "weights"], ["y"])
        return save(path, [add_node], [value("x", ["batch", 4])], [value("y", ["batch", 4])], [weights])
    constant = onnx.NodeProto(op_type="Constant", output=["weights"])
    constant.attribute.add(name="value", type=onnx.AttributeProto.TENSOR).t.CopyFrom(weights)
    branch = helper.make_graph(
        [constant, helper.make_node("Add", ["x", "weights"], ["z"])], "branch", [], [value("z", ["batch", 4])]
    )
    return save(
        path,
        [helper.make_node("If", ["condition"], ["y"], then_branch=branch, else_branch=branch)],
        [value("x", ["batch", 4]), value("condition", [], TensorProto.BOOL)],
        [value("y", ["batch", 4])],
    )


def greedy(path: Path) -> Path:
    """y = as many zeros as x says: takes as much memory as the input wants."""
    return save(
        path,
        [helper.make_node("ConstantOfShape", ["x"], ["y"])],
        [value("x", ["dims"], TensorProto.INT64)],
        [value("y", [None])],
    )


def product(path: Path) -> Path:
    """y = the shape of x * x for a square matrix: one kernel whose length grows with the cube of its side."""
    return save(
        path,
        [helper.make_node("MatMul", ["x", "x"], ["xx"]), helper.make_node("Shape", ["xx"], ["y"])],
        [value("x", [None, None])],
        [value("y", [2], TensorProto.INT64)],
    )
