"""From the config.json of a Hugging Face folder to the description of its model.

Settings are those of the transformers library, in the form before and after its version 5 (`rope_parameters`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, Literal

from inference.importers.architecture import DecoderShape, Family, FrequencyBands, Rotation
from inference.importers.weights import Naming
from scheduler.errors import ImportRefused

FAMILIES: Final[dict[str, Family]] = {
    "LlamaForCausalLM": "llama",
    "MistralForCausalLM": "mistral",
    "Qwen2ForCausalLM": "qwen2",
    "Qwen3ForCausalLM": "qwen3",
    "Gemma3ForCausalLM": "gemma3",
}
"""What `architectures` may say."""

_ACTIVATIONS: Final[dict[str, Literal["silu", "gelu"]]] = {
    "silu": "silu",
    "gelu_pytorch_tanh": "gelu",
}
_ROLES: Final = MappingProxyType(
    {
        "attention_norm": "input_layernorm",
        "query": "self_attn.q_proj",
        "key": "self_attn.k_proj",
        "value": "self_attn.v_proj",
        "query_norm": "self_attn.q_norm",
        "key_norm": "self_attn.k_norm",
        "attention_out": "self_attn.o_proj",
        "feed_forward_norm": "post_attention_layernorm",
        "gate": "mlp.gate_proj",
        "up": "mlp.up_proj",
        "down": "mlp.down_proj",
    }
)
_GEMMA3_ROLES: Final = MappingProxyType(
    _ROLES
    | {
        "attention_branch_norm": "post_attention_layernorm",
        "feed_forward_norm": "pre_feedforward_layernorm",
        "feed_forward_branch_norm": "post_feedforward_layernorm",
    }
)
_GEMMA3_GLOBAL_EVERY = 6


def huggingface_naming(shape: DecoderShape) -> Naming:
    """Return what Hugging Face's libraries call and how they store the tensors of a model."""
    gemma = shape.family == "gemma3"
    return Naming(
        embedding="model.embed_tokens.weight",
        head="lm_head.weight",
        final_norm="model.norm.weight",
        layer="model.layers.{}.",
        roles=_GEMMA3_ROLES if gemma else _ROLES,
        norm_offset=1.0 if gemma else 0.0,
    )


