"""A small batchable model, which costs microseconds: what a measurement of it shows is the serving around it."""

from pathlib import Path
from typing import Final

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

WIDTH: Final = 64


def save_mlp(path: Path) -> Path:
    """Write two layers of 64 x 64 with a ReLU between them: FP32 [batch, 64] `input` in, `output` out."""
    random = np.random.default_rng(0)
    weights = [
        numpy_helper.from_array(random.standard_normal((WIDTH, WIDTH)).astype(np.float32) * 0.1, f"w{layer}")
        for layer in range(2)
    ]
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["input", "w0"], ["a"]),
            helper.make_node("Relu", ["a"], ["b"]),
            helper.make_node("MatMul", ["b", "w1"], ["output"]),
        ],
        "mlp",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", WIDTH])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["batch", WIDTH])],
        weights,
    )
    opset = helper.make_opsetid("", 17)
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=8), str(path))
    return path
