"""The llama architecture as an ONNX graph, with the inputs and outputs that onnxruntime-genai expects.

Inputs: `input_ids` (batch, sequence) int64, `attention_mask` (batch, total) int64, and per layer
`past_key_values.N.key` and `.value` (batch, kv_heads, capacity, head_size) float32. Outputs: `logits` (batch, 1,
vocabulary) float32 of the last position only (as the genai model builder's `prune_lm_head`), and per layer
`present.N.key` and `.value`, which may be the same buffers as the past. Positions come from the mask: a row holds
`sum(mask)` tokens, of which the last `sequence` are new.
"""

from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from inference.importers.gguf import Float32, LlamaShape
from inference.importers.quantize import BLOCK, Quantized, quantize4, quantize8
from inference.importers.weights import LayerWeights, LlamaWeights

Quantization = Literal["int4", "fp32"]
Positions = Literal["last", "all"]

_MICROSOFT = "com.microsoft"
_OPSET = 18
_IR_VERSION = 9  # readable by every ONNX Runtime since 1.14


class LlamaGraph:
    """Builds one model; use once."""

    def __init__(self, shape: LlamaShape, quantization: Quantization, positions: Positions = "last") -> None:
        self._shape = shape
        self._quantization = quantization
        self._positions = positions
        self._nodes: list[onnx.NodeProto] = []
        self._initializers: list[onnx.TensorProto] = []

    def build(self, weights: LlamaWeights) -> onnx.ModelProto:
        """Read every weight once and return the model with its weights inside."""
        shape = self._shape
        self._lengths()
        self._rotation(weights.rope_frequencies())
        head = weights.head()
        residual = self._embed(weights.embedding())
        normal = self._norm("model.layers.0.input_norm", residual, None, weights.layer(0).attention_norm)[0]
        for index in range(shape.layers):
            after = (
                weights.layer(index + 1).attention_norm if index + 1 < shape.layers else weights.final_norm()
            )
            normal, residual = self._layer(index, weights.layer(index), normal, residual, after)
        self._logits(normal, head)
        graph = helper.make_graph(self._nodes, "llama", self._inputs(), self._outputs(), self._initializers)
        opsets = [helper.make_opsetid("", _OPSET), helper.make_opsetid(_MICROSOFT, 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION, producer_name="forebay")

    def _layer(
        self, index: int, weights: LayerWeights, normal: str, residual: str, next_norm: Float32
    ) -> tuple[str, str]:
        """Add one layer; return its normalised output (by the next norm) and the residual stream."""
        name = f"model.layers.{index}"
        qkv = self._linear(f"{name}.attention.qkv", normal, weights.qkv)
        mixed = self._attention(index, f"{name}.attention", qkv)
        mixed = self._linear(f"{name}.attention.out", mixed, weights.attention_out)
        normal, residual = self._norm(f"{name}.post_norm", residual, mixed, weights.feed_forward_norm)
        gate_up = self._linear(f"{name}.mlp.gate_up", normal, weights.gate_up)
        gate, up = self._node("Split", [gate_up], f"{name}.mlp.split", outputs=2, axis=-1, num_outputs=2)
        (sigmoid,) = self._node("Sigmoid", [gate], f"{name}.mlp.sigmoid")
        (silu,) = self._node("Mul", [gate, sigmoid], f"{name}.mlp.silu")
        (product,) = self._node("Mul", [silu, up], f"{name}.mlp.product")
        down = self._linear(f"{name}.mlp.down", product, weights.down)
        return self._norm(f"{name}.next_norm", residual, down, next_norm)

    def _attention(self, index: int, name: str, qkv: str) -> str:
        past = [f"past_key_values.{index}.key", f"past_key_values.{index}.value"]
        present = [f"present.{index}.key", f"present.{index}.value"]
        node = helper.make_node(
            "GroupQueryAttention",
            [qkv, "", "", *past, "seqlens_k", "total_length", "rope.cos", "rope.sin"],
            [f"{name}.mixed", *present],
            name=name,
            domain=_MICROSOFT,
            num_heads=self._shape.heads,
            kv_num_heads=self._shape.kv_heads,
            do_rotary=1,
            rotary_interleaved=0,
        )
        self._nodes.append(node)
        return f"{name}.mixed"

    def _norm(self, name: str, residual: str, branch: str | None, weight: Float32) -> tuple[str, str]:
        """RMS norm of `residual + branch`; return the normalised and the summed tensor."""
        gain = self._constant(f"{name}.weight", weight)
        attributes: dict[str, Any] = {"epsilon": self._shape.norm_epsilon}
        if branch is None:
            out = self._node("SimplifiedLayerNormalization", [residual, gain], name, axis=-1, **attributes)
            return out[0], residual
        self._nodes.append(
            helper.make_node(
                "SkipSimplifiedLayerNormalization",
                [residual, branch, gain],
                [f"{name}.out", "", "", f"{name}.sum"],
                name=name,
                domain=_MICROSOFT,
                **attributes,
            )
        )
        return f"{name}.out", f"{name}.sum"

    def _embed(self, table: Float32) -> str:
        """Look tokens up. In an int4 model the table has 8 bits, and a head that shares it uses the same bytes."""
        if self._quantization == "fp32":
            self._constant("model.embedding", table)
            return self._node("Gather", ["model.embedding", "input_ids"], "model.embed")[0]
        names = self._blocks("model.embedding", quantize8(table))
        flat: dict[str, Any] = {"bits": 8, "block_size": BLOCK, "gather_axis": 0, "quantize_axis": 1}
        return self._node("GatherBlockQuantized", [names[0], "input_ids", names[1]], "model.embed", **flat)[0]

    def _logits(self, normal: str, head: Float32 | None) -> None:
        """Project to the vocabulary: only the last position, unless all were asked for."""
        last = normal
        if self._positions == "last":
            index = self._constant("model.last_index", np.array([-1], np.int64))
            last = self._node("Gather", [normal, index], "model.last", axis=1)[0]
        if head is not None:
            self._linear("lm_head", last, head, output="logits", bits=8)
        elif self._quantization == "fp32":
            (transposed,) = self._node("Transpose", ["model.embedding"], "lm_head.weight", perm=[1, 0])
            self._nodes.append(helper.make_node("MatMul", [last, transposed], ["logits"], name="lm_head"))
        else:
            shape, blocks = self._shape, self._shape.hidden // BLOCK
            layout = self._constant("lm_head.layout", np.array([shape.vocabulary, blocks, BLOCK], np.int64))
            (packed,) = self._node("Reshape", ["model.embedding.packed", layout], "lm_head.packed")
            self._matmul(
                "lm_head",
                last,
                [packed, "model.embedding.scales"],
                shape.hidden,
                shape.vocabulary,
                8,
                "logits",
            )

    def _linear(self, name: str, x: str, weights: Float32, output: str = "", bits: Literal[4, 8] = 4) -> str:
        """Multiply by the transpose of (out_features, in_features) weights."""
        output = output or f"{name}.out"
        if self._quantization == "fp32":
            constant = self._constant(f"{name}.weight", np.ascontiguousarray(weights.T))
            self._nodes.append(helper.make_node("MatMul", [x, constant], [output], name=name))
            return output
        matrix = quantize4(weights) if bits == 4 else quantize8(weights)
        self._matmul(name, x, self._blocks(name, matrix), matrix.columns, matrix.rows, bits, output)
        return output

    def _matmul(
        self, name: str, x: str, blocks: list[str], columns: int, rows: int, bits: int, output: str
    ) -> None:
        """Add a MatMulNBits; accuracy level 4 multiplies in int8, the fast path of CPUs."""
        attributes: dict[str, Any] = {
            "K": columns,
            "N": rows,
            "bits": bits,
            "block_size": BLOCK,
            "accuracy_level": 4,
        }
        self._nodes.append(
            helper.make_node(
                "MatMulNBits", [x, *blocks], [output], name=name, domain=_MICROSOFT, **attributes
            )
        )

    def _blocks(self, name: str, matrix: Quantized) -> list[str]:
        """Add the constants of a quantised matrix; an embedding table is stored (rows, columns)."""
        packed = matrix.packed.reshape(matrix.rows, -1) if name == "model.embedding" else matrix.packed
        names = [self._constant(f"{name}.packed", packed), self._constant(f"{name}.scales", matrix.scales)]
        if matrix.zero_points is not None:
            names.append(self._constant(f"{name}.zero_points", matrix.zero_points))
        return names

    def _lengths(self) -> None:
        """Derive what GroupQueryAttention wants from the mask: tokens per row minus one, and the longest row."""
        axis = self._constant("mask.axis", np.array([1], np.int64))
        one = self._constant("mask.one", np.array(1, np.int64))
        (tokens,) = self._node("ReduceSum", ["attention_mask", axis], "mask.tokens", keepdims=0)
        (before,) = self._node("Sub", [tokens, one], "mask.before")
        self._nodes.append(
            helper.make_node("Cast", [before], ["seqlens_k"], name="mask.cast", to=TensorProto.INT32)
        )
        (sizes,) = self._node("Shape", ["attention_mask"], "mask.shape")
        (total,) = self._node("Gather", [sizes, one], "mask.total", axis=0)
        self._nodes.append(
            helper.make_node("Cast", [total], ["total_length"], name="mask.total_cast", to=TensorProto.INT32)
        )

    def _rotation(self, frequencies: Float32) -> None:
        angles = np.outer(np.arange(self._shape.context, dtype=np.float64), frequencies)
        self._constant("rope.cos", np.cos(angles).astype(np.float32))
        self._constant("rope.sin", np.sin(angles).astype(np.float32))

    def _node(
        self, operator: str, inputs: list[str], name: str, outputs: int = 1, **attributes: Any
    ) -> list[str]:
        names = [f"{name}.out"] if outputs == 1 else [f"{name}.out{i}" for i in range(outputs)]
        domain = _MICROSOFT if operator == "GatherBlockQuantized" else ""
        self._nodes.append(helper.make_node(operator, inputs, names, name=name, domain=domain, **attributes))
        return names

    def _constant(self, name: str, values: NDArray[Any]) -> str:
        self._initializers.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

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
        return [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in names]
