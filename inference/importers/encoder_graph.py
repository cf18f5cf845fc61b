"""An encoder as an ONNX graph without padding: the tokens of all texts lie one after the other.

Everything but attention works token by token, so it is done for the tokens that are there and no others. For attention
alone they are spread out to a row for each text, and gathered again. Inputs: `input_ids` (tokens) int64, `positions`
(tokens) int64, `spread` (texts, longest) int64, the token at each place of each row and any token where there is none,
`gather` (tokens) int64, the place of each token in the rows one after the other, and `lengths` (texts) int32. Output:
`hidden` (tokens, hidden) float32.

Biases and the addition around each branch cost nothing: a product is added to what goes around it, and the bias of that
product is already in it, because the norm before adds it and the branch's first product takes it off again by a bias of
its own.
"""

from typing import Final, Protocol

import numpy as np
import onnx
from onnx import TensorProto, helper

from inference.importers.architecture import Float32
from inference.importers.encoder_architecture import Activation, EncoderShape
from inference.importers.encoder_weights import EncoderLayer, EncoderWeights, Linear, Norm
from inference.importers.graph_parts import MICROSOFT, GraphParts

_OPSET: Final = 18
_IR_VERSION: Final = 9  # readable by every ONNX Runtime since 1.14
_OPERATORS: Final[dict[Activation, str]] = {"gelu": "Gelu", "gelu_tanh": "FastGelu", "relu": "Relu"}


class Products(Protocol):
    """Writes products with matrices of one form."""

    def multiply_add(self, parts: GraphParts, name: str, x: str, weights: Float32, added: str) -> str:
        """Add the product of x with the transpose of (out_features, in_features) weights, plus a tensor; return its
        output.
        """


class FullProducts:
    """Matrices in full."""

    def multiply_add(self, parts: GraphParts, name: str, x: str, weights: Float32, added: str) -> str:
        """See Products."""
        return parts.node("Gemm", [x, parts.constant(f"{name}.weight", weights.T), added], name)[0]


class EncoderGraph:
    """Builds one model; use once."""

    def __init__(self, shape: EncoderShape, products: Products) -> None:
        self._shape = shape
        self._products = products
        self._parts = GraphParts()

    def build(self, weights: EncoderWeights) -> onnx.ModelProto:
        """Read every weight once and return the model with its weights inside."""
        parts, shape = self._parts, self._shape
        parts.constant("model.rows", np.array([-1, shape.hidden], np.int64))
        layers = (weights.layer(index) for index in range(shape.layers))
        layer = next(layers)
        carried = layer.attention_out.bias
        x = self._norm("model.embed.norm", self._embed(weights), weights.embedding_norm(), carried)
        for index in range(shape.layers):
            following = next(layers, None)
            after = np.zeros_like(carried) if following is None else following.attention_out.bias
            x = self._layer(f"model.layers.{index}", layer, x, after)
            layer = following or layer
        parts.named("Identity", [x], "model.hidden", ["hidden"])
        return self._model()

    def _layer(self, name: str, layer: EncoderLayer, x: str, after: Float32) -> str:
        """Add one layer, whose input has the bias of its attention in it and whose output gets `after`."""
        qkv = self._multiply(f"{name}.attention.qkv", x, layer.qkv, layer.attention_out.bias)
        mixed = self._attend(f"{name}.attention", qkv)
        x = self._products.multiply_add(
            self._parts, f"{name}.attention.out", mixed, layer.attention_out.weight, x
        )
        x = self._norm(f"{name}.attention.norm", x, layer.attention_norm, layer.down.bias)
        (wide,) = self._parts.node(
            _OPERATORS[self._shape.activation],
            [self._multiply(f"{name}.mlp.up", x, layer.up, layer.down.bias)],
            f"{name}.mlp.activation",
        )
        x = self._products.multiply_add(self._parts, f"{name}.mlp.down", wide, layer.down.weight, x)
        return self._norm(f"{name}.mlp.norm", x, layer.feed_forward_norm, after)

    def _multiply(self, name: str, x: str, linear: Linear, carried: Float32) -> str:
        """Add a product with an input that has `carried` in it too much."""
        bias = self._parts.constant(f"{name}.bias", linear.bias - linear.weight @ carried)
        return self._products.multiply_add(self._parts, name, x, linear.weight, bias)

    def _attend(self, name: str, qkv: str) -> str:
        """Add attention among the tokens of each text: (tokens, 3 * hidden) to (tokens, hidden)."""
        parts = self._parts
        (rows,) = parts.node("Gather", [qkv, "spread"], f"{name}.spread")
        query, key, value = parts.node("Split", [rows], f"{name}.split", outputs=3, axis=-1, num_outputs=3)
        (mixed,) = parts.node(
            "MultiHeadAttention",
            [query, key, value, "", "lengths"],
            f"{name}.mix",
            num_heads=self._shape.heads,
        )
        (flat,) = parts.node("Reshape", [mixed, "model.rows"], f"{name}.flat")
        return parts.node("Gather", [flat, "gather"], f"{name}.gather")[0]

    def _embed(self, weights: EncoderWeights) -> str:
        parts = self._parts
        table = parts.constant("model.embedding", weights.embedding())
        positions = parts.constant("model.positions", weights.positions())
        (tokens,) = parts.node("Gather", [table, "input_ids"], "model.embed.tokens")
        (places,) = parts.node("Gather", [positions, "positions"], "model.embed.positions")
        return parts.node("Add", [tokens, places], "model.embed")[0]

    def _norm(self, name: str, x: str, norm: Norm, carried: Float32) -> str:
        """Add a norm whose output has `carried` added."""
        gain = self._parts.constant(f"{name}.gain", norm.gain)
        bias = self._parts.constant(f"{name}.bias", norm.bias + carried)
        return self._parts.node(
            "LayerNormalization", [x, gain, bias], name, axis=-1, epsilon=self._shape.norm_epsilon
        )[0]

    def _model(self) -> onnx.ModelProto:
        def value(name: str, kind: int, *shape: int | str) -> onnx.ValueInfoProto:
            return helper.make_tensor_value_info(name, kind, list(shape))

        inputs = [
            value("input_ids", TensorProto.INT64, "tokens"),
            value("positions", TensorProto.INT64, "tokens"),
            value("spread", TensorProto.INT64, "texts", "longest"),
            value("gather", TensorProto.INT64, "tokens"),
            value("lengths", TensorProto.INT32, "texts"),
        ]
        outputs = [value("hidden", TensorProto.FLOAT, "tokens", self._shape.hidden)]
        parts = self._parts
        graph = helper.make_graph(parts.nodes, self._shape.family, inputs, outputs, parts.initializers)
        opsets = [helper.make_opsetid("", _OPSET), helper.make_opsetid(MICROSOFT, 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION, producer_name="forebay")
