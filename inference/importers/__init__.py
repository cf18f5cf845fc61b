"""Importers: model files of other formats become folders that the engines load."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Final, Literal

from inference.importers.fetch import fetch_smollm2
from scheduler.errors import ImportRefused

__all__ = ["IMPORT_VERSION", "fetch_smollm2", "import_model"]

IMPORT_VERSION: Final = 2
"""Raised whenever the same file comes out as other weights or another graph: who keeps results keeps it with them."""


def import_model(
    source: Path,
    out: Path,
    *,
    quantization: Literal["int4", "int8", "none"] = "int4",
    precision: Literal["float32", "float16"] = "float32",
    report: Callable[[str], None],
) -> Path:
    """Convert a language model into an onnxruntime-genai folder at `out`, replacing it, and return `out`.

    `source` is a GGUF file (any shard of a split one) or a Hugging Face folder with safetensors. `precision` is what
    the model computes and caches in, and what weights have that are not quantised: float32 for CPUs, float16 for GPUs.

    `report` gets a sentence now and then while it works. Raises ImportRefused when it cannot be converted, or
    the packages that read and write model files are not installed.
    """
    needed = ("gguf", "onnx", "safetensors", "tokenizers")
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        raise ImportRefused(
            f"importing needs the packages {', '.join(missing)}: pip install 'forebay[import]'"
        )
    from inference.importers.genai_folder import write_genai_folder

    return write_genai_folder(source, out, quantization, precision, report)
