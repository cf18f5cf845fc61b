"""The llama architecture in plain NumPy float32, straight from a GGUF file.

Independent of the importer: it reads the tensors itself, and rotates neighbouring pairs as GGUF files store them,
where the exported graph rotates halves. Sources: "LLaMA" (Touvron et al., 2023) for the layers, "RoFormer" (Su et al.,
2021) for the rotation, "GQA" (Ainslie et al., 2023) for shared heads.
"""

from pathlib import Path
from typing import Any

import gguf
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


class LlamaReference:
    """One model, dequantised to float32 as a whole."""

    def __init__(self, path: Path) -> None:
        reader = gguf.GGUFReader(path)
        self._weights: dict[str, Floats] = {
            tensor.name: gguf.dequantize(tensor.data, tensor.tensor_type)
            .astype(np.float32)
            .reshape(tensor.shape[::-1])
            for tensor in reader.tensors
        }

        def value(name: str) -> Any:
            return reader.fields[f"llama.{name}"].contents()

        self._layers: int = value("block_count")
        self._heads: int = value("attention.head_count")
        self._kv_heads: int = value("attention.head_count_kv")
        self._epsilon: float = value("attention.layer_norm_rms_epsilon")
        self._base: float = value("rope.freq_base")

    def logits(self, tokens: list[int]) -> Floats:
        """Return (tokens, vocabulary) logits after each of the tokens."""
        stream = self._weights["token_embd.weight"][tokens]
        for layer in range(self._layers):
            prefix = f"blk.{layer}."
            normal = self._norm(stream, f"{prefix}attn_norm.weight")
            stream = stream + self._attention(normal, prefix) @ self._weights[f"{prefix}attn_output.weight"].T
            normal = self._norm(stream, f"{prefix}ffn_norm.weight")
            gate = normal @ self._weights[f"{prefix}ffn_gate.weight"].T
            up = normal @ self._weights[f"{prefix}ffn_up.weight"].T
            stream = stream + (gate / (1 + np.exp(-gate)) * up) @ self._weights[f"{prefix}ffn_down.weight"].T
        head = self._weights.get("output.weight", self._weights["token_embd.weight"])
        return self._norm(stream, "output_norm.weight") @ head.T

    def _attention(self, normal: Floats, prefix: str) -> Floats:
        """Causal attention of all tokens; return (tokens, heads * head size)."""
        count = len(normal)
        query = self._rotate(
            (normal @ self._weights[f"{prefix}attn_q.weight"].T).reshape(count, self._heads, -1)
        )
        key = self._rotate(
            (normal @ self._weights[f"{prefix}attn_k.weight"].T).reshape(count, self._kv_heads, -1)
        )
        value = (normal @ self._weights[f"{prefix}attn_v.weight"].T).reshape(count, self._kv_heads, -1)
        key, value = (np.repeat(part, self._heads // self._kv_heads, axis=1) for part in (key, value))
        scores = np.einsum("qhd,khd->hqk", query, key) / np.float32(np.sqrt(query.shape[-1]))
        scores = np.where(np.tri(count, dtype=bool), scores, np.float32(-np.inf))
        weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
        weights /= weights.sum(axis=-1, keepdims=True)
        mixed: Floats = np.einsum("hqk,khd->qhd", weights, value).reshape(count, -1)
        return mixed

    def _rotate(self, heads: Floats) -> Floats:
        """Rotate each pair (2i, 2i + 1) of (tokens, heads, size) by position * base ** (-2i / size)."""
        size = heads.shape[-1]
        angles = np.outer(np.arange(len(heads)), self._base ** (-np.arange(0, size, 2) / size))[:, None, :]
        cosine, sine = np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)
        even, odd = heads[..., 0::2], heads[..., 1::2]
        return np.stack([even * cosine - odd * sine, even * sine + odd * cosine], axis=-1).reshape(
            heads.shape
        )

    def _norm(self, stream: Floats, name: str) -> Floats:
        mean = np.mean(stream * stream, axis=-1, keepdims=True)
        normal: Floats = stream / np.sqrt(mean + np.float32(self._epsilon)) * self._weights[name]
        return normal
