"""Decoders of the llama kind in plain NumPy, from Hugging Face's names of settings and tensors.

Independent of the importer. Sources: "RoFormer" (Su et al., 2021), "GQA" (Ainslie et al., 2023), "GLU Variants"
(Shazeer, 2020), the Gemma 3 technical report (2025) and the Llama 3.1 release for its stretched frequencies.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class DecoderReference:
    """One model in float64. `config` is a config.json, `weights` what its safetensors hold."""

    def __init__(self, config: dict[str, Any], weights: dict[str, NDArray[Any]]) -> None:
        self._config = config
        self._weights = {name: np.asarray(values, np.float64) for name, values in weights.items()}
        self._gemma = config["model_type"].startswith("gemma3")

    def logits(self, tokens: list[int]) -> Floats:
        """Return (tokens, vocabulary) logits after each of the tokens."""
        table = self._weights["model.embed_tokens.weight"]
        stream = table[tokens]
        if self._gemma:
            stream = stream * math.sqrt(self._config["hidden_size"])
        for layer in range(self._config["num_hidden_layers"]):
            stream = self._layer(layer, f"model.layers.{layer}.", stream)
        head = table if self._config["tie_word_embeddings"] else self._weights["lm_head.weight"]
        return self._norm("model.norm", stream) @ head.T

    def _layer(self, layer: int, prefix: str, stream: Floats) -> Floats:
        mixed = self._attention(layer, prefix, self._norm(f"{prefix}input_layernorm", stream))
        if not self._gemma:
            stream = stream + mixed
            return stream + self._feed_forward(
                prefix, self._norm(f"{prefix}post_attention_layernorm", stream)
            )
        stream = stream + self._norm(f"{prefix}post_attention_layernorm", mixed)
        fed = self._feed_forward(prefix, self._norm(f"{prefix}pre_feedforward_layernorm", stream))
        return stream + self._norm(f"{prefix}post_feedforward_layernorm", fed)

    def _feed_forward(self, prefix: str, normal: Floats) -> Floats:
        gate = self._linear(f"{prefix}mlp.gate_proj", normal)
        if self._gemma:
            active = gate / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (gate + 0.044715 * gate**3)))
        else:
            active = gate / (1 + np.exp(-gate))
        return self._linear(f"{prefix}mlp.down_proj", active * self._linear(f"{prefix}mlp.up_proj", normal))

    def _attention(self, layer: int, prefix: str, normal: Floats) -> Floats:
        config, count = self._config, len(normal)
        heads, kv_heads, size = (
            config["num_attention_heads"],
            config["num_key_value_heads"],
            config["head_dim"],
        )
        local = self._is_local(layer)
        query = self._linear(f"{prefix}self_attn.q_proj", normal).reshape(count, heads, size)
        key = self._linear(f"{prefix}self_attn.k_proj", normal).reshape(count, kv_heads, size)
        value = self._linear(f"{prefix}self_attn.v_proj", normal).reshape(count, kv_heads, size)
        if f"{prefix}self_attn.q_norm.weight" in self._weights:
            query = self._norm(f"{prefix}self_attn.q_norm", query)
            key = self._norm(f"{prefix}self_attn.k_norm", key)
        query, key = self._rotate(query, local), self._rotate(key, local)
        key, value = (np.repeat(part, heads // kv_heads, axis=1) for part in (key, value))
        scale = config.get("query_pre_attn_scalar", size) ** -0.5
        scores = np.einsum("qhd,khd->hqk", query, key) * scale
        distance = np.arange(count)[:, None] - np.arange(count)[None, :]
        seen = (distance >= 0) & ((distance < config["sliding_window"]) if local else True)
        scores = np.where(seen, scores, -np.inf)
        weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
        weights /= weights.sum(axis=-1, keepdims=True)
        mixed = np.einsum("hqk,khd->qhd", weights, value).reshape(count, -1)
        return self._linear(f"{prefix}self_attn.o_proj", mixed)

    def _is_local(self, layer: int) -> bool:
        if self._gemma:
            return bool((layer + 1) % self._config["sliding_window_pattern"])
        return self._config["model_type"] == "mistral" and self._config["sliding_window"] is not None

    def _rotate(self, heads: Floats, local: bool) -> Floats:
        """Rotate each pair (i, i + size / 2) of (tokens, heads, size) by its angle."""
        angles = np.outer(np.arange(len(heads)), self._frequencies(local))[:, None, :]
        first, second = np.split(heads, 2, axis=-1)
        cosine, sine = np.cos(angles), np.sin(angles)
        return np.concatenate([first * cosine - second * sine, second * cosine + first * sine], axis=-1)

    def _frequencies(self, local: bool) -> Floats:
        config, size = self._config, self._config["head_dim"]
        exponents = -np.arange(0, size, 2) / size
        if local and self._gemma:
            return np.asarray(float(config["rope_local_base_freq"]) ** exponents)
        frequencies = np.asarray(float(config["rope_theta"]) ** exponents)
        scaling = config.get("rope_scaling")
        if scaling is None:
            return frequencies
        if scaling["rope_type"] == "linear":
            return np.asarray(frequencies / scaling["factor"])
        return np.array([self._llama3(frequency, scaling) for frequency in frequencies])

    @staticmethod
    def _llama3(frequency: float, scaling: dict[str, Any]) -> float:
        context, factor = scaling["original_max_position_embeddings"], scaling["factor"]
        low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
        wave = 2 * math.pi / frequency
        if wave < context / high:
            return frequency
        if wave > context / low:
            return float(frequency / factor)
        smooth = (context / wave - low) / (high - low)
        return float((1 - smooth) * frequency / factor + smooth * frequency)

    def _linear(self, name: str, x: Floats) -> Floats:
        product: Floats = x @ self._weights[f"{name}.weight"].T + self._weights.get(f"{name}.bias", 0.0)
        return product

    def _norm(self, name: str, x: Floats) -> Floats:
        gain = self._weights[f"{name}.weight"] + (1 if self._gemma else 0)
        normal: Floats = (
            x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + self._config["rms_norm_eps"]) * gain
        )
        return normal
