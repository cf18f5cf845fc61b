"""Writing a model as a folder that onnxruntime-genai and our own engine can run.

The folder holds `genai_config.json`, `model.onnx` (its weights inside, or in `model.onnx.data` when they would not fit
into one file of the format), `tokenizer.json`, `tokenizer_config.json` and `chat_template.jinja`. It is written
beside its final place and renamed, so a folder that exists is complete.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx

from inference.importers.gguf import GgufFile, LlamaShape, llama_shape
from inference.importers.llama_graph import LlamaGraph, Quantization
from inference.importers.tokenizer import build_tokenizer, chat_template, tokenizer_config
from inference.importers.weights import LlamaWeights
from scheduler.errors import ImportRefused

Report = Callable[[str], None]

_INSIDE_BYTES = 1_500_000_000  # protobuf cannot hold more than 2 GiB in one message
_END_MARKERS = ("<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|end_of_text|>", "</s>")


def write_genai_folder(source: Path, out: Path, quantization: Quantization, report: Report) -> Path:
    """Convert a GGUF file into the folder `out`, replacing what was there, and return it.

    Raises ImportRefused when the file cannot be converted; then `out` is left as it was.
    """
    file = GgufFile(source)
    shape = llama_shape(file)
    tokenizer = build_tokenizer(file)
    if quantization == "int4" and (shape.hidden % 32 or shape.feed_forward % 32):
        raise ImportRefused(
            f"{source.name}: widths {shape.hidden} and {shape.feed_forward} are no multiples of 32"
        )
    report(f"converting {shape.layers} layers of {source.name} to {quantization}")
    model = LlamaGraph(shape, quantization).build(LlamaWeights(file, shape))
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        building = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    except OSError as error:
        raise ImportRefused(f"{out} cannot be written: {error.strerror}")
    try:
        _save(model, building / "model.onnx")
        tokenizer.save(str(building / "tokenizer.json"))
        _write_json(building / "tokenizer_config.json", tokenizer_config(file, shape.context))
        _write_json(building / "genai_config.json", genai_config(file, shape))
        template = chat_template(file)
        if template is not None:
            (building / "chat_template.jinja").write_text(template, encoding="utf-8")
        building.chmod(0o755)
        _replace(building, out)
    except OSError as error:
        raise ImportRefused(f"{out} cannot be written: {error.strerror}")
    finally:
        shutil.rmtree(building, ignore_errors=True)
    size = sum(part.stat().st_size for part in out.iterdir())
    report(f"wrote {out} ({size / 1e6:.0f} MB)")
    return out


def genai_config(file: GgufFile, shape: LlamaShape) -> dict[str, Any]:
    """Return genai_config.json; greedy by default, as our engine is."""
    ends = _end_tokens(file)
    begin = file.optional("tokenizer.ggml.bos_token_id")
    padding = file.optional("tokenizer.ggml.padding_token_id")
    return {
        "model": {
            "bos_token_id": ends[0] if begin is None else begin,
            "context_length": shape.context,
            "decoder": {
                "session_options": {"log_id": "onnxruntime-genai", "provider_options": []},
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
            "pad_token_id": ends[0] if padding is None else padding,
            "type": "llama",
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


def _end_tokens(file: GgufFile) -> list[int]:
    """Return the ids that end an answer: the declared one first, then the usual markers the vocabulary has."""
    tokens = file.optional("tokenizer.ggml.tokens")
    known = {token: index for index, token in enumerate(tokens)}
    ends = [file.value("tokenizer.ggml.eos_token_id", int)]
    declared = [file.optional("tokenizer.ggml.eot_token_id"), *(known.get(marker) for marker in _END_MARKERS)]
    return list(dict.fromkeys([*ends, *(index for index in declared if index is not None)]))


def _save(model: onnx.ModelProto, path: Path) -> None:
    outside = sum(len(tensor.raw_data) for tensor in model.graph.initializer) > _INSIDE_BYTES
    onnx.save(
        model,
        path,
        save_as_external_data=outside,
        all_tensors_to_one_file=True,
        location="model.onnx.data",
    )


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _replace(building: Path, out: Path) -> None:
    """Put the finished folder in its place."""
    if out.exists():
        old = building.with_name(building.name + ".old")
        os.replace(out, old)
        os.replace(building, out)
        shutil.rmtree(old, ignore_errors=True)
    else:
        os.replace(building, out)
