"""A model whose one run cannot be stopped: ONNX Runtime looks whether it shall end between kernels, and this is one."""

from pathlib import Path

import onnx
from onnx import TensorProto, helper


def save_one_kernel(path: Path) -> Path:
    """Write a model that multiplies two integer matrices of `size` x `size` ones (INT64 [1] in, INT64 [1] out: size).

    Integers, because their product is not optimised: 2000 take many seconds, 2 none.
    """
    graph = helper.make_graph(
        [
            helper.make_node("Concat", ["size", "size"], ["shape"], axis=0),
            helper.make_node(
                "ConstantOfShape",
                ["shape"],
                ["ones"],
                value=helper.make_tensor("one", TensorProto.INT64, [1], [1]),
            ),
            helper.make_node("MatMul", ["ones", "ones"], ["product"]),
            helper.make_node("ReduceMax", ["product"], ["largest"], axes=[0, 1], keepdims=0),
            helper.make_node("Constant", [], ["flat"], value_ints=[1]),
            helper.make_node("Reshape", ["largest", "flat"], ["found"]),
        ],
        path.stem,
        [helper.make_tensor_value_info("size", TensorProto.INT64, [1])],
        [helper.make_tensor_value_info("found", TensorProto.INT64, [1])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
    return path
