"""The parts of an ONNX graph while it is written: nodes and constants, added in the order in which they run.

A graph computes in one precision. Constants are given in float32 and written in the graph's; whole numbers stay as they
are.
"""

from collections.abc import Sequence
from typing import Any, Final, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from scheduler.errors import ImportRefused

MICROSOFT = "com.microsoft"

Precision = Literal["float32", "float16"]

ELEMENT_TYPES: Final[dict[Precision, int]] = {"float32": TensorProto.FLOAT, "float16": TensorProto.FLOAT16}

_MICROSOFT_OPERATORS = {
    "FastGelu",
    "Gelu",
    "GatherBlockQuantized",
    "GroupQueryAttention",
    "MatMulIntegerToFloat",
    "MatMulNBits",
    "MultiHeadAttention",
    "QuickGelu",
    "SkipSimplifiedLayerNormalization",
}


class GraphParts:
    """Nodes and constants of one graph. A node's name is also what its outputs are called after."""

    def __init__(self, precision: Precision = "float32") -> None:
        self.precision: Precision = precision
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
        """Add a constant and return its name.

        Raises ImportRefused when a number is larger than the graph's precision holds.
        """
        if values.dtype == np.float32 and self.precision == "float16":
            values = _halved(values, name)
        self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name


def _halved(values: NDArray[Any], name: str) -> NDArray[np.float16]:
    """Round to float16."""
    with np.errstate(over="ignore"):
        halves = values.astype(np.float16)
    if not np.isfinite(halves).all():
        raise ImportRefused(
            f"{name} holds values up to {np.abs(values).max():.3g}, more than float16 does: use float32"
        )
    return halves
