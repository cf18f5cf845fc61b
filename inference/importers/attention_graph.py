"""The attention of a decoder as nodes: rotation tables, lengths from the mask, and one GroupQueryAttention a layer.

The operator rotates queries and keys, appends to the caches and attends, over everything or over a window of the
newest tokens (com.microsoft.GroupQueryAttention). Norms of query and key heads come before the rotation, so they are
nodes of their own in front of it.
"""

from typing import Any

import numpy as np
from onnx import TensorProto

from inference.importers.architecture import DecoderShape, Float32
from inference.importers.graph_parts import GraphParts
from inference.importers.weights import DecoderWeights, LayerWeights


class AttentionGraph:
    """Adds the attention of one model to its graph."""

    def __init__(self, shape: DecoderShape, parts: GraphParts) -> None:
        self._shape = shape
        self._parts = parts

    def lengths(self) -> None:
        """Derive what GroupQueryAttention wants from the mask: tokens per row minus one, and the longest row."""
        parts = self._parts
        axis = parts.constant("mask.axis", np.array([1], np.int64))
        one = parts.constant("mask.one", np.array(1, np.int64))
        (tokens,) = parts.node("ReduceSum", ["attention_mask", axis], "mask.tokens", keepdims=0)
        (before,) = parts.node("Sub", [tokens, one], "mask.before")
        parts.named("Cast", [before], "mask.cast", ["seqlens_k"], to=TensorProto.INT32)
        (sizes,) = parts.node("Shape", ["attention_mask"], "mask.shape")
        (total,) = parts.node("Gather", [sizes, one], "mask.total", axis=0)
        parts.named("Cast", [total], "mask.total_cast", ["total_length"], to=TensorProto.INT32)

    def rotations(self, weights: DecoderWeights) -> None:
        """Add the table of cosines and sines of each position, (context, head_size / 2), per kind of layer."""
        for name, layer in {self._rope(layer): layer for layer in range(self._shape.layers)}.items():
            frequencies = weights.rope_frequencies(layer)
            angles = np.outer(np.arange(self._shape.context, dtype=np.float64), frequencies)
            self._parts.constant(f"{name}.cos", np.cos(angles).astype(np.float32))
            self._parts.constant(f"{name}.sin", np.sin(angles).astype(np.float32))

    def attend(self, layer: int, name: str, qkv: str, weights: LayerWeights) -> str:
        """Add one layer's attention over (batch, sequence, query + key + value); return what the heads mixed."""
        past = [f"past_key_values.{layer}.key", f"past_key_values.{layer}.value"]
        present = [f"present.{layer}.key", f"present.{layer}.value"]
        rope = self._rope(layer)
        attributes: dict[str, Any] = {}
        if layer in self._shape.local_layers:
            attributes["local_window_size"] = self._shape.window
        if self._shape.attention_scale is not None:
            attributes["scale"] = self._shape.attention_scale
        return self._parts.named(
            "GroupQueryAttention",
            [
                *self._heads(name, qkv, weights),
                *past,
                "seqlens_k",
                "total_length",
                f"{rope}.cos",
                f"{rope}.sin",
            ],
            name,
            [f"{name}.mixed", *present],
            num_heads=self._shape.heads,
            kv_num_heads=self._shape.kv_heads,
            do_rotary=1,
            rotary_interleaved=0,
            **attributes,
        )[0]

    def _heads(self, name: str, qkv: str, weights: LayerWeights) -> list[str]:
        """Return the operator's query, key and value: packed in one, unless heads are normalised first."""
        if weights.query_norm is None or weights.key_norm is None:
            return [qkv, "", ""]
        shape = self._shape
        queries, keys = shape.heads * shape.head_size, shape.kv_heads * shape.head_size
        sizes = self._parts.constant(f"{name}.sizes", np.array([queries, keys, keys], np.int64))
        query, key, value = self._parts.node("Split", [qkv, sizes], f"{name}.split", outputs=3, axis=-1)
        return [
            self._normalised(f"{name}.query_norm", query, weights.query_norm, queries),
            self._normalised(f"{name}.key_norm", key, weights.key_norm, keys),
            value,
        ]

    def _normalised(self, name: str, x: str, gain: Float32, width: int) -> str:
        """Add the RMS norm of each head of (batch, sequence, heads * head_size), with one gain for all heads."""
        parts, size = self._parts, self._shape.head_size
        # In the layouts, 0 keeps the size of an axis of the input.
        apart = parts.constant(f"{name}.heads", np.array([0, 0, width // size, size], np.int64))
        joined = parts.constant(f"{name}.joined", np.array([0, 0, width], np.int64))
        weight = parts.constant(f"{name}.weight", gain)
        (heads,) = parts.node("Reshape", [x, apart], f"{name}.apart")
        (normal,) = parts.node(
            "SimplifiedLayerNormalization", [heads, weight], name, axis=-1, epsilon=self._shape.norm_epsilon
        )
        return parts.node("Reshape", [normal, joined], f"{name}.join")[0]

    def _rope(self, layer: int) -> str:
        """Return the name of the table that a layer rotates by."""
        return "rope" if self._shape.rotation_of(layer) == self._shape.rotation else "rope_local"
