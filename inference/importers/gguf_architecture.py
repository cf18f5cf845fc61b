"""From the metadata of a GGUF file to the description of its model.

Keys are those of the GGUF specification, prefixed with the architecture's name. Where a file is silent, llama.cpp's
own defaults hold.
"""

from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from inference.importers.architecture import DecoderShape, Family, Rotation
from inference.importers.gguf import GgufFile, T
from inference.importers.weights import Naming
from scheduler.errors import ImportRefused

FAMILIES: Final[dict[str, Family]] = {
    "llama": "llama",
    "qwen2": "qwen2",
    "qwen3": "qwen3",
    "gemma3": "gemma3",
}
"""What `general.architecture` may say. Mistral's files say llama."""

_ROLES: Final = MappingProxyType(
    {
        "attention_norm": "attn_norm",
        "query": "attn_q",
        "key": "attn_k",
        "value": "attn_v",
        "query_norm": "attn_q_norm",
        "key_norm": "attn_k_norm",
        "attention_out": "attn_output",
        "attention_branch_norm": "post_attention_norm",
        "feed_forward_norm": "ffn_norm",
        "gate": "ffn_gate",
        "up": "ffn_up",
        "down": "ffn_down",
        "feed_forward_branch_norm": "post_ffw_norm",
    }
)
_GEMMA3_LOCAL_BASE = 10_000.0
_GEMMA3_GLOBAL_EVERY = 6
_GEMMA3_27B_LAYERS = 62  # the only size whose queries are scaled by hidden / heads instead of the head's size


def gguf_naming(shape: DecoderShape) -> Naming:
    """Return what GGUF calls and how it stores the tensors of a model."""
    return Naming(
        embedding="token_embd.weight",
        head="output.weight",
        final_norm="output_norm.weight",
        layer="blk.{}.",
        roles=_ROLES,
        pairs_rotated=shape.family == "llama",
    )


def gguf_shape(file: GgufFile) -> DecoderShape:
    """Describe the model of a file. Raises ImportRefused for another architecture or impossible numbers."""
    name = file.value("general.architecture", str)
    family = FAMILIES.get(name)
    if family is None:
        raise ImportRefused(f"{file.path.name} has the architecture {name}; supported: {', '.join(FAMILIES)}")
    metadata = _Metadata(file, name)
    metadata.refuse_what_is_not_built()
    heads = metadata.value("attention.head_count", int)
    hidden = metadata.value("embedding_length", int)
    kv_heads = metadata.value("attention.head_count_kv", int, heads)
    if heads < 1 or kv_heads < 1 or heads % kv_heads:
        raise ImportRefused(
            f"{file.path.name}: {heads} heads, {kv_heads} KV heads and width {hidden} do not fit"
        )
    head_size = metadata.value("attention.key_length", int, hidden // heads)
    for key in ("rope.dimension_count", "attention.value_length"):
        if metadata.value(key, int, head_size) != head_size:
            raise ImportRefused(
                f"{file.path.name}: {name}.{key} is not the size of a head, {head_size}; supported: whole heads"
            )
    tokens = file.optional("tokenizer.ggml.tokens") or []
    return DecoderShape(
        family=family,
        layers=metadata.value("block_count", int),
        hidden=hidden,
        heads=heads,
        kv_heads=kv_heads,
        head_size=head_size,
        feed_forward=metadata.value("feed_forward_length", int),
        vocabulary=metadata.value("vocab_size", int, len(tokens)),
        context=metadata.value("context_length", int),
        norm_epsilon=metadata.value("attention.layer_norm_rms_epsilon", float),
        rotation=metadata.rotation(),
        tied=not file.has("output.weight"),
        qkv_bias=family == "qwen2" or file.has("blk.0.attn_q.bias"),
        attention_out_bias=file.has("blk.0.attn_output.bias"),
        feed_forward_bias=file.has("blk.0.ffn_down.bias"),
        query_key_norms=family in ("qwen3", "gemma3"),
        **(_gemma3(metadata, hidden, heads) if family == "gemma3" else {}),
    ).checked(file.path.name)


@dataclass(frozen=True, slots=True)
class _Metadata:
    """The values of one architecture."""

    file: GgufFile
    prefix: str

    def value(self, key: str, kind: type[T], default: T | None = None) -> T:
        return self.file.value(f"{self.prefix}.{key}", kind, default)

    def optional(self, key: str) -> Any:
        return self.file.optional(f"{self.prefix}.{key}")

    def rotation(self) -> Rotation:
        """Read the base and the linear scaling; Llama 3.1's factors are a tensor of the file."""
        kind = self.value("rope.scaling.type", str, "none")
        if kind not in ("none", "linear"):
            raise ImportRefused(
                f"{self.file.path.name} stretches positions by {kind}; supported: linear, Llama 3.1's factors"
            )
        factor = self.value("rope.scaling.factor", float, self.value("rope.scale_linear", float, 1.0))
        return Rotation(self.value("rope.freq_base", float, 10_000.0), factor or 1.0)

    def refuse_what_is_not_built(self) -> None:
        """Raise ImportRefused for features that change what is computed and are in no graph of ours."""
        if self.value("expert_count", int, 0):
            raise ImportRefused(f"{self.file.path.name} is a mixture of experts; supported: dense models")
        for key in ("attn_logit_softcapping", "final_logit_softcapping"):
            if self.value(key, float, 0.0):
                raise ImportRefused(f"{self.file.path.name} caps its logits ({key}), which is not supported")


def _gemma3(metadata: _Metadata, hidden: int, heads: int) -> dict[str, Any]:
    layers = metadata.value("block_count", int)
    pattern = metadata.optional("attention.sliding_window_pattern") or _GEMMA3_GLOBAL_EVERY
    if isinstance(pattern, int):
        local = frozenset(layer for layer in range(layers) if (layer + 1) % pattern)
    else:
        local = frozenset(layer for layer, is_local in enumerate(pattern[:layers]) if is_local)
    return {
        "activation": "gelu",
        "embedding_scale": float(hidden) ** 0.5,
        "attention_scale": (hidden / heads) ** -0.5 if layers == _GEMMA3_27B_LAYERS else None,
        "branch_norms": True,
        "window": metadata.value("attention.sliding_window", int),
        "local_layers": local,
        "local_rotation": Rotation(metadata.value("rope.freq_base_swa", float, _GEMMA3_LOCAL_BASE)),
    }
