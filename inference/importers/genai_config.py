"""genai_config.json: how onnxruntime-genai, and our own engine, find their way in a model's graph."""

from typing import Any, Final

from inference.importers.architecture import DecoderShape, Family
from inference.importers.graph_parts import Precision
from inference.importers.source import SpecialTokens

_TYPES: Final[dict[Family, str]] = {
    "llama": "llama",
    "mistral": "mistral",
    "qwen2": "qwen2",
    "qwen3": "qwen3",
    "gemma3": "gemma3_text",
}
"""What onnxruntime-genai calls the families."""


_PROVIDERS: Final[dict[Precision, list[dict[str, dict[str, str]]]]] = {
    "float32": [],
    "float16": [{"cuda": {"enable_cuda_graph": "0", "enable_skip_layer_norm_strict_mode": "1"}}],
}
"""Where onnxruntime-genai runs a model: on the CPU, or with the options that its own builder writes for CUDA. Our
engine goes by its settings.
"""


def genai_config(
    shape: DecoderShape, special: SpecialTokens, precision: Precision = "float32"
) -> dict[str, Any]:
    """Return the content of the file; greedy by default, as our engine is."""
    ends = list(special.ends)
    return {
        "model": {
            "bos_token_id": ends[0] if special.begin is None else special.begin,
            "context_length": shape.context,
            "decoder": {
                "session_options": {
                    "log_id": "onnxruntime-genai",
                    "provider_options": _PROVIDERS[precision],
                },
                "filename": "model.onnx",
                "head_size": shape.head_size,
                "hidden_size": shape.hidden,
                "inputs": {
                    "input_ids": "input_ids",
                    "attention_mask": "attention_mask",
                    "past_key_names": "past_key_values.%d.key",
                    "past_value_names": "past_key_values.%d.value",
                },
                "outputs": {
                    "logits": "logits",
                    "present_key_names": "present.%d.key",
                    "present_value_names": "present.%d.value",
                },
                "num_attention_heads": shape.heads,
                "num_hidden_layers": shape.layers,
                "num_key_value_heads": shape.kv_heads,
            },
            "eos_token_id": ends[0] if len(ends) == 1 else ends,
            "pad_token_id": ends[0] if special.padding is None else special.padding,
            "type": _TYPES[shape.family],
            "vocab_size": shape.vocabulary,
        },
        "search": {
            "do_sample": False,
            "early_stopping": True,
            "max_length": shape.context,
            "min_length": 0,
            "num_beams": 1,
            "num_return_sequences": 1,
            "past_present_share_buffer": True,
            "repetition_penalty": 1.0,
            "temperature": 1.0,
            "top_k": 1,
            "top_p": 1.0,
        },
    }
