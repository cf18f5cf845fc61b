"""Models of every supported family, small enough to make in a test: random weights in real files.

One set of settings and weights, in Hugging Face's names, is written as a safetensors folder or as a GGUF file, the
way the converters of these formats write it.
"""

import json
from pathlib import Path
from typing import Any

import gguf
import ml_dtypes
import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from tests.reference.tiny_llama import MARKERS, TEMPLATE, byte_alphabet

Weights = dict[str, NDArray[np.float32]]

_LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
_GEMMA3 = {
    "architectures": ["Gemma3ForCausalLM"],
    "model_type": "gemma3_text",
    "hidden_activation": "gelu_pytorch_tanh",
    "tie_word_embeddings": True,
    "num_hidden_layers": 3,
    "sliding_window": 5,
    "sliding_window_pattern": 3,
    "rope_theta": 1_000_000.0,
    "rope_local_base_freq": 10_000.0,
    "query_pre_attn_scalar": 32,
}
CONFIGS: dict[str, dict[str, Any]] = {
    "llama": {"architectures": ["LlamaForCausalLM"], "model_type": "llama"},
    "llama tied": {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "tie_word_embeddings": True,
    },
    "llama with biases": {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "attention_bias": True,
        "mlp_bias": True,
    },
    "llama 3": {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "rope_scaling": _LLAMA3},
    "llama stretched": {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "rope_scaling": {"rope_type": "linear", "factor": 4.0},
    },
    "mistral": {
        "architectures": ["MistralForCausalLM"],
        "model_type": "mistral",
        "sliding_window": None,
    },
    "mistral with a window": {
        "architectures": ["MistralForCausalLM"],
        "model_type": "mistral",
        "sliding_window": 5,
    },
    "qwen2": {"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "use_sliding_window": False},
    "qwen3": {"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3"},
    "gemma3": _GEMMA3,
    "gemma3 scaled": _GEMMA3 | {"query_pre_attn_scalar": 48},
    "gemma3 stretched": _GEMMA3 | {"rope_scaling": {"rope_type": "linear", "factor": 8.0}},
}
"""Settings by which a family differs from those below."""

_COMMON: dict[str, Any] = {
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "intermediate_size": 96,
    "max_position_embeddings": 128,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10_000.0,
    "hidden_act": "silu",
    "tie_word_embeddings": False,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


def tiny_config(family: str) -> dict[str, Any]:
    """Return a whole config.json."""
    return _COMMON | {"vocab_size": len(vocabulary())} | CONFIGS[family]


def vocabulary() -> list[str]:
    """Return the tokens of a byte-level vocabulary with one merge."""
    return [*MARKERS, *byte_alphabet(), "he"]


def tiny_weights(config: dict[str, Any], seed: int = 0) -> Weights:
    """Return random weights in Hugging Face's names."""
    random = np.random.default_rng(seed)
    gemma = config["model_type"].startswith("gemma3")
    hidden, width, size = config["hidden_size"], config["intermediate_size"], config["head_dim"]
    queries, keys = config["num_attention_heads"] * size, config["num_key_value_heads"] * size
    weights: Weights = {}

    def add(name: str, *shape: int, spread: float = 0.3, centre: float = 0.0) -> None:
        weights[name] = random.normal(centre, spread, shape).astype(np.float32)

    def norm(name: str, size: int) -> None:
        add(f"{name}.weight", size, centre=0.0 if gemma else 1.0)

    def linear(name: str, out: int, into: int, bias: bool) -> None:
        add(f"{name}.weight", out, into)
        if bias:
            add(f"{name}.bias", out)

    add("model.embed_tokens.weight", config["vocab_size"], hidden, spread=0.2 if gemma else 1.0)
    if not config["tie_word_embeddings"]:
        add("lm_head.weight", config["vocab_size"], hidden)
    norm("model.norm", hidden)
    out_bias = config.get("attention_bias", False)
    qkv_bias = out_bias or config["model_type"] == "qwen2"
    for layer in range(config["num_hidden_layers"]):
        prefix = f"model.layers.{layer}."
        norm(f"{prefix}input_layernorm", hidden)
        norm(f"{prefix}post_attention_layernorm", hidden)
        if gemma:
            norm(f"{prefix}pre_feedforward_layernorm", hidden)
            norm(f"{prefix}post_feedforward_layernorm", hidden)
        if gemma or config["model_type"] == "qwen3":
            norm(f"{prefix}self_attn.q_norm", size)
            norm(f"{prefix}self_attn.k_norm", size)
        linear(f"{prefix}self_attn.q_proj", queries, hidden, qkv_bias)
        linear(f"{prefix}self_attn.k_proj", keys, hidden, qkv_bias)
        linear(f"{prefix}self_attn.v_proj", keys, hidden, qkv_bias)
        linear(f"{prefix}self_attn.o_proj", hidden, queries, out_bias)
        linear(f"{prefix}mlp.gate_proj", width, hidden, config.get("mlp_bias", False))
        linear(f"{prefix}mlp.up_proj", width, hidden, config.get("mlp_bias", False))
        linear(f"{prefix}mlp.down_proj", hidden, width, config.get("mlp_bias", False))
    return weights


def write_folder(
    folder: Path, config: dict[str, Any], weights: Weights, *, dtype: Any = np.float32, shards: int = 1
) -> Path:
    """Write a model as Hugging Face's libraries save it, in one file or in shards with an index."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [2, 0]}))
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"bos_token": MARKERS[1], "eos_token": {"content": MARKERS[2]}, "chat_template": TEMPLATE})
    )
    tokenizer = Tokenizer(
        models.BPE(vocab={token: index for index, token in enumerate(vocabulary())}, merges=[("h", "e")])
    )
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(marker, special=True) for marker in MARKERS])
    tokenizer.save(str(folder / "tokenizer.json"))
    tensors = {name: values.astype(dtype) for name, values in weights.items()}
    if shards == 1:
        save_file(tensors, folder / "model.safetensors", {"format": "pt"})
        return folder
    index: dict[str, str] = {}
    for shard in range(shards):
        name = f"model-{shard + 1:05d}-of-{shards:05d}.safetensors"
        part = {key: tensors[key] for key in sorted(tensors)[shard::shards]}
        save_file(part, folder / name, {"format": "pt"})
        index |= dict.fromkeys(part, name)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    return folder


_GGUF_NAMES = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "pre_feedforward_layernorm": "ffn_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def write_gguf(
    path: Path,
    config: dict[str, Any],
    weights: Weights,
    *,
    kind: gguf.GGMLQuantizationType = gguf.GGMLQuantizationType.F32,
    tokenizer: str = "gpt2",
    shard_tensors: int = 0,
) -> Path:
    """Write a model as llama.cpp's converter does; `kind` is the type of matrices, `shard_tensors` splits the file."""
    name = {"gemma3_text": "gemma3", "mistral": "llama"}.get(config["model_type"], config["model_type"])
    writer = gguf.GGUFWriter(path, name, split_max_tensors=shard_tensors)
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_key_length(config["head_dim"])
    writer.add_value_length(config["head_dim"])
    writer.add_rope_freq_base(config["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    if config.get("sliding_window"):
        writer.add_sliding_window(config["sliding_window"])
    if "sliding_window_pattern" in config:
        writer.add_sliding_window_pattern(config["sliding_window_pattern"])
    scaling = config.get("rope_scaling")
    if scaling is not None and scaling["rope_type"] == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(scaling["factor"])
    _add_vocabulary(writer, tokenizer)
    if scaling is not None and scaling["rope_type"] == "llama3":
        writer.add_tensor("rope_freqs.weight", _llama3_divisors(config, scaling))
    for key, values in weights.items():
        values = _as_stored(key, values, config, name)
        as_matrix = values.ndim == 2 and kind != gguf.GGMLQuantizationType.F32
        stored = gguf.quantize(values, kind) if as_matrix else values
        writer.add_tensor(_gguf_name(key, name), stored, raw_dtype=kind if as_matrix else None)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add_vocabulary(writer: gguf.GGUFWriter, tokenizer: str) -> None:
    tokens = vocabulary()
    writer.add_tokenizer_model(tokenizer)
    writer.add_tokenizer_pre("smollm" if tokenizer == "gpt2" else "default")
    writer.add_token_list(tokens)
    writer.add_token_types([3] * len(MARKERS) + [1] * (len(tokens) - len(MARKERS)))
    writer.add_token_scores([-float(index) for index in range(len(tokens))])
    writer.add_token_merges(["h e"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_chat_template(TEMPLATE)


def _gguf_name(key: str, architecture: str) -> str:
    whole = {
        "model.embed_tokens.weight": "token_embd.weight",
        "lm_head.weight": "output.weight",
        "model.norm.weight": "output_norm.weight",
    }
    if key in whole:
        return whole[key]
    _, _, layer, *role, ending = key.split(".")
    name = ".".join(role)
    if name == "post_attention_layernorm":
        return f"blk.{layer}.{'post_attention_norm' if architecture == 'gemma3' else 'ffn_norm'}.{ending}"
    return f"blk.{layer}.{_GGUF_NAMES[name]}.{ending}"


def _as_stored(
    key: str, values: NDArray[np.float32], config: dict[str, Any], architecture: str
) -> NDArray[np.float32]:
    """Reorder llama's query and key rows for pairs to be rotated; add one to Gemma's norms."""
    if architecture == "gemma3" and key.endswith("norm.weight"):
        return values + np.float32(1)
    heads = {"q_proj": config["num_attention_heads"], "k_proj": config["num_key_value_heads"]}
    projection = key.split(".")[-2]
    if architecture != "llama" or projection not in heads:
        return values
    halves = values.reshape(heads[projection], 2, config["head_dim"] // 2, *values.shape[1:])
    return np.ascontiguousarray(halves.swapaxes(1, 2).reshape(values.shape))


def _llama3_divisors(config: dict[str, Any], scaling: dict[str, Any]) -> NDArray[np.float32]:
    """What the converter stores instead of Llama 3.1's settings: by how much each frequency is divided."""
    size = config["head_dim"]
    divisors = []
    for frequency in config["rope_theta"] ** -(np.arange(0, size, 2) / size):
        wave, context = 2 * np.pi / frequency, scaling["original_max_position_embeddings"]
        if wave < context / scaling["high_freq_factor"]:
            divisors.append(1.0)
        elif wave > context / scaling["low_freq_factor"]:
            divisors.append(scaling["factor"])
        else:
            low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
            smooth = (context / wave - low) / (high - low)
            divisors.append(1 / ((1 - smooth) / scaling["factor"] + smooth))
    return np.array(divisors, np.float32)


BF16 = ml_dtypes.bfloat16