def huggingface_shape(config: Mapping[str, Any], source: str) -> DecoderShape:
    """Describe the model of a config.json; `source` names it in refusals.

    Raises ImportRefused for another architecture, a feature that no graph of ours has, or impossible numbers.
    """
    settings = _Settings(config, source)
    names = config.get("architectures")
    name = names[0] if isinstance(names, list) and names else "none"
    family = FAMILIES.get(name) if isinstance(name, str) else None
    if family is None:
        raise ImportRefused(f"{source} has the architecture {name}; supported: {', '.join(FAMILIES)}")
    settings.refuse_what_is_not_built()
    heads, hidden = settings.whole("num_attention_heads"), settings.whole("hidden_size")
    gemma = family == "gemma3"
    attention_bias = settings.flag("attention_bias", False)
    local = _local_layers(settings, family)
    return DecoderShape(
        family=family,
        layers=settings.whole("num_hidden_layers"),
        hidden=hidden,
        heads=heads,
        kv_heads=settings.whole("num_key_value_heads", heads),
        head_size=settings.whole("head_dim", 256 if gemma else hidden // heads),
        feed_forward=settings.whole("intermediate_size"),
        vocabulary=settings.whole("vocab_size"),
        context=settings.whole("max_position_embeddings"),
        norm_epsilon=settings.number("rms_norm_eps", 1e-6),
        rotation=settings.rotation("full_attention", "rope_theta", 1_000_000.0 if gemma else 10_000.0),
        tied=settings.flag("tie_word_embeddings", gemma),
        qkv_bias=attention_bias or family == "qwen2",
        attention_out_bias=attention_bias and family != "qwen2",
        feed_forward_bias=settings.flag("mlp_bias", False),
        activation=settings.activation(),
        embedding_scale=float(hidden) ** 0.5 if gemma else 1.0,
        attention_scale=settings.number("query_pre_attn_scalar", 256.0) ** -0.5 if gemma else None,
        query_key_norms=family in ("qwen3", "gemma3"),
        branch_norms=gemma,
        window=settings.whole("sliding_window", 4_096) if local else None,
        local_layers=local,
        local_rotation=settings.rotation("sliding_attention", "rope_local_base_freq", 10_000.0)
        if gemma
        else None,
    ).checked(source)


@dataclass(frozen=True, slots=True)
class _Settings:
    """The values of a config.json, read with their types."""

    config: Mapping[str, Any]
    source: str

    def whole(self, key: str, default: int | None = None) -> int:
        value = self.config.get(key)
        value = default if value is None else value
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ImportRefused(f"{self.source}: {key} is {value!r}, must be a whole number over 0")
        return value

    def number(self, key: str, default: float, within: Mapping[str, Any] | None = None) -> float:
        value = (self.config if within is None else within).get(key)
        value = default if value is None else value
        if not isinstance(value, int | float) or isinstance(value, bool) or not value > 0:
            raise ImportRefused(f"{self.source}: {key} is {value!r}, must be a number over 0")
        return float(value)

    def flag(self, key: str, default: bool) -> bool:
        value = self.config.get(key)
        return default if value is None else bool(value)

    def activation(self) -> Literal["silu", "gelu"]:
        name = self.config.get("hidden_activation") or self.config.get("hidden_act") or "silu"
        if name not in _ACTIVATIONS:
            raise ImportRefused(
                f"{self.source} has the activation {name}; supported: {', '.join(_ACTIVATIONS)}"
            )
        return _ACTIVATIONS[name]

    def rotation(self, kind: str, base_key: str, base: float) -> Rotation:
        """Read the rotation of a kind of layer. Gemma 3 stretches only the one of layers without a window."""
        parameters = self.config.get("rope_parameters") or {}
        scaling = parameters.get(kind, parameters) or self.config.get("rope_scaling") or {}
        base = self.number("rope_theta", self.number(base_key, base), scaling)
        if kind == "sliding_attention" and not parameters:
            return Rotation(base)
        name = scaling.get("rope_type") or scaling.get("type") or "default"
        if name == "default":
            return Rotation(base)
        if name == "linear":
            return Rotation(base, self.number("factor", 1.0, scaling))
        if name == "llama3":
            bands = FrequencyBands(
                factor=self.number("factor", 8.0, scaling),
                low=self.number("low_freq_factor", 1.0, scaling),
                high=self.number("high_freq_factor", 4.0, scaling),
                original_context=int(self.number("original_max_position_embeddings", 8_192, scaling)),
            )
            if bands.high <= bands.low:
                raise ImportRefused(f"{self.source}: high_freq_factor must be over low_freq_factor")
            return Rotation(base, bands=bands)
        raise ImportRefused(f"{self.source} stretches positions by {name}; supported: linear, llama3")

    def refuse_what_is_not_built(self) -> None:
        """Raise ImportRefused for features that change what is computed and are in no graph of ours."""
        if self.config.get("quantization_config"):
            raise ImportRefused(f"{self.source} has quantised weights; supported: F32, F16 and BF16")
        if self.config.get("partial_rotary_factor") not in (None, 1, 1.0):
            raise ImportRefused(f"{self.source} rotates only a part of each head; supported: whole heads")
        for key in ("attn_logit_softcapping", "final_logit_softcapping"):
            if self.config.get(key):
                raise ImportRefused(f"{self.source} caps its logits ({key}), which is not supported")
        if self.config.get("use_bidirectional_attention"):
            raise ImportRefused(f"{self.source} attends in both directions; supported: causal models")


def _local_layers(settings: _Settings, family: Family) -> frozenset[int]:
    """Return the layers that attend to a window only."""
    layers = settings.whole("num_hidden_layers")
    kinds = settings.config.get("layer_types")
    if isinstance(kinds, list):
        return frozenset(layer for layer, kind in enumerate(kinds[:layers]) if kind == "sliding_attention")
    if family == "gemma3":
        every = settings.whole("sliding_window_pattern", _GEMMA3_GLOBAL_EVERY)
        return frozenset(layer for layer in range(layers) if (layer + 1) % every)
    if settings.config.get("sliding_window") is None:
        return frozenset()
    if family == "mistral":
        return frozenset(range(layers))
    if settings.flag("use_sliding_window", False):
        return frozenset(range(settings.whole("max_window_layers", layers), layers))
    return frozenset()
