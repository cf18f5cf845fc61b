"""A repository of models in Triton's layout, of a few nodes each: what the tests of the KServe doors ask."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from onnx import NodeProto, TensorProto, helper

from tests.unit.inference.tensor.onnx_models import save, value

ELEMENTS: Final = {
    "BOOL": TensorProto.BOOL,
    "UINT8": TensorProto.UINT8,
    "UINT16": TensorProto.UINT16,
    "UINT32": TensorProto.UINT32,
    "UINT64": TensorProto.UINT64,
    "INT8": TensorProto.INT8,
    "INT16": TensorProto.INT16,
    "INT32": TensorProto.INT32,
    "INT64": TensorProto.INT64,
    "FP16": TensorProto.FLOAT16,
    "FP32": TensorProto.FLOAT,
    "FP64": TensorProto.DOUBLE,
    "BYTES": TensorProto.STRING,
}
BATCHED: Final = """
max_batch_size: 8
dynamic_batching { }
"""
SCORES: Final = """
max_batch_size: 8
output [ { name: "y" data_type: TYPE_FP32 dims: [ 4 ] label_filename: "labels.txt" } ]
"""
RUNNING_SUM: Final = """
input [ { name: "x" data_type: TYPE_FP32 dims: [ 1, 1 ] } ]
output [ { name: "y" data_type: TYPE_FP32 dims: [ 1, 1 ] } ]
sequence_batching {
  max_sequence_idle_microseconds: 20000000
  state [ {
    input_name: "before" output_name: "after" data_type: TYPE_FP32 dims: [ 1, 1 ]
    initial_state { name: "nothing" data_type: TYPE_FP32 dims: [ 1, 1 ] zero_data: true }
  } ]
}
"""


def save_repository(folder: Path) -> Path:
    """Write it and return it: `add` and `spare` (y = x + x over FP32 [batch, 4]), `wide` (the same over 200,000),
    `scores` (y = x, with labels), `types` (in_T to out_T of every datatype T but BF16), `brain` (BF16), and
    `running_sum`, which keeps state.
    """
    double = [helper.make_node("Add", ["x", "x"], ["y"])]
    for name, config, width in (("add", BATCHED, 4), ("spare", BATCHED, 4), ("wide", "", 200_000)):
        _save(folder / name, double, width)
        (folder / name / "config.pbtxt").write_text(config)
    _save(folder / "scores", [helper.make_node("Identity", ["x"], ["y"])], 4)
    (folder / "scores" / "config.pbtxt").write_text(SCORES)
    (folder / "scores" / "labels.txt").write_text("apple\npear\nplum\nfig\n")
    save(
        folder / "types" / "1" / "model.onnx",
        [helper.make_node("Identity", [f"in_{name}"], [f"out_{name}"]) for name in ELEMENTS],
        [value(f"in_{name}", ["n"], element) for name, element in ELEMENTS.items()],
        [value(f"out_{name}", ["n"], element) for name, element in ELEMENTS.items()],
    )
    # Of its own: what the runtime is given for this type and for texts excludes each other.
    save(
        folder / "brain" / "1" / "model.onnx",
        [helper.make_node("Identity", ["x"], ["y"])],
        [value("x", ["n"], TensorProto.BFLOAT16)],
        [value("y", ["n"], TensorProto.BFLOAT16)],
    )
    save(
        folder / "running_sum" / "1" / "model.onnx",
        [
            helper.make_node("Add", ["x", "before"], ["y"]),
            helper.make_node("Identity", ["y"], ["after"]),
        ],
        [value("x", [1, 1]), value("before", [1, 1])],
        [value("y", [1, 1]), value("after", [1, 1])],
    )
    (folder / "running_sum" / "config.pbtxt").write_text(RUNNING_SUM)
    return folder


def _save(folder: Path, nodes: Sequence[NodeProto], width: int) -> None:
    save(
        folder / "1" / "model.onnx",
        nodes,
        [value("x", ["batch", width])],
        [value("y", ["batch", width])],
    )
