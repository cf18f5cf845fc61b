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


def as_numbers(path: Path, element: int) -> Path:
    """y = x as FP32: [batch, 4] of any element type."""
    return save(
        path,
        [helper.make_node("Cast", ["x"], ["y"], to=TensorProto.FLOAT)],
        [value("x", ["batch", 4], element)],
        [value("y", ["batch", 4])],
    )


def with_default(path: Path) -> Path:
    """z = x + y over FP32 [batch, 4]; y may be left out and is [10, 20, 30, 40] then."""
    default = numpy_helper.from_array(np.array([[10, 20, 30, 40]], np.float32), "y")
    return save(
        path,
        [helper.make_node("Add", ["x", "y"], ["z"])],
        [value("x", ["batch", 4]), value("y", [None, 4])],
        [value("z", ["batch", 4])],
        [default],
    )


def ragged(path: Path, *more: ValueInfoProto, words: str | None = "words") -> Path:
    """y = 2 x over [batch, words], total = sum of x over its words, and x again as each of the outputs `more`."""
    return save(
        path,
        [
            helper.make_node("Add", ["x", "x"], ["y"]),
            helper.make_node("ReduceSum", ["x", "axes"], ["total"], keepdims=0),
            *(helper.make_node("Identity", ["x"], [output.name]) for output in more),
        ],
        [value("x", ["batch", words])],
        [value("y", ["batch", words]), value("total", ["batch"]), *more],
        [numpy_helper.from_array(np.array([1], np.int64), "axes")],
    )


def total(path: Path) -> Path:
    """total = sum of x over [batch, any]: a dimension without a name, and no output that has it."""
    return save(
        path,
        [helper.make_node("ReduceSum", ["x", "axes"], ["total"], keepdims=0)],
        [value("x", ["batch", None])],
        [value("total", ["batch"])],
        [numpy_helper.from_array(np.array([1], np.int64), "axes")],
    )


def scalar(path: Path, element: int) -> Path:
    """y = x * factor over [batch, 2] of any element type; factor has no dimensions."""
    return save(
        path,
        [
            helper.make_node("Cast", ["x"], ["x32"], to=TensorProto.FLOAT),
            helper.make_node("Cast", ["factor"], ["factor32"], to=TensorProto.FLOAT),
            helper.make_node("Mul", ["x32", "factor32"], ["y"]),
        ],
        [value("x", ["batch", 2], element), value("factor", [], element)],
        [value("y", ["batch", 2])],
    )


def halves_and_text(path: Path) -> Path:
    """y = x over BF16 [batch], and t = s over BYTES [batch]."""
    return save(
        path,
        [helper.make_node("Identity", ["x"], ["y"]), helper.make_node("Identity", ["s"], ["t"])],
        [value("x", ["batch"], TensorProto.BFLOAT16), value("s", ["batch"], TensorProto.STRING)],
        [value("y", ["batch"], TensorProto.BFLOAT16), value("t", ["batch"], TensorProto.STRING)],
    )


def per_row(path: Path) -> Path:
    """y = x + x over FP32 [batch] and [batch]: models without inner dimensions."""
    return save(
        path,
        [helper.make_node("Add", ["x", "x"], ["y"])],
        [value("x", ["batch"])],
        [value("y", ["batch"])],
    )


def accumulator(path: Path, *, batched: bool = True) -> Path:
    """sum = before + x, where `after` is the same again; begins, ends and id tell back what the controls were."""
    front = ["batch"] if batched else []
    controls = [("start", TensorProto.FLOAT), ("end", TensorProto.INT32), ("ready", TensorProto.BOOL),
                ("id", TensorProto.INT64)]  # fmt: skip
    return save(
        path,
        [
            helper.make_node("Add", ["before", "x"], ["sum"]),
            helper.make_node("Identity", ["sum"], ["after"]),
            *(helper.make_node("Identity", [name], [f"{name}_seen"]) for name, _ in controls),
        ],
        [
            value("x", [*front, 2]),
            value("before", [*front, 2]),
            *(value(n, [*front, 1], e) for n, e in controls),
        ],
        [
            value("sum", [*front, 2]),
            value("after", [*front, 2]),
            *(value(f"{name}_seen", [*front, 1], element) for name, element in controls),
        ],
    )


def growing(path: Path) -> Path:
    """after = before with x behind it, [batch, kept] and [batch, 1]: sequences differ in the shape of their state."""
    return save(
        path,
        [helper.make_node("Concat", ["before", "x"], ["after"], axis=1)],
        [value("x", ["batch", 1]), value("before", ["batch", "kept"])],
        [value("after", ["batch", None])],
    )


def dropout(path: Path) -> Path:
    """y = x over FP32 [batch, 8], half of it left out at random: a dropout in training mode."""
    constants = [numpy_helper.from_array(np.array(0.5, np.float32), "ratio"),
                 numpy_helper.from_array(np.array(True), "training")]  # fmt: skip
    return save(
        path,
        [helper.make_node("Dropout", ["x", "ratio", "training"], ["y"])],
        [value("x", ["batch", 8])],
        [value("y", ["batch", 8])],
        constants,
    )
