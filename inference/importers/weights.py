"""The weights of a llama model, by the part they play, with rotary rows in the order ONNX expects."""

from dataclasses import dataclass

import numpy as np

from inference.importers.gguf import Float32, GgufFile, LlamaShape


@dataclass(frozen=True, slots=True)
class LayerWeights:
    """One layer; projections are (out_features, in_features) float32."""

    attention_norm: Float32
    qkv: Float32
    """Query, key and value rows, one after the other."""
    attention_out: Float32
    feed_forward_norm: Float32
    gate_up: Float32
    """Gate rows, then up rows."""
    down: Float32


class LlamaWeights:
    """Reads the tensors of one file by role; nothing is kept."""

    def __init__(self, file: GgufFile, shape: LlamaShape) -> None:
        self._file = file
        self._shape = shape

    def embedding(self) -> Float32:
        """(vocabulary, hidden)."""
        return self._file.tensor("token_embd.weight", (self._shape.vocabulary, self._shape.hidden))

    def head(self) -> Float32 | None:
        """(vocabulary, hidden), or None when the model shares its embedding."""
        if not self._file.has("output.weight"):
            return None
        return self._file.tensor("output.weight", (self._shape.vocabulary, self._shape.hidden))

    def final_norm(self) -> Float32:
        """(hidden,)."""
        return self._file.tensor("output_norm.weight", (self._shape.hidden,))

    def rope_frequencies(self) -> Float32:
        """Angle per position of each pair of a head, (head_size / 2,), with the file's scaling factors applied."""
        exponents = np.arange(0, self._shape.head_size, 2, dtype=np.float64) / self._shape.head_size
        frequencies = self._shape.rope_base**-exponents
        if self._file.has("rope_freqs.weight"):
            frequencies = frequencies / self._file.tensor("rope_freqs.weight", frequencies.shape)
        return frequencies.astype(np.float32)

    def layer(self, index: int) -> LayerWeights:
        """Read one layer."""
        s, prefix = self._shape, f"blk.{index}."
        query_rows, kv_rows = s.heads * s.head_size, s.kv_heads * s.head_size

        def read(name: str, *shape: int) -> Float32:
            return self._file.tensor(f"{prefix}{name}.weight", shape)

        query = _halves(read("attn_q", query_rows, s.hidden), s.heads)
        key = _halves(read("attn_k", kv_rows, s.hidden), s.kv_heads)
        return LayerWeights(
            attention_norm=read("attn_norm", s.hidden),
            qkv=np.concatenate([query, key, read("attn_v", kv_rows, s.hidden)]),
            attention_out=read("attn_output", s.hidden, query_rows),
            feed_forward_norm=read("ffn_norm", s.hidden),
            gate_up=np.concatenate(
                [read("ffn_gate", s.feed_forward, s.hidden), read("ffn_up", s.feed_forward, s.hidden)]
            ),
            down=read("ffn_down", s.hidden, s.feed_forward),
        )


def _halves(rows: Float32, heads: int) -> Float32:
    """Undo GGUF's row order: pairs (2i, 2i+1) of a head become (i, i + head_size / 2)."""
    out, width = rows.shape
    return np.ascontiguousarray(
        rows.reshape(heads, out // heads // 2, 2, width).swapaxes(1, 2).reshape(out, width)
    )
