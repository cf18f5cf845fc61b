"""A decoder as an ONNX graph, with the inputs and outputs that onnxruntime-genai expects.

Inputs: `input_ids` (batch, sequence) int64, `attention_mask` (batch, total) int64, and per layer
`past_key_values.N.key` and `.value` (batch, kv_heads, capacity, head_size). Outputs: `logits` (batch, 1,
vocabulary) float32 of the last position only (as the genai model builder's `prune_lm_head`), and per layer
`present.N.key` and `.value`, which may be the same buffers as the past. Positions come from the mask: a row holds
`sum(mask)` tokens, of which the last `sequence` are new.

What is computed and cached is float32, or float16: then the logits are widened at the end, for who samples.
"""

from typing import Literal

import numpy as np
import onnx
from onnx import TensorProto, helper

from inference.importers.architecture import DecoderShape, Float32
from inference.importers.attention_graph import AttentionGraph
from inference.importers.graph_parts import ELEMENT_TYPES, MICROSOFT, GraphParts, Precision
from inference.importers.linears import HEAD, Linears
from inference.importers.weights import DecoderWeights, LayerWeights

Positions = Literal["last", "all"]

_OPSET = 18
_IR_VERSION = 9  # readable by every ONNX Runtime since 1.14


class DecoderGraph:
    """Builds one model; use once."""

    def __init__(
        self,
        shape: DecoderShape,
        linears: Linears,
        positions: Positions = "last",
        precision: Precision = "float32",
    ) -> None:
        """Take the model's numbers, the form of its matrices, and the positions whose logits are wanted."""
        self._shape = shape
        self._linears = linears
        self._positions = positions
        self._parts = GraphParts(precision)
        self._attention = AttentionGraph(shape, self._parts)

    def build(self, weights: DecoderWeights) -> onnx.ModelProto:
        """Read every weight once and return the model with its weights inside."""
        layers = self._shape.layers
        self._attention.lengths()
        self._attention.rotations(weights)
        head = weights.head()
        residual = self._embed(weights.embedding())
        layer = weights.layer(0)
        normal = self._norm("model.layers.0.input_norm", residual, layer.attention_norm)
        for index in range(layers):
            following = weights.layer(index + 1) if index + 1 < layers else None
            after = weights.final_norm() if following is None else following.attention_norm
            normal, residual = self._layer(index, layer, normal, residual, after)
            layer = following or layer
        self._logits(normal, head)
        parts = self._parts
        graph = helper.make_graph(
            parts.nodes, self._shape.family, self._inputs(), self._outputs(), parts.initializers
        )
        opsets = [helper.make_opsetid("", _OPSET), helper.make_opsetid(MICROSOFT, 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION, producer_name="forebay")

    def _layer(
        self, index: int, weights: LayerWeights, normal: str, residual: str, next_norm: Float32
    ) -> tuple[str, str]:
        """Add one layer; return its normalised output (by the next norm) and the residual stream."""
        name = f"model.layers.{index}"
        qkv = self._linear(f"{name}.attention.qkv", normal, weights.qkv, weights.qkv_bias)
        mixed = self._attention.attend(index, f"{name}.attention", qkv, weights)
        mixed = self._linear(
            f"{name}.attention.out", mixed, weights.attention_out, weights.attention_out_bias
        )
        if weights.attention_branch_norm is not None:
            mixed = self._norm(f"{name}.attention.branch_norm", mixed, weights.attention_branch_norm)
        normal, residual = self._add_norm(f"{name}.post_norm", residual, mixed, weights.feed_forward_norm)
        down = self._feed_forward(f"{name}.mlp", normal, weights)
        if weights.feed_forward_branch_norm is not None:
            down = self._norm(f"{name}.mlp.branch_norm", down, weights.feed_forward_branch_norm)
        return self._add_norm(f"{name}.next_norm", residual, down, next_norm)

    def _feed_forward(self, name: str, normal: str, weights: LayerWeights) -> str:
        parts = self._parts
        gate_up = self._linear(f"{name}.gate_up", normal, weights.gate_up, weights.gate_up_bias)
        gate, up = parts.node("Split", [gate_up], f"{name}.split", outputs=2, axis=-1, num_outputs=2)
        if self._shape.activation == "gelu":
            (active,) = parts.node("FastGelu", [gate], f"{name}.gelu")
        else:
            (sigmoid,) = parts.node("Sigmoid", [gate], f"{name}.sigmoid")
            (active,) = parts.node("Mul", [gate, sigmoid], f"{name}.silu")
        (product,) = parts.node("Mul", [active, up], f"{name}.product")
        return self._linear(f"{name}.down", product, weights.down, weights.down_bias)

    def _linear(self, name: str, x: str, weights: Float32, bias: Float32 | None) -> str:
        product = self._linears.multiply(self._parts, name, x, weights)
        if bias is None:
            return product
        constant = self._parts.constant(f"{name}.bias.weight", bias)
        return self._parts.node("Add", [product, constant], f"{name}.bias")[0]

    def _embed(self, table: Float32) -> str:
        found = self._linears.embed(self._parts, table)
        if self._shape.embedding_scale == 1.0:
            return found
        scale = self._parts.constant("model.embed.scale", np.array(self._shape.embedding_scale, np.float32))
        return self._parts.node("Mul", [found, scale], "model.embed.scaled")[0]

    def _norm(self, name: str, x: str, weight: Float32) -> str:
        """Add an RMS norm."""
        gain = self._parts.constant(f"{name}.weight", weight)
        return self._parts.node(
            "SimplifiedLayerNormalization", [x, gain], name, axis=-1, epsilon=self._shape.norm_epsilon
        )[0]

    def _add_norm(self, name: str, residual: str, branch: str, weight: Float32) -> tuple[str, str]:
        """Add the RMS norm of `residual + branch`; return the normalised and the summed tensor."""
        gain = self._parts.constant(f"{name}.weight", weight)
        normal, _, _, total = self._parts.named(
            "SkipSimplifiedLayerNormalization",
            [residual, branch, gain],
            name,
            [f"{name}.out", "", "", f"{name}.sum"],
            epsilon=self._shape.norm_epsilon,
        )
        return normal, total

    def _logits(self, normal: str, head: Float32 | None) -> None:
        """Project to the vocabulary: only the last position, unless all were asked for."""
        last = normal
        if self._positions == "last":
            index = self._parts.constant("model.last_index", np.array([-1], np.int64))
            last = self._parts.node("Gather", [normal, index], "model.last", axis=1)[0]
        size = (self._shape.vocabulary, self._shape.hidden)
        if self._parts.precision == "float32":
            self._linears.project(self._parts, last, head, size, "logits")
            return
        self._linears.project(self._parts, last, head, size, f"{HEAD}.out")
        self._parts.named("Cast", [f"{HEAD}.out"], "model.logits", ["logits"], to=TensorProto.FLOAT)

    def _inputs(self) -> list[onnx.ValueInfoProto]:
        return [
            helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch_size", "sequence_length"]),
            helper.make_tensor_value_info(
                "attention_mask", TensorProto.INT64, ["batch_size", "total_sequence_length"]
            ),
            *self._caches("past_key_values", "past_sequence_length"),
        ]

    def _outputs(self) -> list[onnx.ValueInfoProto]:
        positions: int | str = 1 if self._positions == "last" else "sequence_length"
        shape: list[int | str | None] = ["batch_size", positions, self._shape.vocabulary]
        logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, shape)
        return [logits, *self._caches("present", "total_sequence_length")]

    def _caches(self, prefix: str, length: str) -> list[onnx.ValueInfoProto]:
        shape: list[int | str | None] = ["batch_size", self._shape.kv_heads, length, self._shape.head_size]
        names = [f"{prefix}.{i}.{part}" for i in range(self._shape.layers) for part in ("key", "value")]
        kind = ELEMENT_TYPES[self._parts.precision]
        return [helper.make_tensor_value_info(name, kind, shape) for name in names]
