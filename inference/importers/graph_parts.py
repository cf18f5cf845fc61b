"""The parts of an ONNX graph while it is written: nodes and constants, added in the order in which they run."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

MICROSOFT = "com.microsoft"

_MICROSOFT_OPERATORS = {
    "FastGelu",
    "GatherBlockQuantized",
    "GroupQueryAttention",
    "MatMulIntegerToFloat",
    "MatMulNBits",
    "QuickGelu",
    "SkipSimplifiedLayerNormalization",
}


class GraphParts:
    """Nodes and constants of one graph. A node's name is also what its outputs are called after."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []

    def node(
        self, operator: str, inputs: Sequence[str], name: str, outputs: int = 1, **attributes: Any
    ) -> list[str]:
        """Add a node and return its outputs: `<name>.out`, or `<name>.out0` and so on when there are several."""
        names = [f"{name}.out"] if outputs == 1 else [f"{name}.out{i}" for i in range(outputs)]
        return self.named(operator, inputs, name, names, **attributes)

    def named(
        self, operator: str, inputs: Sequence[str], name: str, outputs: Sequence[str], **attributes: Any
    ) -> list[str]:
        """Add a node whose outputs have the given names; an empty name is an output that nobody wants."""
        domain = MICROSOFT if operator in _MICROSOFT_OPERATORS else ""
        self.nodes.append(
            helper.make_node(operator, list(inputs), list(outputs), name=name, domain=domain, **attributes)
        )
        return list(outputs)

    def constant(self, name: str, values: NDArray[Any]) -> str:
        """Add a constant and return its name."""
        self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name
